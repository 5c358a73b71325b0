"""The section of a page on what papers claim: a row for each claim, its rule, and the commit that held it before."""

from __future__ import annotations

from collections.abc import Sequence

from advtransfer.leaderboard.claim_effects import ClaimEffect
from advtransfer.leaderboard.claims import ClaimAnswer, verdicts_text
from advtransfer.leaderboard.markdown import (
    escape_markdown,
    format_interval,
    format_number,
    format_p,
    inline_code,
    join_parts,
    markdown_table,
)
from advtransfer.text import ABSENT

HEADER = ("claim", "as reported", "measured", "n", "would count", "detects", "p", "verdict")
RULE = (
    "*Holds*: p is below .05 after Holm's correction for the tested claims of this suite (those of one hypothesis "
    "count once), and the effect is on the claimed side. *Does not hold*: the 95 % interval lies wholly below what "
    "would count, the least effect that would be one (margin), on the claimed side. Both at once: *holds, but smaller "
    "than what would count*. Neither: *cannot tell*. A cost is counted, not sampled: it has no interval and no p, and "
    "its ratio alone decides. Detects: the smallest effect that the design finds with power .8 at Holm's first level, "
    "of a mean by the width of its measured interval, of a coefficient and a share by n; in parentheses what the "
    "suite expected before. Rows that are not ranked and trials that failed are no evidence. The figures as reported "
    "are of other data, networks and attacks."
)
UNREGISTERED = (
    "**Exploratory**: the suite names no commit that held claims, margins and rule before the run, so that they may "
    "have been written after looking."
)
REGISTERED = (
    "The suite says that claims, margins and expected power were committed before the run, in {}; `advtransfer verify` "
    "holds the published suite and the dates of its results against that commit."
)


def claims_section(answers: Sequence[ClaimAnswer], *, commit: str) -> str:
    """Return the section, empty without a claim.

    Args:
        answers: The answers in the order of the suite.
        commit: The commit that held the claims before the run, empty where the suite names none.
    """
    if not answers:
        return ""
    is_asked = any(answer.claim.kind for answer in answers)
    registered = REGISTERED.format(inline_code(commit)) if commit else UNREGISTERED
    rows = [_claim_row(answer) for answer in answers]
    table = markdown_table(HEADER, rows, right=[False, False, True, False, True, True, True, False])
    return join_parts(
        [
            "## Claims",
            verdicts_text(answers),
            registered if is_asked else "",
            table,
            notes_list(answers),
            RULE if is_asked else "",
        ]
    )


def notes_list(answers: Sequence[ClaimAnswer]) -> str:
    """Return the notes of claims as a list, empty without any."""
    return "\n".join(
        f"- {escape_markdown(answer.claim.name)}: {escape_markdown(answer.claim.note)}"
        for answer in answers
        if answer.claim.note
    )


def _claim_row(answer: ClaimAnswer) -> list[str]:
    claim, effect = answer.claim, answer.effect
    cited = f"{claim.paper}, {claim.place}"
    title = f"{claim.name}: {claim.text}"
    reported = escape_markdown(f"{claim.reported} ({cited})")
    if effect is None:
        reason = escape_markdown(answer.reason)
        cells = [ABSENT, reason, _margin_text(answer), ABSENT, ABSENT]
    else:
        basis = join_parts([effect.basis, effect.details], "; ")
        cells = [
            effect_text(effect),
            escape_markdown(basis),
            _margin_text(answer),
            _detects_text(answer, effect),
            format_p(answer.corrected_p),
        ]
    return [escape_markdown(title), reported, *cells, verdict_text(answer)]


def effect_text(effect: ClaimEffect) -> str:
    """Return an effect with its interval: ``+.120 [+.050, +.190]``, ``-57.0 %`` for a cost."""
    if effect.is_counted:
        return f"{100 * effect.low:+.1f} %"
    is_signed = not effect.null
    ends = dict.fromkeys((effect.low, effect.high))
    value = " to ".join(format_number(end, sign=is_signed, fine=True) for end in ends)
    return f"{value}{format_interval(effect.interval, sign=is_signed, fine=True)}"


def verdict_text(answer: ClaimAnswer) -> str:
    """Return a verdict in markdown; one that says something is bold."""
    is_answered = answer.verdict not in ("cannot tell", "not asked")
    return f"**{answer.verdict}**" if is_answered else answer.verdict


def _margin_text(answer: ClaimAnswer) -> str:
    claim = answer.claim
    if not claim.kind:
        return ABSENT
    sign = "" if claim.kind == "inequality" else "+" if claim.is_positive else "-"
    if claim.kind == "cost":
        return f"{sign}{100 * claim.margin:.1f} %"
    return f"{sign}{format_number(claim.margin, fine=True)}"


def _detects_text(answer: ClaimAnswer, effect: ClaimEffect) -> str:
    expected = answer.claim.detects
    stated = "" if expected is None else f" ({format_number(expected, fine=True)})"
    if effect.detectable is None:
        return f"{ABSENT}{stated}"
    return f"{format_number(effect.detectable, fine=True)}{stated}"
