"""A viewer has the whole summary of the driver that it watches."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from advtransfer.runner import RunSummary
from advtransfer.runner.watch import summary_from_event


def test_every_field_of_a_summary_is_read_from_the_event_of_its_end() -> None:
    summary = RunSummary(
        *("small", Path("runs/small"), 1, 2, 3, 4, 5.5, True, Path("runs/small/leaderboard.md")),
        stopped="a worker is unfit",
        left="7 jobs of 7 trials",
        profile=Path("runs/small/profile.json"),
    )
    event = json.loads(json.dumps({"event": "run_finished", **asdict(summary)}, default=str))

    assert summary == summary_from_event(event)
