"""Violations of the contract of a measurement are reported before any value is used."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from advtransfer.testing.data import toy
from advtransfer.types import Check, Examples, Measurement
from advtransfer.worker.plugin_values import contract_violation

TEST = toy(classes=2, train=4, test=6, shape=(1, 2, 2)).part("test")
NAME = "robust_accuracy@0.1"
BROKEN = Examples(NAME, "linf", 0.1, torch.tensor([1, 5]), TEST.inputs(torch.tensor([1, 5])))
GOOD = Measurement(
    outcomes={NAME: torch.zeros(6, dtype=torch.uint8)}, metrics={"loss": 1.0}, examples=[BROKEN]
)


def violation(**changed: object) -> str:
    """Return the violation of the valid measurement after a change of its fields."""
    return contract_violation(replace(GOOD, **changed), TEST) or ""  # type: ignore[arg-type]  # fields by name


def example_violation(**changed: object) -> str:
    return violation(examples=[replace(BROKEN, **changed)])  # type: ignore[arg-type]  # fields by name


def test_valid_measurement_has_no_violation() -> None:
    assert contract_violation(GOOD, TEST) is None


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (torch.zeros(5, dtype=torch.uint8), "have shape (5,); expected one per test sample, (6,)"),
        (torch.full((6,), 4, dtype=torch.uint8), "hold [4]; expected 0 to 3"),
        (
            torch.ones(6, dtype=torch.bool),
            "are bool; expected uint8 values of Outcome, in which right is 0 and not 1",
        ),
        (
            torch.ones(6, dtype=torch.int64),
            "are int64; expected uint8 values of Outcome, in which right is 0 and not 1",
        ),
        (
            torch.ones(6),
            "are float32; expected uint8 values of Outcome, in which right is 0 and not 1",
        ),
    ],
)
def test_outcomes_must_be_one_per_sample_with_known_values(values: Tensor, words: str) -> None:
    assert f"outcomes {NAME!r} {words}" == violation(outcomes={NAME: values})


def test_numbers_must_be_finite_and_named_apart_from_outcomes() -> None:
    assert "metric 'loss' is nan; expected a number" == violation(metrics={"loss": float("nan")})
    assert violation(metrics={NAME: 0.99}).startswith(
        f"{NAME!r} is both an outcome metric and a number"
    )
    assert "measured nothing; expected outcomes or metrics" == violation(
        outcomes={}, metrics={}, examples=[]
    )


def test_shares_are_metrics_from_0_to_1() -> None:
    assert "" == violation(shares=["loss"])
    assert "share 'loss' is 1.5; expected 0 to 1" == violation(
        metrics={"loss": 1.5}, shares=["loss"]
    )
    assert "share 'match' has no value; expected it in metrics" == violation(shares=["match"])


def test_checks_must_not_have_names_of_the_host() -> None:
    check = Check("noise@0.1", "pass", 0, 0, 6, "the plugin's own")

    assert violation(checks=[check]).startswith(
        "check 'noise@0.1' has a name of the host's own checks"
    )
    assert "" == violation(checks=[replace(check, name="overlap")])


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (
            {"metric": "robust"},
            f"belong to no outcome metric; expected one of those measured: {NAME!r}",
        ),
        (
            {"norm": "l7"},
            "are of norm 'l7' and eps 0.1; expected linf, l2, l1, l0 and a finite radius",
        ),
        ({"eps": float("nan")}, "are of norm 'linf' and eps nan;"),
        ({"eps": -0.1}, "are of norm 'linf' and eps -0.1;"),
        (
            {"positions": torch.tensor([1, 6])},
            "have positions from 1 to 6; expected positions of the test part, 0 to 5",
        ),
        ({"positions": torch.tensor([-1, 5])}, "have positions from -1 to 5;"),
        (
            {"positions": torch.tensor([True, False])},
            "have positions torch.bool of shape (2,); expected int64",
        ),
        (
            {"positions": torch.tensor([1])},
            "have inputs of shape (2, 1, 2, 2); expected one image per position, (1, 1, 2, 2)",
        ),
        (
            {"inputs": torch.zeros(2, 4)},
            "have inputs of shape (2, 4); expected one image per position, (2, 1, 2, 2)",
        ),
    ],
)
def test_examples_must_belong_to_samples_of_a_metric(
    changed: dict[str, object], words: str
) -> None:
    metric = changed.get("metric", NAME)

    assert example_violation(**changed).startswith(f"examples of {metric!r} {words}")
