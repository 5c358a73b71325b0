"""The shipped studies of sources: what they compare, and that no image is on two sides."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cache
from math import factorial

import pytest

from advtransfer.host import Host
from advtransfer.node import Node
from advtransfer.suite import Suite, load

FASHION = "robust-transfer-mini-more"
needs_data = pytest.mark.skipif(
    "ADVTRANSFER_DATA" not in os.environ,
    reason="its file must lie in the folder that ADVTRANSFER_DATA names",
)
QUALITIES = ["source-quality-mini", "source-quality-mini-more"]


@cache
def _suite(name: str) -> Suite:
    return load(name, Host.discover())


def _data(node: Node) -> Node:
    data = node.inputs["data"]
    assert isinstance(data, Node)
    return data


def _share(node: Node, name: str) -> float:
    """Where the portion that a data set is made of starts or ends; views of views included."""
    below = _data(node)
    if below.use == "vision/portion":
        return _share(below, name)
    share = node.options[name]
    assert isinstance(share, float)
    return share


def test_the_study_of_few_labels_has_three_trainings_of_each_source() -> None:
    suite = _suite(FASHION)
    rows = [cell.row for cell in suite.sources]
    names = ["natural", "linf", "random"]

    assert [*names, *(f"{name} pooled" for name in names)] == list(dict.fromkeys(rows))
    assert {3} == {rows.count(row) for row in rows}
    assert [(n, seed) for n in (50, 100, 200, 400) for seed in range(5)] == [
        (subset.n, subset.seed) for subset in suite.targets[0].subsets
    ]


@pytest.mark.parametrize(("is_pooled", "network"), [(False, "mnist_2conv"), (True, "small_cnn")])
def test_the_study_of_few_labels_has_sources_of_one_network_and_the_same_images(
    is_pooled: bool, network: str
) -> None:
    sources = [cell for cell in _suite(FASHION).sources if cell.row.endswith("pooled") is is_pooled]
    trained = [cell.node for cell in sources if not cell.row.startswith("random")]
    networks = [cell.node.options["network"] for cell in sources]

    assert [network] * 9 == [one["name"] for one in networks if isinstance(one, Mapping)]

    assert {(10_000, 0.1)} == {
        (node.options["images"], node.options["validation"]) for node in trained
    }
    assert 1 == len({_data(node).id for node in trained})


@pytest.mark.parametrize("name", QUALITIES)
def test_sources_and_target_have_no_image_in_common(name: str) -> None:
    suite = _suite(name)
    (target,) = suite.targets
    sources = max(_share(_data(cell.node), "end") for cell in suite.sources)
    starts = [
        _share(node, "start")
        for node in (target.data.node, *(_data(one.node) for one in target.references))
    ]

    assert 3 == len(starts)
    assert sources <= min(starts)


@needs_data
def test_sources_of_shared_classes_have_no_image_in_common_with_their_target() -> None:
    suite = _suite("adversarial-knowledge-mini")
    vehicles = next(target for target in suite.targets if target.key == "vehicles")
    ends = [_share(_data(cell.node), "end") for cell in suite.sources if "animal" in cell.row]

    assert 25 == len(ends)
    assert max(ends) <= _share(vehicles.data.node, "start")


@pytest.mark.parametrize("name", ["source-quality-mini-more", "adversarial-knowledge-mini-more"])
def test_first_question_of_a_study_has_enough_points(name: str) -> None:
    suite = _suite(name)
    first = suite.leaderboard.questions[0]
    predictors, given = first["predictor"], first["given"]
    assert isinstance(predictors, list)
    assert isinstance(given, Mapping)
    meant = given.get("source", [cell.label for cell in suite.sources])
    assert isinstance(meant, list)
    points = {cell.row for cell in suite.sources if cell.label in meant}

    # Of all orders, the one seen and its mirror count. A study that cannot reach .05 says so itself.
    least_p = len(predictors) * 2 / factorial(len(points))
    assert least_p < 0.05 or "no rank coefficient can reach .05" in str(first["note"])


def test_the_study_of_source_quality_asks_the_estimators_too_and_one_on_moved_images() -> None:
    suite = _suite("source-quality-mini-more")
    estimators = {"alignment/leep", "alignment/h_score", "alignment/logme"}
    used = {cell.label: cell.node for cell in suite.evaluations if cell.node.use in estimators}

    assert {"leep", "h_score", "logme", "leep_attacked"} == set(used)
    assert ["leep_attacked"] == [label for label, node in used.items() if node.options["attack"]]
    for question in suite.leaderboard.questions:
        predictors = question["predictor"]
        assert isinstance(predictors, list)
        assert set(used) <= {str(name).partition(".")[0] for name in predictors}
