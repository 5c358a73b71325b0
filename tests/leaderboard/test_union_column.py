"""The accuracy on a union of balls counts what the battery of each ball broke."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.leaderboard.conftest import name_of

from advtransfer.leaderboard.run_data import gather_run_data
from advtransfer.leaderboard.table_rows import find_column
from advtransfer.result.record import pack_outcomes, robust_share
from advtransfer.types import Outcome

if TYPE_CHECKING:
    from tests.leaderboard.conftest import Bench

R, B, W = Outcome.ROBUST, Outcome.BROKEN, Outcome.WRONG


def test_pages_fold_the_batteries_of_all_balls_into_the_union(bench: Bench) -> None:
    """A battery breaks image 1 in l_2: the union counts it, and the accuracy in l_inf does not."""
    trial = bench.trial("natural", 0, 0.9, 0.6)
    bench.checked(trial, [R, R, B, W], broken=[0])
    (id,) = trial["evaluations"]["pgd"]
    record = bench.records[id]
    batteries = {}
    template = bench.records[record["battery"]]
    for norm, eps, broken in (("linf", 0.1, [0]), ("l2", 0.5, [1])):
        name = name_of("battery", norm)
        batteries[f"robust_accuracy_{norm}@{eps:g}"] = name
        found = [B if place in broken else R for place in range(3)] + [W]
        options = {"norm": norm, "eps": eps, "size": "small"}
        asked = {**template["asked"], "options": options, "version": 8}
        outcomes = {"ascent": pack_outcomes(found)}
        bench.records[name] = {**template, "id": name, "asked": asked, "outcomes": outcomes}
    attacks = {
        "robust_accuracy_linf@0.1": [R, R, B, W],
        "robust_accuracy_l2@0.5": [R, R, R, W],
        "union_accuracy": [R, R, B, W],
    }
    record |= {
        "metrics": {name: robust_share(values) for name, values in attacks.items()},
        "outcomes": {name: pack_outcomes(values) for name, values in attacks.items()},
        "battery": batteries,
    }
    record["asked"]["options"] = {"linf": 0.1, "l2": 0.5}
    data = gather_run_data(bench.run())
    shares = {}
    for name in attacks:
        metric = find_column(f"pgd.{name}", data).metric_of(data.plan.trials[0], data)
        assert metric is not None
        assert metric.probe is not None
        assert metric.probe.is_complete
        shares[name] = (metric.low, metric.probe.missed)

    assert shares == {
        "robust_accuracy_linf@0.1": (0.25, 1),
        "robust_accuracy_l2@0.5": (0.5, 1),
        "union_accuracy": (0.0, 2),
    }
