"""``advtransfer plan``, ``show`` and ``schema`` of real suites, with nothing run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from advtransfer.cli import main
from advtransfer.host import Host
from advtransfer.planning import make_plan
from advtransfer.planning.nodes import SuiteIndex
from advtransfer.result import Run
from advtransfer.suite import load
from advtransfer.testing.records import complete_record

HOST = Host.discover()
SUITE = """\
version: 1
title: Small
datasets:
  digits: {use: vision/digits}
sources:
  random: {use: vision/random_init, data: digits}
targets:
  digits: {data: digits, n: [20, 30], seeds: SEEDS}
transfers:
  probe: {use: finetune/linear_probe}
evaluations:
  clean: {use: foolbox/clean_accuracy}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a suite of 4 trials and one of 202."""
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(SUITE.replace("SEEDS", "2"))
    Path("large.yaml").write_text(SUITE.replace("SEEDS", "101"))
    return tmp_path


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments)


def planned(suite: str) -> list[dict[str, object]]:
    trials: list[dict[str, object]] = json.loads(call("plan", suite, "--json").stdout)["trials"]
    return trials


def finish(id: str, suite: str = "small") -> None:
    """Put a finished record into the run of a suite."""
    loaded = load(f"{suite}.yaml", HOST)
    cells, trials = SuiteIndex(loaded), make_plan(loaded, HOST).trials
    node = next(
        node
        for one in trials
        for node in (cells.trial_fit(one), *cells.trial_results(one))
        if node.id == id
    )
    Run(Path("runs") / suite).write_record(complete_record({"kind": node.kind}, **node.id_fields()))


def fail(run: Path, id: object, reason: str) -> None:
    """Put a failed attempt into a run."""
    Run(run).write_attempt(
        {"id": str(id), "status": "failed", "reason": reason, "deterministic": False}
    )


TWO_SEEDS = (
    "2 subset seeds of digits n=20, digits n=30: their intervals have 1 degree of freedom, and say "
    "next to nothing; 3 or more are needed"
)


@pytest.mark.usefixtures("folder")
def test_warnings_are_in_the_json_too() -> None:
    shown = json.loads(call("plan", "small.yaml", "--json").stdout)

    assert [{"kind": "replicates", "text": TWO_SEEDS}] == shown["warnings"]


@pytest.mark.usefixtures("folder")
def test_small_plan_is_a_line_for_each_trial() -> None:
    result = call("plan", "small.yaml")

    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines() == [
        "small: 4 trials, 4 results",
        "Small",
        "to do    random -> digits n=20 seed=0 probe",
        "to do    random -> digits n=20 seed=1 probe",
        "to do    random -> digits n=30 seed=0 probe",
        "to do    random -> digits n=30 seed=1 probe",
        f"warning: {TWO_SEEDS}",
        "4 trials: 0 done, 0 failed, 0 skipped, 4 to do",
    ]


@pytest.mark.usefixtures("folder")
def test_plan_as_json_has_each_trials_position_and_status() -> None:
    [first, *others] = planned("small.yaml")

    assert len(others) == 3
    assert first.pop("id") not in [one["id"] for one in others]
    assert first == {
        "name": "random -> digits n=20 seed=0 probe",
        "source": "random",
        "adapter": None,
        "target": "digits",
        "n": 20,
        "seed": 0,
        "transfer": "probe",
        "evaluations": ["clean"],
        "state": "todo",
        "reason": None,
        "evaluations_skipped": {},
    }


@pytest.mark.usefixtures("folder")
def test_plan_knows_what_is_recorded_and_what_failed() -> None:
    first, second, *_ = planned("small.yaml")
    finish(str(first["id"]))
    fail(Path("runs/small"), second["id"], "RuntimeError: no\nluck")
    lines = call("plan", "small.yaml").stdout.splitlines()

    assert not Path("runs/small/plan.json").exists()
    assert lines[2:4] == [
        "to do    random -> digits n=20 seed=0 probe",  # its fit is recorded, its result is not
        "failed   random -> digits n=20 seed=1 probe  (RuntimeError: no luck)",
    ]


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("suite", ["small", "large"])
def test_plan_reports_skipped_evaluations(suite: str) -> None:
    run = Run(Path("runs") / suite)
    fits = [trial["id"] for trial in planned(f"{suite}.yaml")[:2]]
    results = [
        one.evaluations["clean"][0]
        for one in make_plan(load(f"{suite}.yaml", HOST), HOST).trials[:2]
    ]
    for fit, result in zip(fits, results, strict=True):
        finish(str(fit), suite)
        run.write_attempt(
            {"id": result, "status": "skipped", "reason": "no sense", "deterministic": True}
        )

    assert (
        call("plan", f"{suite}.yaml").stdout.splitlines()[-2]
        == "clean skipped in 2 trials: no sense"
    )
    assert [one["evaluations_skipped"] for one in planned(f"{suite}.yaml")[1:3]] == [
        {"clean": "no sense"},
        {},
    ]


@pytest.mark.usefixtures("folder")
def test_large_plan_is_its_axes_counts_and_reasons() -> None:
    trials = planned("large.yaml")
    for trial in trials[:3]:
        fail(Path("runs/large"), trial["id"], "no luck")
    lines = call("plan", "large.yaml").stdout.splitlines()

    assert "large: 202 trials, 202 results" in lines
    assert "target      digits: n 20, 30 with seeds 0..100" in lines
    assert "failed 3 x  no luck  (first: random -> digits n=20 seed=0 probe)" in lines
    assert lines[-1] == "202 trials: 0 done, 3 failed, 0 skipped, 199 to do"
    assert len(lines) < 15


def test_runs_folder_can_be_another_one(folder: Path) -> None:
    [first, *_] = planned("small.yaml")
    fail(folder / "elsewhere" / "small", first["id"], "no luck")

    assert (
        call("plan", "small.yaml").stdout.splitlines()[-1].endswith("0 failed, 0 skipped, 4 to do")
    )
    assert (
        call("plan", "small.yaml", "--runs", "elsewhere")
        .stdout.splitlines()[-1]
        .endswith("1 failed, 0 skipped, 3 to do")
    )


@pytest.mark.usefixtures("folder")
def test_suite_is_shown_as_its_axes() -> None:
    shown = json.loads(call("show", "small.yaml", "--json").stdout)

    assert (shown["trials"], shown["results"], shown["skipped"]) == (4, 4, 0)
    assert shown["targets"] == {"digits": [{"n": [20, 30], "seeds": [0, 1]}]}
    assert "transfer    probe" in call("show", "small.yaml").stdout.splitlines()


@pytest.mark.usefixtures("folder")
def test_suite_in_a_folder_is_not_taken_for_a_component() -> None:
    Path("suites").mkdir()
    Path("small.yaml").rename("suites/small.yaml")

    assert call("show", "suites/small.yaml").stdout.startswith("small: 4 trials")


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize("command", ["plan", "show", "run"])
def test_mistakes_in_a_suite_are_reported_with_positions_and_nothing_is_run(command: str) -> None:
    text = (
        Path("small.yaml")
        .read_text()
        .replace("foolbox/clean_accuracy", "foolbox/clean")
        .replace("n: [20, 30]", "n: x")
    )
    Path("small.yaml").write_text(text)
    result = call(command, "small.yaml")

    assert (result.exit_code, result.stdout) == (2, "")
    assert [line.partition(": ")[0].split(":")[:2] for line in result.stderr.splitlines()] == [
        ["small.yaml", "8"],
        ["small.yaml", "12"],
    ]
    assert not Path("runs").exists()


def test_schema_is_json_on_stdout() -> None:
    result = call("schema")

    assert result.exit_code == 0
    assert json.loads(result.stdout)["$schema"] == "https://json-schema.org/draft/2020-12/schema"


WITH_FILES = SUITE.replace(
    "  digits: {use: vision/digits}\n",
    "  digits: {use: vision/digits}\n  own: {use: vision/npz, file: own.npz}\n"
    "  folder: {use: vision/image_folder, root: photographs, channels: 1, size: 8}\n",
).replace(
    "targets:\n",
    "targets:\n  photographs: {data: folder, n: [20]}\n  own: {data: own, n: [20], seeds: 2}\n",
)


@pytest.mark.usefixtures("folder")
def test_missing_files_are_named_and_counted_in_a_plan_without_data() -> None:
    Path("files.yaml").write_text(WITH_FILES.replace("SEEDS", "2"))
    refused = call("plan", "files.yaml")
    lines = call("plan", "files.yaml", "--without-data").stdout.splitlines()

    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "own.npz" in refused.stderr
    assert "photographs" in refused.stderr
    assert lines[0] == "files: 7 trials, 7 results"
    assert lines[-4:] == [
        "7 trials: 0 done, 0 failed, 0 skipped, 7 to do",
        "missing  file own.npz",
        "missing  folder photographs",
        "ids of 3 trials are provisional: they depend on missing content; nothing of them can be run",
    ]


@pytest.mark.usefixtures("folder")
def test_only_ids_that_depend_on_missing_content_are_provisional() -> None:
    Path("files.yaml").write_text(WITH_FILES.replace("SEEDS", "2"))
    shown = json.loads(call("plan", "files.yaml", "--without-data", "--json").stdout)
    final = {trial["id"] for trial in shown["trials"] if not trial["provisional"]}

    assert shown["missing"] == [
        {"kind": "file", "name": "own.npz"},
        {"kind": "folder", "name": "photographs"},
    ]
    assert {trial["target"] for trial in shown["trials"] if trial["provisional"]} == {
        "own",
        "photographs",
    }
    assert final == {trial["id"] for trial in planned("small.yaml")}


@pytest.mark.usefixtures("folder")
def test_declared_digest_of_a_missing_file_makes_final_ids() -> None:
    declared = WITH_FILES.replace("own.npz", f"own.npz, sha256: {'ab' * 32}")
    Path("files.yaml").write_text(declared.replace("SEEDS", "2"))
    shown = json.loads(call("plan", "files.yaml", "--without-data", "--json").stdout)

    assert {trial["target"] for trial in shown["trials"] if trial["provisional"]} == {"photographs"}
    assert [item["name"] for item in shown["missing"]] == ["own.npz", "photographs"]


@pytest.mark.usefixtures("folder")
def test_plan_without_data_is_the_plan_where_nothing_is_missing() -> None:
    shown = json.loads(call("plan", "small.yaml", "--without-data", "--json").stdout)

    assert shown["missing"] == []
    assert [trial["id"] for trial in shown["trials"]] == [
        trial["id"] for trial in planned("small.yaml")
    ]
    assert call("plan", "small.yaml", "--without-data").stdout.splitlines()[-1] == (
        "nothing is missing: all ids are final"
    )


@pytest.mark.usefixtures("folder")
def test_nothing_is_estimated_or_run_without_data() -> None:
    Path("files.yaml").write_text(WITH_FILES.replace("SEEDS", "2"))
    estimated = call("plan", "files.yaml", "--without-data", "--estimate")

    assert (estimated.exit_code, estimated.stdout) == (2, "")
    assert "leave out --estimate" in estimated.stderr
    assert call("run", "files.yaml").exit_code == 2
    assert not Path("runs").exists()
