"""Runs with a budget, and estimates of what is left to do, as a user types them."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from advtransfer.testing.command import Command

ONE_WORKER = ("--executor", "local/inline", "--battery", "none", "--quiet")


def test_budget_begins_nothing_that_would_end_later_and_says_what_is_left(
    command_in: Callable[[str], Command],
) -> None:
    command = command_in("none")

    ended = command("run", "small.yaml", "--budget", "0.001s", *ONE_WORKER)

    assert ended.returncode == 0
    assert "12 trials: 0 done, 0 failed, 0 skipped, 12 to do" in ended.stdout
    assert "left: " in ended.stdout
    assert "of 12 trials, which would have ended later than the budget of" in ended.stdout


def test_budget_gives_every_cell_its_first_seed_before_any_gets_a_second(
    command_in: Callable[[str], Command],
) -> None:
    command = command_in("rounds")

    command("run", "small.yaml", "--budget", "1h", *ONE_WORKER)

    log = (command.folder / "runs" / "small" / "events.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in log]
    seeds = [event["trial"]["seed"] for event in events if event["event"] == "trial_started"]
    assert len(seeds) == 12
    assert seeds == sorted(seeds)


def test_estimate_tells_the_rest_from_records_and_tries_what_none_tells(
    command_in: Callable[[str], Command],
) -> None:
    command = command_in("estimate")

    def estimate() -> dict[str, object]:
        shown = command(
            "plan", "small.yaml", "--estimate", "--battery", "none", "--jobs", "2", "--json"
        )
        return json.loads(shown.stdout)["estimate"]  # type: ignore[no-any-return]  # JSON

    tried, told = estimate(), estimate()

    # The smallest fit twice, on both sources, and the largest once.
    assert len(tried["probed"]) == 3  # type: ignore[arg-type]  # JSON
    assert tried["trials"] == told["trials"] == 9
    assert told["probed"] == []
    assert tried["unknown"] == []
    assert set(told["seconds"]) == {"sources", "fits", "clean", "pgd"} - {"sources"}  # type: ignore[call-overload]  # JSON
    assert told["wall_seconds"] > 3600 * told["core_hours"] / 2 > 0  # type: ignore[operator]  # JSON

    text = command("plan", "small.yaml", "--estimate", "--battery", "none", "--only", "n=20").stdout
    assert "estimate: " in text
    assert "core hours" in text
    assert "n=30" not in text
