"""Claims of a performance script: printed in words, and as JSON in the last line."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass

NEEDS_MNIST = "all of it, which needs MNIST; set ADVTRANSFER_DATA to its folder"


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """A figure beside its limit.

    Attributes:
        claim: What is measured, beside what, and on what.
        figure: The figure, to three digits.
        unit: Its unit; empty for a ratio.
        wanted: The limit with its direction, as in "at most 0.45".
        holds: True if the limit is kept, before the figure is rounded.
        times: What the figure was computed from: both times, or both counts.
    """

    claim: str
    figure: float
    unit: str
    wanted: str
    holds: bool
    times: str


def at_most(claim: str, figure: float, limit: float, *, times: str, unit: str = "") -> Claim:
    """Return the claim that a figure does not exceed a limit."""
    return _claim(claim, figure, f"at most {limit:g}", figure <= limit, times=times, unit=unit)


def at_least(claim: str, figure: float, limit: float, *, times: str, unit: str = "") -> Claim:
    """Return the claim that a figure reaches a limit."""
    return _claim(claim, figure, f"at least {limit:g}", figure >= limit, times=times, unit=unit)


def _claim(claim: str, figure: float, wanted: str, holds: bool, *, times: str, unit: str) -> Claim:
    rounded = float(f"{figure:.3g}")
    return Claim(claim=claim, figure=rounded, unit=unit, wanted=wanted, holds=holds, times=times)


def report(claims: Sequence[Claim], *, not_measured: Sequence[str] = ()) -> int:
    """Print the claims, what was not measured, and the last line; return 1 where a claim falls short.

    The last line is a JSON object: ``claims``, a list of objects with the attributes of `Claim`, and
    ``not_measured``, a list of reasons.
    """
    for each in claims:
        figure = f"{each.figure:g} {each.unit}".rstrip()
        verdict = "holds" if each.holds else "falls short"
        sys.stdout.write(f"{each.claim}: {figure}, {each.wanted} ({each.times}): {verdict}\n")
    for reason in not_measured:
        sys.stdout.write(f"not measured: {reason}\n")
    body = {"claims": [asdict(each) for each in claims], "not_measured": list(not_measured)}
    sys.stdout.write(json.dumps(body, allow_nan=False) + "\n")
    sys.stdout.flush()
    return 0 if all(each.holds for each in claims) else 1
