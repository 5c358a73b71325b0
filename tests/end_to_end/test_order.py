from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

if TYPE_CHECKING:
    from advtransfer.testing.command import Command

Records = Callable[[Path], dict[str, str]]


def overlapping(log: Path) -> bool:
    """Whether jobs of two workers ran at the same time, by the event log."""
    events = [json.loads(line) for line in log.read_text().splitlines()]
    began = {event["id"]: event for event in events if event["event"] == "job_started"}
    spans = [
        (began[event["id"]]["time"], event["time"], began[event["id"]]["worker"])
        for event in events
        if event["event"] == "job_finished"
    ]
    return any(a[2] != b[2] and a[0] < b[1] and b[0] < a[1] for a in spans for b in spans)


def reversed_entries(text: str) -> str:
    suite = yaml.safe_load(text)
    turned = {
        section: dict(reversed(entries.items())) if isinstance(entries, dict) else entries
        for section, entries in reversed(suite.items())
    }
    return yaml.safe_dump(turned, sort_keys=False)


def without_seconds(run: Path) -> None:
    """Take from a run's records what was observed, which may differ."""
    for path in run.glob("records/*/*.json"):
        record = json.loads(path.read_text())
        record["observed"] = {}
        path.write_text(json.dumps(record))


@pytest.mark.slow
def test_neither_jobs_nor_the_order_of_entries_nor_locale_time_zone_or_hash_seed_changes_a_record_or_the_page(
    command_in: Callable[[str], Command], records_of: Records
) -> None:
    one, two = command_in("one"), command_in("two")
    text = (two.folder / "small.yaml").read_text()
    (two.folder / "small.yaml").write_text(reversed_entries(text))
    one("run", "small.yaml", "--jobs", "1", "--quiet", TZ="UTC", LC_ALL="C", PYTHONHASHSEED="1")
    two(
        "run",
        "small.yaml",
        "--jobs",
        "2",
        "--quiet",
        TZ="Asia/Tokyo",
        LC_ALL="C.UTF-8",
        PYTHONHASHSEED="2",
    )
    first, second = one.folder / "runs" / "small", two.folder / "runs" / "small"

    assert records_of(first) == records_of(second)
    assert len(records_of(first)) == 2 + 12 + 24 + 12
    assert overlapping(second / "events.jsonl")
    assert not overlapping(first / "events.jsonl")

    for run in (first, second):
        without_seconds(run)
    one("leaderboard", "runs/small", TZ="UTC", LC_ALL="C", PYTHONHASHSEED="1")
    shutil.copytree(second, two.folder / "elsewhere" / "small")
    two("leaderboard", "elsewhere/small", TZ="Asia/Tokyo", LC_ALL="C.UTF-8", PYTHONHASHSEED="2")
    pages = [run / "leaderboard.md" for run in (first, two.folder / "elsewhere" / "small")]
    figures = [sorted(path.parent.glob("*.svg")) for path in pages]

    assert pages[0].read_bytes() == pages[1].read_bytes()
    assert [path.read_bytes() for path in figures[0]] == [path.read_bytes() for path in figures[1]]
    assert figures[0]
