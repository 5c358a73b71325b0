"""What the rows of a table are ranked by: a column, and which end of it is best."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from advtransfer.leaderboard.columns import Column, find
from advtransfer.leaderboard.evidence import Evidence
from advtransfer.leaderboard.ranges import Range


@dataclass(frozen=True, slots=True)
class Ranking:
    """A column whose highest value is best, or whose lowest is: a loss, a distance."""

    column: Column
    lowest: bool

    def score(self, found: Range) -> float:
        """What rows are sorted by, greatest first; unknown outcomes count against a row."""
        return -found.high if self.lowest else found.low


def ranking_of(evidence: Evidence) -> Ranking | None:
    """The ranking that the suite asks for.

    Raises:
        BadInput: Its metric is not in the records, or fits several.
    """
    asked = evidence.plan.leaderboard.get("rank_by")
    if isinstance(asked, Mapping):
        return Ranking(find(str(asked["lowest"]), evidence), lowest=True)
    return Ranking(find(str(asked), evidence), lowest=False) if asked else None
