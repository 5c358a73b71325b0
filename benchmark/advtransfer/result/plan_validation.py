"""Validation of the plan of a run folder from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

from advtransfer.result.validation import ID_PATTERN, field_type_faults

TRIAL_FIELDS: Mapping[str, type | tuple[type, ...]] = {
    "source": (str, type(None)),
    "row": (str, type(None)),
    "replicate": (int, type(None)),
    "adapter": (str, type(None)),
    "target": str,
    "n": (int, str),
    "seed": int,
    "transfer": str,
    "evaluations": dict,
    "builds": list,
    "skipped": (str, type(None)),
}
"""Types of the fields of a trial in a plan, except its id."""


def plan_fault(plan: Mapping[str, Any]) -> str | None:  # Any: JSON
    """Return the first fault of a plan as ``found ...; expected ...``, or None."""
    try:
        return next(_plan_faults(plan), None)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        return f"found fields of other kinds ({type(error).__name__}: {error}); expected those of a plan"


def _plan_faults(plan: Mapping[str, Any]) -> Iterator[str]:  # Any: JSON
    yield from field_type_faults(
        plan, {"suite": str, "title": str, "leaderboard": dict, "sources": dict, "trials": list}
    )
    # The suite's name becomes a folder name, and ids become file names: neither may lead elsewhere.
    suite = plan["suite"]
    has_bad_character = any(
        character in "/\\" or ord(character) < 32 or ord(character) == 127 for character in suite
    )
    if not suite.strip(".") or has_bad_character:
        yield f"found the suite {suite!r}; expected the name of one folder"
    yield from field_type_faults(
        plan["sources"], dict.fromkeys(plan["sources"], str), of="the name of the source "
    )
    rank_by = plan["leaderboard"].get("rank_by", "")
    if not isinstance(rank_by, str | None) and not isinstance(dict(rank_by).get("lowest"), str):
        yield f"found rank_by {rank_by!r}; expected a metric, or lowest: and a metric"
    for label, further in plan.get("also", {}).items():
        if not (isinstance(further, list) and list(map(type, further)) == [str, str]):
            yield f"found {label!r} {further!r} under also; expected its evaluation and data set"
    ids = list(plan["sources"])
    for trial in plan["trials"]:
        present = {name: kind for name, kind in TRIAL_FIELDS.items() if name in trial}
        yield from field_type_faults(trial, present, of="a trial's ")
        ids += [trial["id"], *trial["builds"]]
        ids += chain.from_iterable(trial["evaluations"].values())
    yield from (
        f"found the id {id!r}; expected 64 hexadecimal digits"
        for id in ids
        if not ID_PATTERN.fullmatch(id)
    )
