"""Comparison of runs: one thing that differs is named first, and noise is told from a difference."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from click.testing import CliRunner

from advtransfer.cli import main
from advtransfer.leaderboard.run_causes import CAUSES, RunSide, find_causes
from advtransfer.leaderboard.run_comparison import ComparisonReport, compare_runs
from advtransfer.planning import Plan
from advtransfer.result import Run

RESULTS = Path(__file__).parents[2] / "leaderboard" / "results" / "quickstart"
Change: TypeAlias = Callable[[dict[str, Any]], None]  # Any: JSON


@pytest.fixture(scope="module")
def bundle() -> Path:
    return next(path.parent for path in sorted(RESULTS.rglob("plan.json")))


@pytest.fixture(scope="module")
def original(bundle: Path) -> RunSide:
    run = Run(bundle)
    records = {str(record["id"]): record for record in run.read_records()}
    return RunSide(Plan.from_json(run.read_plan()), records, run.read_environments())


def changed(side: RunSide, change: Change) -> RunSide:
    """Return a side with a change in its plan, every record and every environment."""
    sides: dict[str, Any] = {  # Any: JSON
        "plan": side.plan.to_json(),
        "records": copy.deepcopy(dict(side.records)),
        "environments": copy.deepcopy(dict(side.environments)),
    }
    change(sides)
    return RunSide(Plan.from_json(sides["plan"]), sides["records"], sides["environments"])


def of_kind(sides: dict[str, Any], kind: str) -> list[dict[str, Any]]:  # Any: JSON
    return [record for record in sides["records"].values() if record["kind"] == kind]


def another_name(sides: dict[str, Any]) -> None:  # Any: JSON
    sides["plan"]["suite"] = "another"


def another_suite(sides: dict[str, Any]) -> None:  # Any: JSON
    another_name(sides)
    for trial in sides["plan"]["trials"]:
        trial["evaluations"].popitem()


def another_option(sides: dict[str, Any]) -> None:  # Any: JSON
    for record in of_kind(sides, "fit"):
        if record["asked"]["use"] == "finetune/blocks":
            record["asked"]["options"]["epochs"] = 61
            record["weights"]["digest"] = "1" * 64


def another_plugin(sides: dict[str, Any]) -> None:  # Any: JSON
    for record in of_kind(sides, "fit"):
        record["provenance"]["plugin"]["version"] = "9.9"
        record["weights"]["digest"] = "1" * 64


def other_code(sides: dict[str, Any]) -> None:  # Any: JSON
    for record in of_kind(sides, "result"):
        record["observed"]["code"]["foolbox"] = "1" * 64


def another_library(sides: dict[str, Any]) -> None:  # Any: JSON
    for environment in sides["environments"].values():
        environment["libraries"]["torch"] = "1.0"
    for record in of_kind(sides, "fit"):
        record["weights"]["digest"] = "1" * 64


def another_device(sides: dict[str, Any]) -> None:  # Any: JSON
    for record in sides["records"].values():
        record["provenance"]["device"] = "cuda"
    for record in of_kind(sides, "source"):
        record["weights"]["digest"] = "1" * 64


def another_processor(sides: dict[str, Any]) -> None:  # Any: JSON
    for environment in sides["environments"].values():
        environment["processor"]["model"] = "another"
    for record in of_kind(sides, "source"):
        record["weights"]["digest"] = "1" * 64


def other_threads(sides: dict[str, Any]) -> None:  # Any: JSON
    for record in sides["records"].values():
        record["provenance"]["threads"] = 7


def other_data(sides: dict[str, Any]) -> None:  # Any: JSON
    for record in of_kind(sides, "fit"):
        record["provenance"]["data"]["train"] = "1" * 64
        record["weights"]["digest"] = "1" * 64


def other_weights(sides: dict[str, Any]) -> None:  # Any: JSON
    for record in of_kind(sides, "source"):
        record["weights"]["digest"] = "1" * 64


def other_seeds(sides: dict[str, Any]) -> None:  # Any: JSON
    sides["plan"]["trials"] = [each for each in sides["plan"]["trials"] if each["seed"] != 2]


def another_battery(sides: dict[str, Any]) -> None:  # Any: JSON
    for record in of_kind(sides, "battery"):
        record["asked"]["options"]["size"] = "full"


CHANGES: dict[Change, str] = {
    another_name: "name",
    another_suite: "suite",
    another_option: "options",
    another_plugin: "plugins",
    other_code: "plugins",
    another_library: "libraries",
    another_device: "device",
    another_processor: "processor",
    other_threads: "threads",
    other_data: "data",
    other_weights: "weights",
    other_seeds: "seeds",
    another_battery: "battery",
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_the_thing_that_differs_is_named_first(original: RunSide, change: Change) -> None:
    other = changed(original, change)
    trials = {trial.id: trial for trial in other.plan.trials}
    pairs = [(trial, trials[trial.id]) for trial in original.plan.trials if trial.id in trials]
    causes = find_causes(original, other, pairs, whole=True)
    assert causes[0].kind == CHANGES[change]
    assert [cause.kind for cause in causes] == sorted(
        [cause.kind for cause in causes], key=CAUSES.index
    )


@pytest.mark.parametrize(
    "change",
    [change for change in CHANGES if change is not another_name],
    ids=lambda change: change.__name__,
)
def test_another_name_of_the_suite_hides_no_cause(original: RunSide, change: Change) -> None:
    """A copy of a suite in which one thing is changed has another name as well."""

    def both(sides: dict[str, Any]) -> None:  # Any: JSON
        another_name(sides)
        change(sides)

    other = changed(original, both)
    trials = {trial.id: trial for trial in other.plan.trials}
    pairs = [(trial, trials[trial.id]) for trial in original.plan.trials if trial.id in trials]
    causes = find_causes(original, other, pairs, whole=True)
    assert causes[0].kind == CHANGES[change]
    assert str(causes[-1]) == f"name: suite: {original.plan.suite} | another"


def test_another_name_alone_is_told_and_called_no_cause(bundle: Path) -> None:
    plan: dict[str, Any] = {**Run(bundle).read_plan(), "suite": "another"}  # Any: JSON
    renamed = Run(bundle)
    renamed.read_plan = lambda: plan  # type: ignore[method-assign]  # of the same records
    lines = compare_runs(Run(bundle), renamed).lines()
    assert lines[0].startswith("nothing but the suite's name differs")
    assert f"  name: suite: {Run(bundle).read_plan()['suite']} | another" in lines


def test_every_kind_of_cause_is_tested() -> None:
    assert {*CHANGES.values()} == {*CAUSES}


def test_a_run_does_not_differ_from_itself(bundle: Path) -> None:
    report = compare_runs(Run(bundle), Run(bundle))
    assert report.causes == ()
    assert report.comparisons
    assert all(each.is_equal for each in report.comparisons)
    assert not any(each.is_beyond_noise for each in report.comparisons)
    assert report.unmatched == (0, 0)


def test_rows_differ_as_the_page_says(bundle: Path) -> None:
    # The page's delta of this row to its baseline, from the same pairs.
    rows = ("natural block1", "random block1")
    report = compare_runs(Run(bundle), Run(bundle), rows=rows)
    by_place = {each.place: each for each in report.comparisons if each.metric == "clean.accuracy"}
    page = (bundle.parents[1] / "quickstart" / "README.md") if bundle.name == "quickstart" else None
    page = page or bundle.parents[2] / "quickstart" / "README.md"
    (line,) = [
        line for line in page.read_text().splitlines() if "| random" in line and "-.068" in line
    ]
    assert "-.068 [-.102, -.037]" in line
    difference = by_place["digits_5_9", 100].difference
    assert f"{difference.low:.3f}" == "-0.068"
    assert difference.interval is not None
    assert [f"{end:.3f}" for end in difference.interval] == ["-0.102", "-0.037"]
    assert report.causes[0].kind == "options"


def test_the_command_says_the_cause_first_and_gives_json(bundle: Path) -> None:
    arguments = ["compare", str(bundle), "--rows", "natural probe", "linf 0.1 probe"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0
    assert result.output.startswith("likely cause of any difference: options: source")
    assert '"beyond_noise"' in CliRunner().invoke(main, [*arguments, "--json"]).output


@pytest.mark.parametrize(
    ("extra", "expected"), [([], "--rows X Y"), (["--rows", "natural", "x"], "natural probe")]
)
def test_unusable_arguments_are_told(bundle: Path, extra: list[str], expected: str) -> None:
    result = CliRunner().invoke(main, ["compare", str(bundle), *extra])
    assert result.exit_code == 2
    assert expected in result.output


def test_rows_without_a_common_trial_name_their_options_and_are_not_called_noise(
    bundle: Path,
) -> None:
    report = compare_runs(Run(bundle), Run(bundle), rows=("natural probe", "random block1"))
    lone = compare_runs_with_seeds_apart(bundle)
    assert report.causes[0].kind == "options"
    assert lone.causes[0].kind == "options"
    assert not {cause.kind for cause in lone.causes} & {"weights", "data"}
    assert lone.comparisons
    assert not any(each.is_paired or each.is_beyond_noise for each in lone.comparisons)
    text = "\n".join(lone.lines())
    assert "0 within noise" in text
    assert f"{sum(not each.is_equal for each in lone.comparisons)} not tested" in text
    assert "nothing differs" not in text


def compare_runs_with_seeds_apart(bundle: Path) -> ComparisonReport:
    """Compare two rows of which the first has seed 0 alone, and the second all others."""
    plans = []
    for keep in ((0,), (1, 2)):
        plan: dict[str, Any] = copy.deepcopy(dict(Run(bundle).read_plan()))
        plan["trials"] = [each for each in plan["trials"] if each["seed"] in keep]
        plans.append(plan)
    runs = []
    for plan in plans:
        run = Run(bundle)
        run.read_plan = lambda plan=plan: plan  # type: ignore[method-assign,misc]  # a part of the plan
        runs.append(run)
    return compare_runs(runs[0], runs[1], rows=("natural probe", "random block1"))


def part_of_bundle(
    bundle: Path, folder: Path, *, keep: Callable[[dict[str, Any]], bool]
) -> Run:  # Any: JSON
    """Return a copy of a bundle with some of its records alone."""
    shutil.copytree(bundle, folder)
    records = [dict(record) for record in Run(bundle).read_records()]
    shutil.rmtree(folder / "records")
    (folder / "records").mkdir()
    lines = [json.dumps(record) for record in records if keep(record)]
    (folder / "records" / "all.jsonl").write_text("".join(f"{line}\n" for line in lines))
    return Run(folder)


def test_a_run_of_which_nothing_was_measured_is_told(bundle: Path, tmp_path: Path) -> None:
    failed = part_of_bundle(bundle, tmp_path / "failed", keep=lambda record: False)
    for pair in ((Run(bundle), failed), (failed, Run(bundle)), (failed, failed)):
        report = compare_runs(*pair)
        text = "\n".join(report.lines())
        assert report.comparisons == ()
        assert "no row has the same metric, target and n on both sides: nothing to compare" in text
        assert "nothing differs" not in text


def test_trials_that_one_side_lacks_are_counted(bundle: Path, tmp_path: Path) -> None:
    plan = Plan.from_json(Run(bundle).read_plan())
    lost = {trial.id for trial in plan.trials if trial.seed == 2}

    def is_kept(record: dict[str, Any]) -> bool:  # Any: JSON
        return not lost & {record["id"], record["asked"]["inputs"].get("model")}

    report = compare_runs(Run(bundle), part_of_bundle(bundle, tmp_path / "part", keep=is_kept))
    text = "\n".join(report.lines())
    assert report.comparisons
    assert all(each.is_equal for each in report.comparisons)
    assert f"not measured: 0 trials of the first, {len(lost)} of the second" in text
