"""The sentences of a table's caption about ranks: their family, what can be detected, and what would tell more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import floor, inf, log10

from advtransfer.leaderboard.markdown import count_noun, format_number
from advtransfer.leaderboard.pair_tests import PairUnit
from advtransfer.leaderboard.rank_groups import Neighbours, RankGroup

UNIT_NOUNS: dict[PairUnit, str] = {
    "training": "source training",
    "seed": "subset seed",
    "trial": "seed",
}
CLAIM_TEXTS: dict[PairUnit, tuple[str, str]] = {
    "training": ("source trainings", "how sources are trained"),
    "seed": ("subset seeds", "these trained sources, not about other trainings of them"),
    "trial": ("images of one trial each", "these fits, not about other seeds or trainings"),
}
"""What pairs are compared over, and what the ranks are then claims about."""
CHOSEN_NOTE = "The first row was chosen because it is best among {} here, so that its mean is likely too good."
EXACT_COUNT = 20
"""Largest count that is not rounded to two digits: what would separate two rows is an estimate."""


def rank_notes(groups: Sequence[RankGroup | None]) -> Iterator[str]:
    """Yield the sentences about the ranks of a table, none for one without ranks.

    Args:
        groups: Group of each row; None for a row that is not ranked.
    """
    # Equal groups have other offsets, so that each is said once.
    found = [group for group in dict.fromkeys(groups) if group is not None]
    for group in found:
        yield from _group_notes(group)
    units = {unit for group in found for unit in group.units}
    texts = [text for unit, text in CLAIM_TEXTS.items() if unit in units]
    if len(texts) == 1:
        yield f"Pairs are compared over {texts[0][0]}, so that ranks are claims about {texts[0][1]}."
    elif texts:
        parts = [f"over {unit} (claims about {claim})" for unit, claim in texts]
        yield f"Pairs are compared {' or '.join(parts)}, the first of these that they have."
    if found and found[0].row_count > 1:
        yield CHOSEN_NOTE.format(count_noun(found[0].row_count, "row"))


def _group_notes(group: RankGroup) -> Iterator[str]:
    name = "Ranks"
    if group.offset:
        rows = f"{group.offset + 1} to {group.offset + group.row_count}"
        name = "Ranks of the rows without a battery"
        if group.row_count == 1:
            yield f"Row {group.offset + 1} has no battery: it is ranked after the checked rows."
        else:
            yield f"Rows {rows} have no battery: they are ranked after the checked rows."
    if group.row_count == 1:
        return
    pairs = count_noun(group.pair_count, "pair")
    if group.untested_count == group.pair_count:
        ranks = "-".join(map(str, group.ranges[0]))
        yield (
            f"{name}: no pair can be tested (one trial, or trials without spread, and no outcomes of "
            f"images), so that every range is {ranks}."
        )
        return
    yield (
        f"{name}: 1 + rows surely better to m - rows surely worse, m = {group.row_count}, by Holm "
        f"over all {pairs}; 95 % for all ranges of the table at once."
    )
    if group.untested_count:
        yield (
            f"{count_noun(group.untested_count, 'pair')} of these cannot be tested and count as "
            "not sure."
        )
    if group.detectable is not None and group.is_share and group.detectable > 1:
        yield "Detectable difference (power .8): none, for so few units and so many pairs."
    elif group.detectable is not None:
        difference = format_number(group.detectable, fine=True)
        yield f"Detectable difference (power .8): {difference}."
    if group.neighbours is not None:
        yield _neighbours_text(group.neighbours)


def _neighbours_text(pair: Neighbours) -> str:
    """Return what would separate two rows: ``Rows 2 and 3 differ by .010: about 40 more seeds ...``."""
    rows = f"Rows {pair.place} and {pair.place + 1}"
    if pair.need is None:
        return f"{rows} cannot be tested, so that what would separate them is not known."
    if not pair.difference:
        return f"{rows} do not differ, so that no number of trials would separate them."
    start = f"{rows} differ by {format_number(pair.difference, fine=True)}; if truly so,"
    noun = UNIT_NOUNS[pair.unit]
    ways: list[str] = []
    if pair.need.units < inf:
        ways.append(_more_text(pair.need.units - pair.unit_count, noun))
    if pair.need.images < inf:
        ways.append(_more_text(pair.need.images - pair.image_count, "test image"))
    without: list[str] = []
    if pair.need.units == inf and pair.unit_count > 1:
        without.append(f"{noun}s")
    if pair.need.images == inf and pair.image_count:
        without.append("test images")
    parts: list[str] = []
    if ways:
        parts.append(f"{' or '.join(ways)} would separate them with power .8")
    if without:
        verb = "alone would" if ways else "alone would separate them"
        parts.append(f"no number of {' or of '.join(without)} {verb}")
    if pair.unit_count == 1:
        parts.append("how they vary from seed to seed is not known")
    return f"{start} {'; '.join(parts)}."


def _more_text(count: float, noun: str) -> str:
    """Return ``12 more seeds``, or ``about 1,300 more test images``."""
    whole = max(int(count), 1)
    if whole <= EXACT_COUNT:
        return f"{whole} more {noun}{'s' if whole > 1 else ''}"
    digits = floor(log10(whole)) - 1
    return f"about {round(whole, -digits):,} more {noun}s"
