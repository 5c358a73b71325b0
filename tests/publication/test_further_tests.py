"""``also`` in published runs: a board holds further test parts, and verification, replay and examples reach them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from advtransfer import runner, suite
from advtransfer.cli import main
from advtransfer.host import Host
from advtransfer.planning import Plan, make_plan
from advtransfer.planning.nodes import SuiteIndex, further_test_node
from advtransfer.planning.nodes import test_node as own_test_node
from advtransfer.publication.board import planned_axes, read_boards, recorded_axes
from advtransfer.publication.cells import plan_differences, target_faults
from advtransfer.publication.example_checks import check_classes
from advtransfer.publication.examples import test_nodes as nodes_of_tests
from advtransfer.publication.examples import write_examples
from advtransfer.publication.pages import merge_submissions
from advtransfer.publication.publish import Origin, publish_run
from advtransfer.publication.replay import fact_faults_of_fits
from advtransfer.result import Run
from advtransfer.runner.settings import RunSettings

CITATION = Path(__file__).parents[2] / "CITATION.cff"
SUITE = """
version: 1
title: Which transfer holds on another split?
datasets: {digits: {use: vision/digits}, other: {use: vision/digits, split_seed: 1}}
sources: {drawn: {use: vision/random_init, data: digits, network: small_cnn}}
targets: {digits: {data: digits, n: [60], test: 40, also: [other]}}
transfers: {probe: {use: finetune/linear_probe, C: 1}}
evaluations:
  clean: {use: foolbox/clean_accuracy}
  pgd: {use: foolbox/pgd, norm: linf, eps: 0.05, steps: 2, step_size: 0.03}
leaderboard:
  rank_by: clean/other.accuracy
  columns: [clean.accuracy, clean/other.accuracy, pgd/other.robust_accuracy]
  open: [transfers]
"""
JOINING = """
extends: toy
transfers: {hot: {use: finetune/linear_probe, C: 10}}
"""
HOST = Host.discover()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs, and the leaderboard that they are published in."""
    folder = tmp_path_factory.mktemp("also")
    settings = RunSettings(
        executor="local/inline", runs=folder / "runs", cache=folder / "cache", battery="none"
    )
    for name, text in (("toy", SUITE), ("joining", JOINING)):
        (folder / f"{name}.yaml").write_text(text)
        loaded = suite.load(str(folder / f"{name}.yaml"), HOST)
        run = Run(runner.run_suite(loaded, settings=settings, host=HOST).run)
        assert planned_axes(loaded) == recorded_axes(run)
        origin = Origin(name, f"Author of {name}", "CC-BY-4.0", CITATION)
        publish_run(run, folder / "leaderboard", origin, found=name == "toy")
    return folder


def test_a_board_asks_for_the_further_test_part(folder: Path) -> None:
    (board,) = read_boards(folder / "leaderboard")
    (target,) = suite.load(str(folder / "toy.yaml"), HOST).targets

    assert board.axes["targets"] == {
        own_test_node(target).id: "digits",
        further_test_node(target, target.also[0]).id: "digits/other",
    }
    # An evaluation on further data is no other evaluation.
    assert sorted(map(str, board.axes["evaluations"].values())) == ["clean", "pgd"]


def test_a_submission_without_the_further_test_part_is_told(folder: Path) -> None:
    board = suite.load(str(folder / "toy.yaml"), HOST)
    mine = replace(board, targets=(replace(board.targets[0], also=()),))

    assert [fault.text for fault in target_faults(mine, board)] == [
        "found the further test parts of `also` none; expected other, the board's"
    ]
    assert list(target_faults(board, board)) == []


def test_a_plan_that_hides_which_evaluations_are_on_further_data_is_told(folder: Path) -> None:
    plan = make_plan(suite.load(str(folder / "toy.yaml"), HOST), HOST)

    (fault,) = plan_differences(replace(plan, also={}), plan)
    assert fault.text == (
        "found the evaluations on further data none; expected clean/other, pgd/other, from suite.yaml"
    )


def test_the_page_of_a_board_has_the_columns_of_all_submissions(folder: Path) -> None:
    (board,) = read_boards(folder / "leaderboard")
    runs = {
        name: Run(folder / "leaderboard" / "results" / "toy" / name) for name in ("toy", "joining")
    }
    plan = Plan.from_json(merge_submissions(board, runs).plan)
    page = (folder / "leaderboard" / "toy" / "README.md").read_text()

    assert sorted(plan.also) == ["clean/other", "pgd/other"]
    assert len(plan.trials) == 2
    assert all(set(trial.evaluations) == {"clean", "pgd", *plan.also} for trial in plan.trials)
    assert "clean/other.accuracy" in page
    assert "| digits, also other |" in page


@pytest.mark.slow
def test_verification_and_replay_reach_results_on_further_data(folder: Path) -> None:
    leaderboard = folder / "leaderboard"
    bundle = str(leaderboard / "results" / "toy" / "toy")
    boards = str(leaderboard / "boards")
    done = CliRunner().invoke(main, ["verify", bundle, "--boards", boards, "--replay", "1"])

    assert done.exit_code == 0, done.output
    assert "verified against the ids" in done.output
    assert "0 beyond it" in done.output


def test_a_false_count_of_shared_images_is_found_by_a_replay(folder: Path) -> None:
    plan = make_plan(suite.load(str(folder / "toy.yaml"), HOST), HOST)
    (trial,) = plan.trials
    run = Run(folder / "runs" / "toy")
    measured = {id: run.read_record(id) for id in trial.record_ids()}
    (id,) = trial.evaluations["clean/other"]
    counts = measured[id]["leakage"]
    # Two splits of one set share most images.
    assert isinstance(counts, dict)
    assert counts["also test in target train"]["exact"] > 0
    recorded = {**measured, id: {**measured[id], "leakage": {}}}

    assert list(fact_faults_of_fits([trial], measured, measured)) == []
    assert {fault.cell for fault in fact_faults_of_fits([trial], recorded, measured)} == {
        f"{trial.name}, clean/other"
    }


@pytest.mark.slow
def test_examples_are_made_on_the_images_of_each_claim(folder: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "toy"
    shutil.copytree(folder / "leaderboard" / "results" / "toy" / "toy", bundle)
    given, asked = write_examples(bundle, count=3, host=HOST, cache=tmp_path / "cache")
    loaded = suite.load(str(folder / "toy.yaml"), HOST)
    plan = make_plan(loaded, HOST)
    (trial,) = plan.trials
    tests = nodes_of_tests(SuiteIndex(loaded), trial)

    assert asked == 6
    assert 0 < given <= asked
    made = {path.parent.name for path in bundle.glob("examples/*/*.npz")}
    assert {tests[id].id for id in made} == {tests[id].id for id in tests}
    found = check_classes(
        bundle, [trial], index=SuiteIndex(loaded), host=HOST, cache=tmp_path / "cache"
    )
    assert (found.faults, found.given) == ([], given)
