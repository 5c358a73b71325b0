"""What a job is expected to take, told from records of work like it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from advtransfer.node import Node
from advtransfer.planning import JobRequest
from advtransfer.result import Record
from advtransfer.runner.job_costs import JobCosts
from advtransfer.testing.records import complete_record

DATA = Node("data", "x/digits")
NATURAL = Node("source", "x/trained", options={"epochs": 2, "seed": 0})
ROBUST = Node("source", "x/trained", options={"epochs": 2, "seed": 0, "adversary": {"steps": 7}})
TEST = Node("test", "host/test", options={"count": 60}, inputs={"data": DATA})


def subset(n: int, seed: int = 0) -> Node:
    return Node("subset", "host/subset", options={"n": n, "seed": seed}, inputs={"data": DATA})


def fit(n: int, *, lr: float = 0.1, epochs: int = 10, source: Node = NATURAL) -> Node:
    options = {"lr": lr, "epochs": epochs}
    return Node("fit", "x/tune", options=options, inputs={"source": source, "subset": subset(n)})


def attack(model: Node, *, eps: float = 0.1, steps: int = 10) -> Node:
    options = {"eps": eps, "steps": steps}
    return Node("result", "x/pgd", options=options, inputs={"model": model, "test": TEST})


def recorded(
    node: Node,
    seconds: float,
    *,
    started: float = 9.0,
    **parts: Any,  # noqa: ANN401  # Any: JSON
) -> tuple[Record, int]:
    observed = {"seconds": {"load": 0.0, "work": seconds}, "peak_bytes": 1000, "started": started}
    asked: Mapping[str, Any] = node.id_fields()  # Any: JSON
    return complete_record({"kind": node.kind, "observed": observed, "asked": asked, **parts}), 100


def costs_of(*records: tuple[Record, int]) -> JobCosts:
    costs = JobCosts()
    costs.add_records(records)
    return costs


def seconds(costs: JobCosts, node: Node) -> float | None:
    cost = costs.cost_of(node)
    return None if cost is None else cost.seconds


def recorded_fit(node: Node, taken: float, *, started: float = 9.0) -> tuple[Record, int]:
    part = node.inputs["subset"]
    assert isinstance(part, Node)
    return recorded(node, taken, started=started, facts={"labels_used": part.options["n"]})


def test_recorded_node_takes_what_it_took() -> None:
    costs = costs_of(recorded_fit(fit(20), 1.0), recorded_fit(fit(20, lr=0.2), 3.0))

    assert [seconds(costs, fit(20)), seconds(costs, fit(20, lr=0.2))] == [1.0, 3.0]


def test_radii_rates_and_seeds_do_not_matter_and_the_median_is_taken() -> None:
    fits = [fit(20, lr=rate) for rate in (0.1, 0.2, 0.3, 0.5)]
    records = [
        recorded_fit(one, taken, started=number)
        for number, (one, taken) in enumerate(zip(fits, (30, 1, 2, 9), strict=True))
    ]

    # The first, which paid for what the others share, is left out.
    assert seconds(costs_of(*records), fit(20, lr=0.4)) == 2.0


def test_one_size_is_scaled_and_two_are_a_line() -> None:
    one = costs_of(recorded_fit(fit(20), 1.0))
    first = recorded_fit(fit(20, lr=0.2), 9.0, started=1.0)
    two = costs_of(first, recorded_fit(fit(20), 2.0), recorded_fit(fit(100), 4.0))

    assert seconds(one, fit(40)) == 2.0
    assert seconds(one, fit(20, epochs=30)) == 3.0
    assert seconds(two, fit(60)) == pytest.approx(3.0)


def test_work_on_the_same_source_is_more_alike_than_on_another() -> None:
    natural, robust = fit(20), fit(20, source=ROBUST)
    records = [recorded(NATURAL, 5.0), recorded(ROBUST, 40.0)]
    records += [recorded_fit(natural, 1.0), recorded_fit(robust, 1.0)]
    records += [recorded(attack(natural), 2.0), recorded(attack(robust), 6.0)]
    costs = costs_of(*records)

    assert seconds(costs, attack(robust, eps=0.2)) == 6.0
    assert seconds(costs, attack(natural, eps=0.2)) == 2.0
    assert seconds(costs, Node("source", "x/trained", options={"epochs": 4, "seed": 1})) == 10.0


def test_nothing_is_known_of_another_component() -> None:
    costs = costs_of(recorded_fit(fit(20), 1.0))
    unknown = Node("fit", "x/other", inputs={"subset": subset(20)})

    assert seconds(costs, unknown) is None
    assert costs.job_seconds(JobRequest(unknown)) is None
    assert costs.job_seconds(JobRequest(fit(20), (attack(fit(20)),))) == 1.0
