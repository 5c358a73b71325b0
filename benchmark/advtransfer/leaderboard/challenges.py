"""The section of a page that credits the challenges folded into its numbers."""

from __future__ import annotations

from advtransfer.leaderboard.markdown import count_noun, escape_markdown, inline_code
from advtransfer.leaderboard.run_data import RunData
from advtransfer.result.challenges import credit_challenges


def challenges_section(data: RunData) -> str:
    """Return who lowered which numbers, empty without challenges."""
    if not data.challenges:
        return ""
    names = {trial.id: trial.name for trial in data.plan.trials}
    lines: list[str] = []
    for each, positions in credit_challenges(data.challenges):
        images = count_noun(len(positions), "test image")
        shared = len(each.positions) - len(positions)
        lines.append(
            f"- {escape_markdown(each.who)}, {escape_markdown(each.date)}: {images} of "
            f"{inline_code(names.get(each.model, each.model[:12]))}, "
            f"{each.norm} eps {each.eps:g} (challenged: {inline_code(each.metric)})"
            + (f"; {shared:,} more had fallen to challenges above" if shared else "")
        )
    note = (
        "Adversarial examples of others, each held by `advtransfer challenge` against the very model; "
        "the images count as broken in every ball that holds them."
    )
    return "\n".join(["## Challenges", "", note, "", *lines])
