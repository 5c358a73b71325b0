"""Run folders that somebody else made: links are not followed out of them, and their plans name no paths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from advtransfer.errors import CacheError
from advtransfer.result.sound import ID, typed

TRIAL: Mapping[str, type | tuple[type, ...]] = {
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
"""The fields of a trial in a plan, but for its id."""


def within(root: Path, path: Path) -> Path:
    """A path in a run folder, if no link below the folder leads somewhere else.

    Raises:
        CacheError: One does; names it.
    """
    place = root
    for part in path.relative_to(root).parts:
        place = place / part
        if part == ".." or place.is_symlink():
            raise CacheError(f"found {str(place)!r}, a link; expected a file or folder of its own; replace it by one")
    return path


def plan_fault(plan: Mapping[str, Any]) -> str | None:  # Any: JSON
    """What is wrong with a plan, as ``found ...; expected ...``: its ids name files, and its suite a folder."""
    try:
        return next(_faults(plan), None)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        return f"found fields of other kinds ({type(error).__name__}: {error}); expected those of a plan"


def _faults(plan: Mapping[str, Any]) -> Iterator[str]:  # Any: JSON
    yield from typed(plan, {"suite": str, "title": str, "leaderboard": dict, "sources": dict, "trials": list})
    suite = plan["suite"]
    if not suite.strip(".") or any(one in "/\\" or ord(one) < 32 or ord(one) == 127 for one in suite):
        yield f"found the suite {suite!r}; expected the name of one folder"
    yield from typed(plan["sources"], dict.fromkeys(plan["sources"], str), of="the name of the source ")
    rank_by = plan["leaderboard"].get("rank_by", "")
    if not isinstance(rank_by, str | None) and not isinstance(dict(rank_by).get("lowest"), str):
        yield f"found rank_by {rank_by!r}; expected a metric, or lowest: and a metric"
    ids = list(plan["sources"])
    for trial in plan["trials"]:
        yield from typed(trial, {name: kind for name, kind in TRIAL.items() if name in trial}, of="a trial's ")
        ids += [trial["id"], *trial["builds"], *(id for some in trial["evaluations"].values() for id in some)]
    yield from (f"found the id {id!r}; expected 64 hexadecimal digits" for id in ids if not ID.fullmatch(id))
