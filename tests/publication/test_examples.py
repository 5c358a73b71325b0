"""Examples in a submission: drawn by the outcomes, held to test part, ball, box and model; tampering is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from advtransfer import runner, suite
from advtransfer.cli import main
from advtransfer.host import Host
from advtransfer.planning import Plan
from advtransfer.planning.nodes import SuiteIndex
from advtransfer.publication import example_checks
from advtransfer.publication.cells import Fault
from advtransfer.publication.example_checks import ExampleCheck, check_classes, check_examples
from advtransfer.publication.examples import drawn_positions, write_examples
from advtransfer.publication.manifest import bundle_root, file_entries, read_manifest
from advtransfer.publication.publish import Origin, publish_run
from advtransfer.result import Run
from advtransfer.result.outcomes import read_outcomes
from advtransfer.runner.settings import RunSettings
from advtransfer.types import Outcome

CITATION = Path(__file__).parents[2] / "CITATION.cff"
SUITE = """
version: 1
title: Which source is better?
datasets: {digits: {use: vision/digits}}
sources: {drawn: {use: vision/random_init, data: digits, network: small_cnn}}
targets: {digits: {data: digits, n: [100], seeds: 1, validation: 0, test: 64, leakage: "off"}}
transfers: {probe: {use: finetune/linear_probe}}
evaluations:
  clean: {use: foolbox/clean_accuracy}
  pgd: {use: foolbox/pgd, norm: linf, eps: 0.1, steps: 5, step_size: 0.03}
leaderboard: {rank_by: clean.accuracy, open: [sources, transfers]}
"""
COUNT = 5


class Published:
    """A submission with examples, and what it was made from."""

    def __init__(self, folder: Path) -> None:
        self.host = Host.discover()
        self.cache = folder / "cache"
        self.suite = folder / "toy.yaml"
        self.suite.write_text(SUITE)
        settings = RunSettings(
            executor="local/inline", runs=folder / "runs", cache=self.cache, battery="none"
        )
        loaded = suite.load(str(self.suite), self.host)
        self.run = Run(runner.run_suite(loaded, settings=settings, host=self.host).run)
        self.board = folder / "leaderboard"
        self.bundle = self.publish(self.board)

    def publish(self, into: Path) -> Path:
        add = partial(write_examples, count=COUNT, host=self.host, cache=self.cache)
        origin = Origin("first", "A. Author", "CC-BY-4.0", CITATION)
        return publish_run(self.run, into, origin, found=True, pages=False, add_examples=add)

    def check_classes(self, bundle: Path) -> ExampleCheck:
        plan = Plan.from_json(Run(bundle).read_plan())
        index = SuiteIndex(suite.load(str(self.suite), self.host))
        return check_classes(bundle, plan.trials, index=index, host=self.host, cache=self.cache)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    return Published(tmp_path_factory.mktemp("examples"))


@pytest.fixture
def bundle(published: Published, tmp_path: Path) -> Path:
    return Path(shutil.copytree(published.bundle, tmp_path / "first"))


def example_file(bundle: Path) -> Path:
    (path,) = bundle.glob("examples/*/*.npz")
    return path


def test_examples_are_those_of_the_drawn_broken_images(published: Published, bundle: Path) -> None:
    path = example_file(bundle)
    records = {str(record["id"]): record for record in Run(bundle).read_records()}
    record = records[path.parent.name]
    outcomes = read_outcomes(record["outcomes"][path.stem]).to_array()  # type: ignore[index, call-overload, arg-type]  # JSON of a record
    drawn = drawn_positions(record, path.stem, COUNT)
    with np.load(path) as arrays:
        keys, inputs = arrays["keys"], arrays["inputs"]

    assert COUNT == len(drawn) == len(keys)
    assert all(outcomes[list(drawn)] == Outcome.BROKEN)
    assert ("int64", "float32") == (keys.dtype.name, inputs.dtype.name)
    # A larger sample has the smaller one in it, and another metric draws others.
    assert set(drawn) < set(drawn_positions(record, path.stem, COUNT + 3))
    found = check_examples(bundle, host=published.host)
    assert ([], [], COUNT, COUNT) == (found.faults, found.notes, found.given, found.drawn)
    replayed = published.check_classes(bundle)
    assert ([], COUNT) == (replayed.faults, replayed.given)


def test_manifest_and_root_cover_examples_and_the_bytes_are_the_same_again(
    published: Published, bundle: Path, tmp_path: Path
) -> None:
    again = published.publish(tmp_path / "again")
    manifest = read_manifest(bundle)

    assert (again / "manifest.json").read_bytes() == (bundle / "manifest.json").read_bytes()
    assert file_entries(bundle) == manifest["files"]
    assert bundle_root(Run(bundle)) == manifest["root"]
    example_file(bundle).unlink()
    assert bundle_root(Run(bundle)) != manifest["root"]


def move_out(keys: np.ndarray, inputs: np.ndarray) -> None:
    inputs[0] = np.clip(1 - inputs[0], 0, 1)


def leave_box(keys: np.ndarray, inputs: np.ndarray) -> None:
    inputs[0].flat[0] = -0.01


def set_nan(keys: np.ndarray, inputs: np.ndarray) -> None:
    inputs[0].flat[0] = np.nan


def take_other_key(keys: np.ndarray, inputs: np.ndarray) -> None:
    keys[0] = 10**6


def repeat_key(keys: np.ndarray, inputs: np.ndarray) -> None:
    keys[0], inputs[0] = keys[1], inputs[1]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (move_out, "outside of ball"),
        (leave_box, "outside of ball"),
        (set_nan, "not finite"),
        (take_other_key, "other keys"),
        (repeat_key, "more than once"),
    ],
)
def test_tampered_examples_are_named_by_file(
    published: Published,
    bundle: Path,
    change: Callable[[np.ndarray, np.ndarray], None],
    text: str,
) -> None:
    path = example_file(bundle)
    with np.load(path) as arrays:
        keys, inputs = arrays["keys"], arrays["inputs"]
    change(keys, inputs)
    np.savez(path, keys=keys, inputs=inputs)
    (fault,) = check_examples(bundle, host=published.host).faults

    assert path.relative_to(bundle).as_posix() == fault.where
    assert text in fault.text


def test_clean_images_are_in_the_ball_and_only_the_model_tells(
    published: Published, bundle: Path
) -> None:
    from advtransfer.worker.object_builder import dataset_of, drawn_test_part

    index = SuiteIndex(suite.load(str(published.suite), published.host))
    plan = Plan.from_json(Run(bundle).read_plan())
    node = index.trial_results(plan.trials[0])[0].inputs["test"]
    test = drawn_test_part(dataset_of(published.host, node.inputs["data"]), node)  # type: ignore[union-attr, arg-type]  # inputs of a node
    path = example_file(bundle)
    with np.load(path) as arrays:
        keys = arrays["keys"]
    import torch

    positions = torch.tensor([list(test.keys).index(key) for key in keys])
    np.savez(path, keys=keys, inputs=test.inputs(positions).numpy())

    assert not check_examples(bundle, host=published.host).faults
    (fault,) = published.check_classes(bundle).faults
    assert f"found {COUNT} examples that the model" in fault.text


def test_without_data_examples_are_said_not_to_be_checked(
    published: Published, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_data(*args: object) -> None:
        raise OSError("no such file")

    monkeypatch.setattr("advtransfer.worker.object_builder.dataset_of", no_data)
    found = check_examples(bundle, host=published.host)

    assert not found.faults
    assert ["examples not checked: data not at hand (no such file)"] == found.notes


def test_files_of_no_claim_and_a_missing_sample_are_faults(
    published: Published, bundle: Path
) -> None:
    (bundle / "examples" / "other.npz").write_bytes(b"")
    assert "examples/other.npz" == check_examples(bundle, host=published.host).faults[0].where
    (bundle / "examples" / "sample.json").write_text(json.dumps({"count": 10**9}))
    (fault,) = check_examples(bundle, host=published.host).faults
    assert "examples/sample.json" == fault.where


def test_the_command_verifies_examples(published: Published) -> None:
    boards = str(published.board / "boards")
    done = CliRunner().invoke(main, ["verify", str(published.bundle), "--boards", boards])

    assert f"examples: {COUNT} of {COUNT} drawn images in 1 files" in done.output


def test_the_command_has_one_verdict_last_which_counts_faults_of_examples(
    published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = ExampleCheck(
        faults=[Fault("examples/one.npz", "", "found an image outside of the ball")]
    )
    monkeypatch.setattr(example_checks, "check_examples", lambda *_, **__: wrong)
    boards = str(published.board / "boards")
    done = CliRunner().invoke(main, ["verify", str(published.bundle), "--boards", boards])

    assert 1 == done.exit_code
    assert "verified" not in done.output
    assert "found an image outside of the ball" in done.output
    assert "1 fault" == done.stdout.splitlines()[-1]
