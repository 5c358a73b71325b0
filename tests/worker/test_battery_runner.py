"""Batteries behind the results of whole runs: shared, and run again if their record is gone."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import pytest

from advtransfer import runner, suite
from advtransfer.errors import BadInput
from advtransfer.host import Host
from advtransfer.node import content_id
from advtransfer.result import Run
from advtransfer.result.battery_index import BatteryIndex
from advtransfer.result.comparison import verdict_with_batteries
from advtransfer.runner import RunSettings, RunSummary
from advtransfer.types import BatterySize

SUITE = """\
version: 1
title: One fit
datasets:
  low: {use: vision/digits, classes: [0, 1, 2]}
  high: {use: vision/digits, classes: [5, 6, 7]}
sources:
  random: {use: vision/random_init, data: low}
targets:
  digits: {data: high, n: [60], seeds: 1, test: 60}
transfers:
  probe: {use: finetune/linear_probe}
evaluations:
  clean: {use: foolbox/clean_accuracy}
  fgsm: {use: foolbox/fgsm, norm: linf, eps: 0.05}
  pgd: {use: foolbox/pgd, norm: linf, eps: 0.05, steps: 10, step_size: 0.01}
  pgd20: {use: foolbox/pgd, norm: linf, eps: 0.05, steps: 20, step_size: 0.005}
  zero: {use: foolbox/pgd, norm: linf, eps: 0, steps: 1, step_size: 0.01}
leaderboard:
  rank_by: clean.accuracy
  columns: [clean.accuracy, pgd.robust_accuracy]
"""
Read = Mapping[str, Any]  # Any: records as they lie on disk


@pytest.fixture(scope="module")
def host() -> Host:
    return Host.discover()


def run_in(
    folder: Path, host: Host, *, battery: BatterySize = "small", runs: str = "runs"
) -> tuple[RunSummary, Run]:
    """Run the suite in this folder, or go on with it."""
    (folder / "one.yaml").write_text(SUITE)
    settings = RunSettings(
        executor="local/inline",
        battery=battery,
        runs=folder / runs,
        cache=folder / f"cache of {runs}",
    )
    loaded = suite.load(str(folder / "one.yaml"), host)
    summary = runner.run_suite(loaded, settings=settings, host=host)
    return summary, Run(summary.run)


@pytest.fixture(scope="module")
def finished(host: Host, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the suite has been run once."""
    folder = tmp_path_factory.mktemp("finished")
    summary, _ = run_in(folder, host)
    assert (1, 0) == (summary.done, summary.todo)
    return folder


@pytest.fixture
def run(host: Host, finished: Path, tmp_path: Path) -> Callable[..., tuple[RunSummary, Run]]:
    """Go on with a copy of the finished run, or run the suite in another folder."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)

    def go(*, battery: BatterySize = "small", folder: str = "runs") -> tuple[RunSummary, Run]:
        return run_in(tmp_path, host, battery=battery, runs=folder)

    return go


def of_kind(run: Run, kind: str) -> list[Read]:
    return [record for record in run.read_records() if record["kind"] == kind]


def pgd(run: Run) -> list[Read]:
    """The results of both PGD evaluations at a radius above 0."""
    results = [
        record for record in of_kind(run, "result") if record["asked"]["use"] == "foolbox/pgd"
    ]
    return [record for record in results if record["asked"]["options"]["eps"] != 0]


def record_path(run: Run, id: str) -> Path:
    return run.path / "records" / id[:2] / f"{id}.json"


def _refuse(*given: object, **options: object) -> NoReturn:
    raise AssertionError("an evaluation is measured again")


def stripped(records: list[Read]) -> list[str]:
    return [
        json.dumps({name: record[name] for name in record if name != "observed"}, sort_keys=True)
        for record in records
    ]


def test_evaluations_of_one_model_in_one_ball_share_a_battery(
    run: Callable[..., tuple[RunSummary, Run]],
) -> None:
    _, done = run()
    (battery,) = of_kind(done, "battery")
    first, second = pgd(done)

    assert {"norm": "linf", "eps": 0.05, "size": "small"} == battery["asked"]["options"]
    assert battery["id"] == first["battery"] == second["battery"]
    assert first["asked"]["inputs"]["model"] == battery["asked"]["inputs"]["model"]
    assert {"missed", "noise", "transferred", "huge_eps", "untouched"} <= {
        check["name"] for check in first["checks"]
    }
    assert {"checked"} == {record["verdict"]["value"] for record in (first, second)}


def test_single_step_and_radius_0_have_no_battery(
    run: Callable[..., tuple[RunSummary, Run]],
) -> None:
    _, done = run()
    others = [
        record
        for record in of_kind(done, "result")
        if record["id"] not in {result["id"] for result in pgd(done)}
    ]

    assert 3 == len(others)
    assert {None} == {record["battery"] for record in others}
    assert {"unchecked"} == {record["verdict"]["value"] for record in others}


def test_deleted_battery_is_run_again_with_equal_results(
    run: Callable[..., tuple[RunSummary, Run]],
) -> None:
    _, done = run()
    before, battery = stripped(list(done.read_records())), of_kind(done, "battery")[0]["id"]
    for record in (battery, pgd(done)[0]["id"]):
        (done.path / "records" / record[:2] / f"{record}.json").unlink()
    again, _ = run()

    assert (1, 0) == (again.done, again.todo)
    assert before == stripped(list(done.read_records()))


def test_deleted_battery_alone_is_run_again_and_is_no_trial(
    run: Callable[..., tuple[RunSummary, Run]],
) -> None:
    first, done = run()
    before, battery = stripped(list(done.read_records())), of_kind(done, "battery")[0]["id"]
    (done.path / "records" / battery[:2] / f"{battery}.json").unlink()
    again, _ = run()

    assert (1, 0) == (first.done, first.todo) == (again.done, again.todo)
    assert before == stripped(list(done.read_records()))


def age_battery(run: Run) -> str:
    """Give a run the battery record of an earlier release instead of its own; return its id."""
    (battery,) = of_kind(run, "battery")
    old = {name: battery[name] for name in battery if name != "positions"}
    old["asked"] = {**battery["asked"], "version": 2}
    old["id"] = content_id(old["asked"])
    run.write_record(old)
    for result in pgd(run):
        path = record_path(run, result["id"])
        path.unlink()
        run.write_record({**result, "battery": old["id"]})
    record_path(run, battery["id"]).unlink()
    return str(old["id"])


def test_battery_of_an_earlier_version_is_run_again_beside_it_and_its_result_stays(
    run: Callable[..., tuple[RunSummary, Run]], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, done = run()
    (battery,) = stripped(of_kind(done, "battery"))
    old = age_battery(done)
    results = pgd(done)
    monkeypatch.setattr("advtransfer_foolbox.attack_accuracy.AttackAccuracy.measure", _refuse)
    again, _ = run()

    assert (1, 0) == (again.done, again.todo)
    assert {old} < {record["id"] for record in of_kind(done, "battery")}
    assert battery in stripped(of_kind(done, "battery"))
    assert results == pgd(done)
    index = BatteryIndex(of_kind(done, "battery"))
    assert {"checked"} == {verdict_with_batteries(result, index).value for result in results}


def test_battery_of_another_size_is_run_beside_the_recorded_one(
    run: Callable[..., tuple[RunSummary, Run]],
) -> None:
    _, done = run()
    results = pgd(done)
    run(battery="full")
    sizes = {record["asked"]["options"]["size"] for record in of_kind(done, "battery")}

    assert {"small", "full"} == sizes
    assert results == pgd(done)
    with pytest.raises(BadInput, match="battery none"):
        run(battery="none")


def test_battery_changes_only_the_checks_of_results(
    run: Callable[..., tuple[RunSummary, Run]],
) -> None:
    with_battery = pgd(run()[1])
    _, done = run(battery="none", folder="others")
    without = pgd(done)

    assert [] == of_kind(done, "battery")
    assert {None} == {record["battery"] for record in without}
    assert {"unchecked"} == {record["verdict"]["value"] for record in without}
    for name in ("id", "outcomes", "metrics"):
        assert [record[name] for record in with_battery] == [record[name] for record in without]
