"""A plugin built for 0.2, never edited since, brings every kind of component and is told by every hook."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from advtransfer.host import Host, Plugin
from advtransfer.runner import RunSettings, RunSummary, run_suite
from advtransfer.suite import load
from advtransfer.worker.object_builder import installed_host

FROZEN = Path(__file__).parents[1] / "plugins_of_others" / "built_for_0_2"
NAME = "built_for_0_2"
SUITE = f"""\
datasets: {{stripes: {{use: {NAME}/stripes}}}}
sources: {{small: {{use: {NAME}/small}}}}
adapters: {{brighter: {{use: {NAME}/brighter, factor: 1.25}}}}
targets: {{stripes: {{data: stripes, n: [10, 20], seeds: 2}}}}
transfers:
  means: {{use: {NAME}/means}}
  none: {{use: {NAME}/means, shrink: 2.0, only: {{n: 20}}}}
evaluations: {{correct: {{use: {NAME}/correct}}}}
leaderboard: {{figures: [{{kind: accuracy_vs_n, metric: correct.accuracy}}]}}
"""
Note = dict[str, Any]  # Any: as varied as JSON


class Bench:
    """A suite of the frozen plugin, run in this process by the plugin's own executor."""

    def __init__(self, folder: Path, host: Host) -> None:
        self.folder, self.host = folder, host
        self.notes = folder / "notes.jsonl"
        self.events: list[Note] = []
        (folder / "frozen.yaml").write_text(SUITE)

    def __call__(self, *, limit: int | None = None) -> tuple[RunSummary, list[Note]]:
        self.notes.write_text("")
        settings = RunSettings(
            runs=self.folder / "runs",
            cache=self.folder / "cache",
            executor=f"{NAME}/here",
            jobs=1,
            limit=limit,
        )
        suite = load(str(self.folder / "frozen.yaml"), self.host)
        listeners = [lambda event: self.events.append(dict(event))]
        summary = run_suite(suite, settings=settings, host=self.host, listeners=listeners)
        return summary, [json.loads(line) for line in self.notes.read_text().splitlines()]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Bench]:
    monkeypatch.syspath_prepend(str(FROZEN))
    monkeypatch.setenv("BUILT_FOR_0_2_NOTES", str(tmp_path / "notes.jsonl"))
    host = Host([Plugin(NAME, f"advtransfer_{NAME}", "advtransfer-built-for-0-2", "1.0")])
    monkeypatch.setattr(Host, "discover", lambda: host)
    installed_host.cache_clear()
    yield Bench(tmp_path, host)
    installed_host.cache_clear()
    for module in [name for name in sys.modules if name.startswith(f"advtransfer_{NAME}")]:
        del sys.modules[module]


def hooked(notes: list[Note], hook: str) -> list[Note]:
    return [note for note in notes if note["hook"] == hook]


def test_it_runs_and_every_hook_is_told_once_of_each_fact(bench: Bench) -> None:
    first, before = bench(limit=1)
    second, after = bench()
    kinds = [note["kind"] for note in hooked(before, "record_written")]
    ids = [note["id"] for note in hooked(before + after, "record_written")]
    runs = [note["run"]["id"] for note in before + after if "run" in note]
    (source,) = [note for note in before if note.get("kind") == "source"]
    (finished,) = hooked(after, "run_finished")
    metrics = hooked(after, "trial_finished")[0]

    assert (1, 5) == (first.done, first.todo)
    assert (4, 0, 2, 0) == (second.done, second.failed, second.skipped, second.todo)
    assert ["source", "fit", "result"] == kinds
    assert len(set(ids)) == len(ids) == 1 + 4 + 4
    assert [{"epoch": 1, "loss": 0.75}, {"epoch": 2, "loss": 0.5}] == source["curves"]
    assert 3 == len(hooked(after, "trial_finished"))
    assert 2 == len(hooked(after, "trial_skipped"))
    assert 4 == len(runs)
    assert 1 == len(set(runs))
    assert 16 == len(runs[0])
    assert {os.getpid()} == {note["process"] for note in before + after}
    low, high = metrics["intervals"]["correct.accuracy"]
    assert 0 <= low <= metrics["metrics"]["correct.accuracy"] <= high <= 1
    assert "correct.logit" in metrics["metrics"]
    assert 4 == finished["summary"]["done"]
    names = {(file["kind"], file["name"]) for file in finished["files"]}
    assert {("page", "leaderboard.md"), ("file", "note.txt")} <= names
    assert {".svg", ".png"} <= {Path(name).suffix for kind, name in names if kind == "figure"}
    assert all(Path(file["path"]).is_file() for file in finished["files"])


def test_its_line_is_shown_clean_and_no_unlogged_fact_is_in_the_log(bench: Bench) -> None:
    summary, _ = bench(limit=1)
    told = [event for event in bench.events if event["event"] == "plugin_message"]
    log = [json.loads(line) for line in (summary.run / "events.jsonl").read_text().splitlines()]
    started = next(event for event in log if event["event"] == "run_started")

    assert [(NAME, "notes are written")] == [(event["plugin"], event["text"]) for event in told]
    assert not {"plan", "run_facts"} & set(started)
    assert not [event for event in log if event["event"] == "record_written"]


def test_an_outage_at_any_new_hook_is_told_once_with_its_plugin(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("BUILT_FOR_0_2_NOTES")
    summary = None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench, "notes", bench.folder / "unused")
        summary, _ = bench(limit=1)
    texts = [str(event["text"]) for event in bench.events if event["event"] == "warning"]

    assert 1 == summary.done
    for hook in ("run_started", "record_written", "run_finished"):
        assert 1 == sum(f"listener {NAME} raised KeyError at {hook}" in text for text in texts)
