"""The answers to a suite's claims by their rule, which stands before anything is run.

- Holds: p, corrected by Holm (1979) over the hypotheses of the suite's tested claims, is below .05, and the effect is
  on the claimed side.
- Does not hold: the 95 % interval lies wholly below the margin, on the claimed side.
- Both at once: holds, but smaller than what would count. Neither: cannot tell.

A cost is counted, not sampled: its ratio alone decides, by the same two bounds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from advtransfer.errors import BadInput
from advtransfer.leaderboard.baselines import SIGNIFICANCE_LEVEL
from advtransfer.leaderboard.claim_effects import ClaimEffect, measure_claim
from advtransfer.leaderboard.claim_hypotheses import ClaimHypothesis, claim_hypothesis
from advtransfer.leaderboard.claims_config import Claim, read_claims
from advtransfer.leaderboard.markdown import count_noun
from advtransfer.leaderboard.row_comparison import RankedTables
from advtransfer.leaderboard.run_data import RunData
from advtransfer.statistics import holm_correction

ClaimVerdict: TypeAlias = Literal[
    "holds", "does not hold", "holds, but smaller than what would count", "cannot tell", "not asked"
]

COUNTED: Mapping[ClaimVerdict, str] = {
    "holds": "held",
    "holds, but smaller than what would count": "held, but smaller than what would count",
    "does not hold": "did not hold",
    "cannot tell": "cannot be told",
    "not asked": "not asked",
}
"""What a count of each verdict says, in the order of a page."""


@dataclass(frozen=True, slots=True)
class ClaimAnswer:
    """The answer to one claim.

    Attributes:
        claim: The claim.
        verdict: What the rule says.
        effect: What was measured, None without a number.
        reason: Why there is no number, or why it is not asked; empty with one.
        corrected_p: p after Holm's correction, None where it is not tested.
    """

    claim: Claim
    verdict: ClaimVerdict
    effect: ClaimEffect | None = None
    reason: str = ""
    corrected_p: float | None = None


def answer_claims(data: RunData, tables: RankedTables) -> list[ClaimAnswer]:
    """Return the answers to all claims of a suite, in the suite's order.

    Raises:
        BadInput: A claim is malformed.
    """
    claims = read_claims(data.plan.leaderboard)
    # A claim without a number counts as a hypothesis: one that failed must not help the others.
    tested = {
        place: claim_hypothesis(claim, data.plan)
        for place, claim in enumerate(claims)
        if claim.kind not in ("", "cost")
    }
    family_size = max(1, len(set(tested.values())))
    measured = [_measure(claim, data, tables, family_size=family_size) for claim in claims]
    # Claims of one hypothesis have one p value, which is one of those that are corrected.
    p_values: dict[ClaimHypothesis, float | None] = {}
    for place, hypothesis in tested.items():
        found = measured[place]
        p_values[hypothesis] = found.p_value if isinstance(found, ClaimEffect) else None
    corrected = dict(zip(p_values, holm_correction([*p_values.values()]), strict=True))
    return [
        _answer(claim, measured[place], corrected[tested[place]] if place in tested else None)
        for place, claim in enumerate(claims)
    ]


def _measure(
    claim: Claim, data: RunData, tables: RankedTables, *, family_size: int
) -> ClaimEffect | str:
    """Return the effect of a claim, or why it has none or is not asked."""
    if not claim.kind:
        return claim.not_asked
    try:
        return measure_claim(claim, data, tables, family_size=family_size)
    except BadInput as error:
        return f"not in the records: {error.problems[0].found}"


def _answer(claim: Claim, found: ClaimEffect | str, corrected_p: float | None) -> ClaimAnswer:
    if isinstance(found, str):
        verdict: ClaimVerdict = "cannot tell" if claim.kind else "not asked"
        return ClaimAnswer(claim, verdict, reason=found)
    return ClaimAnswer(claim, claim_verdict(claim, found, corrected_p), found, "", corrected_p)


def claim_verdict(claim: Claim, effect: ClaimEffect, corrected_p: float | None) -> ClaimVerdict:
    """Return what the rule says of an effect."""
    sign = 1.0 if claim.is_positive else -1.0
    ends = sorted(sign * (end - effect.null) for end in (effect.low, effect.high))
    is_on_side = ends[0] > 0
    # The margin of a share is a share, and not its excess over one half.
    margin = claim.margin - effect.null
    if effect.is_counted:
        holds, is_small = is_on_side, ends[1] < margin or not is_on_side
    else:
        holds = corrected_p is not None and corrected_p < SIGNIFICANCE_LEVEL and is_on_side
        interval = effect.interval
        bounds = () if interval is None else [sign * (end - effect.null) for end in interval]
        is_small = bool(bounds) and max(bounds) < margin
    if holds and is_small:
        return "holds, but smaller than what would count"
    if holds:
        return "holds"
    return "does not hold" if is_small else "cannot tell"


def verdicts_text(answers: Sequence[ClaimAnswer]) -> str:
    """Return how many claims have each verdict, such as "Of 3 claims: 1 held; 2 cannot be told."."""
    counts = dict.fromkeys(COUNTED, 0)
    for answer in answers:
        counts[answer.verdict] += 1
    texts = [f"{count} {COUNTED[verdict]}" for verdict, count in counts.items() if count]
    return f"Of {count_noun(len(answers), 'claim')}: {'; '.join(texts)}."
