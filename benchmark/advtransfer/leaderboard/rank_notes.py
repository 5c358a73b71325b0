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
"""What pairs are compared over, and what the ranks are then claims about; in order of preference."""
HELP_TEXTS: dict[PairUnit, str] = {
    "training": "more source trainings",
    "seed": "more subset seeds",
    "trial": "several seeds, more test images",
}
"""What lowers the detectable difference, beside fewer rows."""
CHOSEN_NOTE = "The first row was chosen as the best of {}, so its mean is likely too good."
LARGE_DIFFERENCE = 0.9
"""Detectable differences of shares above it are practically none."""
FEW_UNITS = 5
"""Trainings or seeds of two rows up to which even a large difference of their means may not tell them apart."""
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
    units = {unit for group in found if group.tested_count for unit in group.units}
    texts = [text for unit, text in CLAIM_TEXTS.items() if unit in units]
    if len(texts) == 1:
        yield f"Pairs are compared over {texts[0][0]}, so the ranks are claims about {texts[0][1]}."
    elif texts:
        parts = [f"over {unit} (claims about {claim})" for unit, claim in texts]
        yield f"Pairs are compared {', else '.join(parts)}: the first of these that a pair has."
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
    if not group.tested_count:
        ranks = "-".join(map(str, group.ranges[0]))
        yield f"{name}: every range is {ranks}, since no pair of rows can be tested: {_untested_reason(group)}."
        return
    family = "the one pair" if group.pair_count == 1 else f"all {group.pair_count:,} pairs"
    yield (
        f"{name}: from 1 + the number of significantly better rows to {group.row_count} - the number of "
        f"significantly worse ones, by Holm's method over {family}; all ranges of the table hold together "
        "with 95 % confidence."
    )
    if group.untested_count:
        yield (
            f"{count_noun(group.untested_count, 'pair')} of these cannot be tested (one common trial, or "
            "differences without spread) and count as not significant."
        )
    if group.detectable is not None:
        yield _detectable_text(group, group.detectable)
    if group.neighbours is not None:
        yield _neighbours_text(group.neighbours)


def _untested_reason(group: RankGroup) -> str:
    """Return why no pair of a group can be tested, and what would help."""
    if not group.units:
        return "no two rows have a trial of the same training and seed"
    if group.most_units > 1:
        return "the differences of two rows are the same in all their trials, which tells no spread"
    return (
        "each row has one trial, and this column has no value for each test image, so the spread of a "
        "difference is not known. Several source trainings or subset seeds of each row would tell it"
    )


def _detectable_text(group: RankGroup, detectable: float) -> str:
    text = f"Detectable difference (power .8): {format_number(detectable, fine=True)}"
    if group.is_share and detectable > 1:
        text = (
            "Detectable difference (power .8): none, since even a difference of 1 is not detected"
        )
        return f"{text}. It takes {_help_text(group)}."
    if group.is_share and detectable > LARGE_DIFFERENCE:
        text += ", where at most 1 is possible: practically no difference is detected"
        text += f". Smaller ones take {_help_text(group)}"
    return f"{text}.{_few_units_text(group)}"


def _help_text(group: RankGroup) -> str:
    ways = [help_text for unit, help_text in HELP_TEXTS.items() if unit in group.units]
    return ", ".join([*ways, "or fewer rows"])


def _few_units_text(group: RankGroup) -> str:
    """Return why rows with different means share ranks, empty where pairs have many units."""
    if not 1 < group.most_units <= FEW_UNITS:
        return ""
    nouns = [f"{UNIT_NOUNS[unit]}s" for unit in CLAIM_TEXTS if unit in group.units]
    at_most = "at most " if len(nouns) > 1 else ""
    units = f"{at_most}{group.most_units} {' or '.join(nouns)}"
    return (
        f" With {units}, rows that differ by less may share ranks, however far apart their "
        "means look: each difference is held against its own spread."
    )


def _neighbours_text(pair: Neighbours) -> str:
    """Return what would separate two rows: ``Rows 2 and 3 differ by .010. If ...``."""
    rows = f"Rows {pair.place} and {pair.place + 1}"
    if pair.need is None:
        return f"{rows} cannot be tested, so what would separate them is not known."
    if not pair.difference:
        return f"{rows} do not differ, so no number of trials would separate them."
    noun = UNIT_NOUNS[pair.unit]
    ways: list[str] = []
    if pair.need.units < inf:
        ways.append(_more_text(pair.need.units - pair.unit_count, noun))
    if pair.need.images < inf:
        ways.append(_more_text(pair.need.images - pair.image_count, "test image"))
    useless: list[str] = []
    if pair.need.units == inf and pair.unit_count > 1:
        useless.append(f"more {noun}s")
    if pair.need.images == inf and pair.image_count:
        useless.append("more test images")
    parts: list[str] = []
    if ways:
        parts.append(f"{' or '.join(ways)} would separate them with power .8")
    if len(useless) > 1:
        parts.append(f"neither {' nor '.join(useless)} alone would separate them, however many")
    elif useless:
        end = "would not" if ways else "would not separate them"
        parts.append(f"{useless[0]} alone {end}, however many")
    if pair.unit_count == 1:
        parts.append("how much they vary from seed to seed is not known")
    difference = format_number(pair.difference, fine=True)
    return f"{rows} differ by {difference}. If this is the true difference, {'; '.join(parts)}."


def _more_text(count: float, noun: str) -> str:
    """Return ``12 more seeds``, or ``about 1,300 more test images``."""
    whole = max(int(count), 1)
    if whole <= EXACT_COUNT:
        return f"{whole} more {noun}{'s' if whole > 1 else ''}"
    digits = floor(log10(whole)) - 1
    return f"about {round(whole, -digits):,} more {noun}s"
