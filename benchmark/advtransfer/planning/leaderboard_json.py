"""The leaderboard's settings as a plan holds them, from which pages are made without the suite."""

from __future__ import annotations

from collections.abc import Mapping

from advtransfer.suite import Suite
from advtransfer.suite.suite import Baseline
from advtransfer.types import Json


def leaderboard_json(suite: Suite) -> dict[str, Json]:
    """Return a suite's `leaderboard` as ``plan.json`` holds it."""
    leaderboard = suite.leaderboard
    baselines = leaderboard.baselines
    swept = _swept_transfers(suite)
    return {
        **({"note": leaderboard.note} if leaderboard.note else {}),
        **({"answer": dict(leaderboard.answer)} if leaderboard.answer else {}),
        **({"swept": swept} if swept else {}),
        **({"open": list(leaderboard.open)} if leaderboard.open else {}),
        **({"reported": list(leaderboard.reported)} if leaderboard.reported else {}),
        **({"claims": list(map(dict, leaderboard.claims))} if leaderboard.claims else {}),
        **({"registered": leaderboard.registered} if leaderboard.registered else {}),
        "baseline": _baseline_json(leaderboard.baseline),
        **({"baselines": list(map(_baseline_json, baselines))} if baselines else {}),
        **({"all_n": list(leaderboard.all_n)} if leaderboard.all_n else {}),
        "rank_by": leaderboard.rank_by,
        "columns": list(leaderboard.columns),
        "figures": [dict(figure) for figure in leaderboard.figures],
        "questions": [dict(question) for question in leaderboard.questions],
    }


def _baseline_json(baseline: Baseline | None) -> Json:
    return {"transfer": baseline["transfer"]} if isinstance(baseline, Mapping) else baseline


def _swept_transfers(suite: Suite) -> list[Json]:
    """Return the labels of transfers that differ only in swept options, a list for each entry."""
    labels: dict[str, list[str]] = {}
    for cell in suite.transfers:
        labels.setdefault(cell.key, []).append(cell.label)
    return [sorted(group) for _, group in sorted(labels.items()) if len(group) > 1]
