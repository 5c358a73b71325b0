"""``run --profile``: a trace that a viewer reads, and records that are the same without it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from advtransfer.testing.command import Command


def observed_apart(run: Path) -> dict[str, dict[str, object]]:
    """The records of a run without what was observed."""
    records = [json.loads(path.read_text()) for path in run.glob("records/*/*.json")]
    return {record["id"]: record | {"observed": {}} for record in records}


def test_profile_is_a_chrome_trace_of_one_fit_and_changes_no_record(
    command_in: Callable[[str], Command],
) -> None:
    plain, profiled = command_in("plain"), command_in("profiled")
    arguments = ("run", "small.yaml", "--only", "source=random,n=20,seed=0", "--battery", "none")
    plain(*arguments, "--executor", "local/inline", "--quiet")

    ended = profiled(*arguments, "--executor", "local/inline", "--quiet", "--profile")

    (trace,) = (profiled.folder / "runs" / "small" / "profiles").glob("*.json")
    assert f"profile: {trace}" in ended.stdout
    names = {event.get("name") for event in json.loads(trace.read_text())["traceEvents"]}
    assert any(str(name).startswith("aten::") for name in names)
    without = observed_apart(plain.folder / "runs" / "small")
    assert without == observed_apart(profiled.folder / "runs" / "small")
    again = profiled(*arguments, "--executor", "local/inline", "--profile")
    assert "there is no job to profile: what --only chooses is recorded" in again.stderr
