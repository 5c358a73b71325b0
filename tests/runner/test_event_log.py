"""The event log: what the documentation says of it, what code emits, and what a run writes."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path

import pytest

import advtransfer
from advtransfer.runner.event_reader import EVENT_LOG_VERSION, read_events

PACKAGE = Path(advtransfer.__file__).parent
DOCUMENT = Path(__file__).parents[2] / "docs" / "events.md"
SUITE = """\
version: 1
title: One trial that works and one that makes no sense
datasets:
  high: {use: vision/digits, classes: [5, 6, 7, 8, 9]}
sources:
  random: {use: vision/random_init, data: high, network: small_cnn}
targets:
  digits: {data: high, n: [20], validation: 0, test: 60}
transfers:
  probe: {use: finetune/linear_probe}
  blow: {use: finetune/full, epochs: 3, optimiser: {kind: sgd, lr: 1e30}}
evaluations:
  clean: {use: foolbox/clean_accuracy}
"""


def documented_fields() -> dict[str, set[str]]:
    """The fields of each event by the table, without `event` and `time`, which all have."""
    rows = re.findall(r"^\| `(\w+)` \|[^|]*\|([^|]*)\|$", DOCUMENT.read_text(), re.MULTILINE)
    return {event: set(re.findall(r"`(\w+)`", fields)) for event, fields in rows}


def named_events(file: Path) -> set[str]:
    """The events that a file of the host emits or sends, by its text."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        values: list[ast.expr | None] = []
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            values += node.args[:1] if node.func.attr == "emit" else []
        elif isinstance(node, ast.Dict):
            keys = [key.value if isinstance(key, ast.Constant) else None for key in node.keys]
            values += [node.values[keys.index("event")]] if "event" in keys else []
        names |= {
            value.value
            for value in values
            if isinstance(value, ast.Constant) and isinstance(value.value, str)
        }
    return names


def test_every_event_of_the_code_is_documented() -> None:
    files = [
        file
        for room in ("runner", "worker", "executors")
        for file in (PACKAGE / room).rglob("*.py")
    ]
    emitted = set().union(*map(named_events, files))

    assert {"run_started", "progress", "worker_replaced"} <= emitted
    assert emitted - documented_fields().keys() == set()


def test_a_run_writes_the_documented_fields(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADVTRANSFER_CACHE", str(tmp_path / "cache"))
    settings = {"executor": "local/inline", "battery": "none", "quiet": True}
    advtransfer.run(SUITE, name="tiny", **settings)  # type: ignore[arg-type]  # of several types
    documented = documented_fields()

    events = list(read_events(tmp_path / "runs" / "tiny" / "events.jsonl"))

    assert {"run_started", "trial_finished", "trial_failed", "run_finished"} <= {
        event["event"] for event in events
    }
    for event in events:
        fields = event.keys() - {"event", "time"}
        # Only warnings from inside a job name it.
        if event["event"] == "warning":
            assert fields <= documented["warning"]
        else:
            assert fields == documented[str(event["event"])], event["event"]
    assert [e["version"] for e in events if e["event"] == "run_started"] == [EVENT_LOG_VERSION]


def test_old_and_torn_logs_are_read(tmp_path: Path) -> None:
    log = tmp_path / "events.jsonl"
    lines = [
        json.dumps({"event": "run_started", "time": 1.0, "jobs": 2}),
        '{"event": "tri',
        "[1]",
        json.dumps({"event": "of_a_later_version", "time": 2.0}),
    ]
    log.write_text("\n".join(lines))

    assert [e["event"] for e in read_events(log)] == ["run_started", "of_a_later_version"]
    assert list(read_events(tmp_path / "none.jsonl")) == []
