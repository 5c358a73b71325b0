"""A warning where rows of one table cost much more than others that they are compared with."""

from __future__ import annotations

from math import fsum

from advtransfer.leaderboard.costs import CONFIGURATIONS, GRADIENT_PASSES
from advtransfer.leaderboard.markdown import inline_code
from advtransfer.leaderboard.run_data import RunData
from advtransfer.leaderboard.table_rows import Column, LeaderboardRow, group_rows
from advtransfer.types.metric_names import COST_LABEL

MAX_COST_RATIO = 2.0
"""Ratio of the largest to the smallest cost in a table from which rows are not compared at equal cost."""
COST_WORDS = {CONFIGURATIONS: "configurations tried", GRADIENT_PASSES: "gradient passes"}
"""Costs that rows are warned of. Seconds are left out: they differ between machines."""


def cost_warning(data: RunData) -> str:
    """Return a warning on the tables whose rows differ most in cost, empty where none differ by more than 2x."""
    texts: list[str] = []
    for metric, words in COST_WORDS.items():
        column = Column(f"{COST_LABEL}.{metric}", COST_LABEL, metric)
        worst: tuple[float, str] | None = None
        count = 0
        for (target, n), rows in group_rows(data).items():
            costs = {row: cost for row in rows if (cost := _mean_cost(row, column, data))}
            if not costs or max(costs.values()) <= MAX_COST_RATIO * min(costs.values()):
                continue
            count += 1
            ratio = max(costs.values()) / min(costs.values())
            if worst is None or ratio > worst[0]:
                ends = [
                    f"{costs[row]:,.0f} ({inline_code(f'{row.label}, {row.transfer}')})"
                    for row in (
                        min(costs, key=costs.__getitem__),
                        max(costs, key=costs.__getitem__),
                    )
                ]
                worst = ratio, f"{words} from {' to '.join(ends)} in {target}, n = {n}"
        if worst is not None:
            more = f" (and in {count - 1} more tables)" if count > 1 else ""
            texts.append(f"{worst[1]}{more}")
    if not texts:
        return ""
    return (
        f"Warning: rows of one table differ by more than {MAX_COST_RATIO:g}x in what their fits cost: "
        f"{'; '.join(texts)}. A row that spent more may be better for that alone; "
        f"the columns {_column_names()} show it."
    )


def _mean_cost(row: LeaderboardRow, column: Column, data: RunData) -> float | None:
    metrics = [column.metric_of(trial, data) for trial in row.trials]
    values = [metric.low for metric in metrics if metric is not None]
    return fsum(values) / len(values) if values else None


def _column_names() -> str:
    return " and ".join(inline_code(f"{COST_LABEL}.{metric}") for metric in COST_WORDS)
