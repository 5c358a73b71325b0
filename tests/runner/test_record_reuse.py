"""Stale records, their supersession, and copies of records of other runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import cast

import pytest

from advtransfer.errors import CacheError
from advtransfer.host import Host, Plugin
from advtransfer.node import Node
from advtransfer.planning import Plan, Trial
from advtransfer.planning.nodes import SuiteIndex
from advtransfer.result import Run
from advtransfer.result.record import Record
from advtransfer.runner import trial_statuses
from advtransfer.runner.record_reuse import (
    StaleRecords,
    copy_records,
    find_stale_records,
    supersede_records,
)
from advtransfer.suite import GridEntry, Suite
from advtransfer.testing.records import complete_record
from advtransfer.types import ComponentMetadata, Json

SOURCE, FIT, BATTERY = (complete_record({"kind": kind}) for kind in ("source", "fit", "battery"))
RESULT = complete_record({"kind": "result", "battery": BATTERY["id"]})
IDS = {str(record["kind"]): str(record["id"]) for record in (SOURCE, FIT, RESULT, BATTERY)}
TRIAL = Trial(
    IDS["fit"],
    "natural",
    "natural",
    None,
    None,
    "digits",
    20,
    0,
    "probe",
    {"clean": (IDS["result"],)},
    (IDS["source"],),
)
PLAN = Plan("small", "Small", {}, {IDS["source"]: "natural"}, (TRIAL,))


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    """Two plugins whose installed code has the digests ``new`` and ``same``."""
    made = Host([Plugin(name, ModuleType(name), "odd", "1.0") for name in ("odd", "vision")])
    monkeypatch.setattr(made, "_code_digests", {"odd": "new", "vision": "same"})
    return made


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Run]:
    """A run with a record of the fit, of its result, of its battery and of the source, made with some code."""

    def write(**code: dict[str, str] | None) -> Run:
        run = Run(tmp_path)
        for record in (SOURCE, FIT, RESULT, BATTERY):
            observed = dict(cast("dict[str, Json]", record["observed"]))
            if (own := code.get(str(record["kind"]), {"vision": "same"})) is not None:
                observed["code"] = dict(own)
            run.write_record(record | {"observed": observed})
        return run

    return write


def test_stale_records_are_named_and_count_as_to_do(write: Callable[..., Run], host: Host) -> None:
    run = write(result={"odd": "old", "vision": "same"}, battery={"odd": "old"})
    stale = find_stale_records(PLAN, run, host)

    assert {
        IDS["result"]: "clean of natural -> digits n=20 seed=0 probe",
        IDS["battery"]: "battery of clean of natural -> digits n=20 seed=0 probe",
    } == stale.records
    assert ("odd",) == stale.plugins
    assert "done" == trial_statuses(PLAN, run)[TRIAL.id].value
    assert "todo" == trial_statuses(PLAN, run, stale=stale.records)[TRIAL.id].value


def test_records_without_known_code_change_are_accepted(
    write: Callable[..., Run], host: Host
) -> None:
    run = write(source=None, fit={"gone": "old"}, result={"odd": "new", "vision": "same"})

    assert StaleRecords({}, ()) == find_stale_records(PLAN, run, host)


@pytest.mark.parametrize(
    ("code", "deterministic", "again"),
    [("old", True, True), ("new", True, False), ("old", False, False)],
)
def test_divergence_of_other_code_is_attempted_again(
    tmp_path: Path, host: Host, code: str, deterministic: bool, again: bool
) -> None:
    run = Run(tmp_path)
    observed: Json = {"code": {"odd": code}}
    failure: Record = {"status": "failed", "reason": "diverged", "deterministic": deterministic}
    run.write_attempt({"id": TRIAL.id, "observed": observed, **failure})
    stale = find_stale_records(PLAN, run, host)

    assert again == bool(stale)
    assert ("todo" if again else "failed") == trial_statuses(PLAN, run, stale=stale.records)[
        TRIAL.id
    ].value
    for id in stale.records:
        run.supersede_record(id)
    assert again == (run.latest_attempts() == {})


def test_unreadable_record_is_not_stale(write: Callable[..., Run], host: Host) -> None:
    run = write()
    (run.path / "records" / IDS["result"][:2] / f"{IDS['result']}.json").write_text("{")

    assert not find_stale_records(PLAN, run, host)


def test_superseded_record_is_kept_beside_the_run(
    write: Callable[..., Run],
) -> None:
    run, id = write(), IDS["result"]
    (run.path / "files" / id).mkdir(parents=True)
    (run.path / "files" / id / "x.svg").write_text("old figure")
    for place in ("first", "second"):
        run.write_record(RESULT | {"place": place})
        run.supersede_record(id)

    assert not run.has_record(id)
    assert id not in {record["id"] for record in run.read_records()}
    kept = run.path / "superseded" / id
    assert "old figure" == (kept / "1" / "files" / "x.svg").read_text()
    places = [json.loads(path.read_text())["place"] for path in sorted(kept.glob("*/record.json"))]
    assert ["first", "second"] == places


def test_data_set_of_changed_code_is_unpinned(
    tmp_path: Path,
) -> None:
    inner = Node("data", "odd/images")
    nodes = [
        inner,
        Node("data", "vision/portion", inputs={"data": inner}),
        Node("data", "vision/digits"),
    ]
    cells = tuple(
        GridEntry(node.use, node.use, node.use, None, node, None, ComponentMetadata())
        for node in nodes[1:]
    )
    run = Run(tmp_path)
    for node in nodes:
        run.pin_data(node.id, "before")
    supersede_records(
        run, StaleRecords({}, ("odd",)), SuiteIndex(Suite("s", "s", tmp_path, "", datasets=cells))
    )

    run.pin_data(nodes[0].id, "after")
    run.pin_data(nodes[1].id, "after")
    with pytest.raises(CacheError, match="has content after"):
        run.pin_data(nodes[2].id, "after")


@pytest.mark.parametrize(
    ("code", "trusted", "copied"), [("old", False, 0), ("new", False, 1), ("old", True, 1)]
)
def test_only_records_of_the_installed_code_are_copied(
    tmp_path: Path, host: Host, code: str, trusted: bool, copied: int
) -> None:
    node = Node("fit", "odd/probe")
    other, run = Run(tmp_path / "other"), Run(tmp_path / "run")
    record = complete_record({"kind": "fit", "asked": node.id_fields()})
    other.write_record(record | {"observed": {"code": {"odd": code}, "copied_from": None}})

    assert copied == copy_records(
        run, [node.id], known=[other.path], environment="e" * 64, host=None if trusted else host
    )
    assert bool(copied) == run.has_record(node.id)
