"""No canary passes for robust, whoever evaluates it, and no honest model is doubted.

Honest models are small networks for the digits, natural and robust to l_inf, of depths 2 and 3: 100, each in every
norm, l_inf at eps 0.1, l_2 at 0.5 and l_1 at 2. None may be doubted behind `foolbox/autoattack: fast`, which is held to
2 % of missed samples. PGD-20 may be: its flags are warnings.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import product
from typing import TypeAlias

import pytest
import torch
from torch import Tensor, nn

from advtransfer.host import Host
from advtransfer.testing.canaries import CANARIES, Subject, honest_network
from advtransfer.testing.canaries.honest_models import digits_dataset
from advtransfer.testing.canaries.score import examine_model
from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.datasets import SampleSubset
from advtransfer.toolkit.pgd import pgd as ascend
from advtransfer.toolkit.rng import stream_generator
from advtransfer.types import (
    Context,
    Evaluation,
    EvaluationInputs,
    Examples,
    Json,
    Measurement,
    Outcome,
)
from advtransfer.worker.verification import ThreatModel, run_battery
from advtransfer.worker.verification.config import BATTERY_SIZES, NORMS, Norm

SMALL = BATTERY_SIZES["small"]
# A few of many are slow; all others, which take three quarters of an hour of one core, are nightly.
SLOW = {(1, "linf", 0), (2, "linf", 0), (2, "l2", 0)}
SEEDS = [*(("linf", seed) for seed in range(5)), ("l2", 0), ("l1", 0)]
STRENGTHS = [
    pytest.param(
        depth,
        norm,
        seed,
        marks=pytest.mark.slow if (depth, norm, seed) in SLOW else pytest.mark.nightly,
    )
    for depth in (1, 2, 4)
    for norm, seed in SEEDS
]
HONEST_SEEDS = [
    pytest.param(seed, marks=pytest.mark.slow if seed == 0 else pytest.mark.nightly)
    for seed in range(25)
]
HONEST_IMAGES = 64  # as many as a kernel takes: fewer would cost the same
Pgd: TypeAlias = Callable[[Norm], Evaluation]


@dataclass(frozen=True)
class Naive:
    """PGD-20 as a careless plugin has it: it checks nothing, and what is not misclassified at the end is robust."""

    eps: float = 0.1

    def measure(self, given: EvaluationInputs, *, context: Context) -> Measurement:
        assert given.model is not None
        inputs, labels = (
            given.test.inputs(torch.arange(len(given.test))),
            given.test.labels(torch.arange(300)),
        )
        moved = ascend(
            given.model,
            inputs,
            labels,
            norm="linf",
            eps=self.eps,
            steps=20,
            step_size=self.eps / 8,
            random_start=True,
            generator=stream_generator("naive"),
        )
        with torch.no_grad():
            wrong, broken = (given.model(one).argmax(1) != labels for one in (inputs, moved))
        outcomes = torch.where(broken, int(Outcome.BROKEN), int(Outcome.ROBUST))
        outcomes[wrong] = int(Outcome.WRONG)
        name, fallen = f"robust_accuracy@{self.eps:g}", (broken & ~wrong).nonzero().flatten()
        return Measurement(
            outcomes={name: outcomes.to(torch.uint8)},
            examples=[Examples(name, "linf", self.eps, fallen, moved[fallen])],
        )


@pytest.mark.parametrize(
    "norm", ["linf", *(pytest.param(norm, marks=pytest.mark.slow) for norm in ("l2", "l1"))]
)
@pytest.mark.parametrize("name", CANARIES)
def test_the_weakest_of_each_canary_is_caught_behind_foolbox(
    name: str, norm: Norm, natural: Subject, pgd: Pgd
) -> None:
    canary = CANARIES[name]
    is_slow = name in ("logit ripple", "input wiggle")  # Smoothed ascents take long.
    # Of fewer images, just as many saturated ones as the battery takes for too many could be left.
    if is_slow or (norm == "linf" and name != "saturated logits"):
        few = SampleSubset(natural.test, torch.arange(HONEST_IMAGES))
        natural = replace(natural, test=few)
    seen = examine_model(pgd(norm), canary.spoil(natural, canary.strengths[-1]), battery=SMALL)

    if norm in canary.norms:
        assert seen.is_doubted, seen
    else:  # It hides nothing there: its number is the network's.
        honest = examine_model(pgd(norm), natural, battery=SMALL)
        assert seen.claimed is not None
        assert honest.claimed is not None
        assert seen.claimed <= honest.claimed


@pytest.mark.slow
@pytest.mark.parametrize("name", CANARIES)
def test_the_host_catches_canaries_that_a_careless_plugin_misses(
    name: str, natural: Subject
) -> None:
    canary = CANARIES[name]
    seen = examine_model(Naive(), canary.spoil(natural, canary.strengths[0]), battery=SMALL)

    assert seen.is_doubted, seen


def claimed(evaluation: Evaluation, subject: Subject) -> float:
    """The robust accuracy at eps 0.1 that an evaluation reports, without the host's checks."""
    given = EvaluationInputs(test=subject.test, model=subject.model)
    measured = evaluation.measure(given, context=InMemoryContext(0))
    outcomes = measured.outcomes["robust_accuracy@0.1"]
    return float((outcomes == Outcome.ROBUST).double().mean())


def test_a_canary_fools_the_careless_plugin_itself(natural: Subject) -> None:
    for name in ("quantised input", "saturated logits"):
        canary = CANARIES[name]

        spoilt = canary.spoil(natural, canary.strengths[0])
        assert claimed(Naive(), spoilt) > claimed(Naive(), natural) + 0.3, name


@pytest.mark.parametrize("norm", NORMS)
def test_honest_models_are_not_doubted(norm: Norm, natural: Subject, pgd: Pgd) -> None:
    seen = examine_model(pgd(norm), natural, battery=SMALL)

    assert "checked" == seen.judged, seen


class Scaled(nn.Module):
    """A network with its logits scaled, shifted and, at a scale of 0, constant."""

    def __init__(self, network: nn.Module, scale: float, shift: Tensor) -> None:
        super().__init__()
        self.network = network
        self.scale = scale
        self.shift = shift

    def forward(self, inputs: Tensor) -> Tensor:
        """``(B, 5)`` logits."""
        logits: Tensor = self.scale * self.network(inputs) + self.shift
        return logits


@pytest.mark.parametrize("scale", [12.0, 30.0])
def test_honest_networks_with_large_logits_are_not_doubted(scale: float, natural: Subject) -> None:
    scaled = Scaled(natural.model, scale, torch.zeros(5)).eval()
    found = run_battery(
        scaled, natural.test, ThreatModel("linf", 0.1), SMALL, device=torch.device("cpu")
    )
    values = {check.name: check.value for check in found.checks}

    assert [] == [check for check in found.checks if check.grade in ("suspicious", "fail")]
    # Attacks on cross-entropy do have no gradient on many samples.
    assert values["saturation"] > (0.5 if scale > 20 else 0.05)


@pytest.mark.parametrize(("shift", "verdict"), [(2.0, "checked"), (torch.nan, "invalid")])
def test_a_constant_model_masks_nothing_and_one_of_nan_is_doubted(
    shift: float, verdict: str, natural: Subject, pgd: Pgd
) -> None:
    constant = Scaled(natural.model, 0.0, torch.tensor([shift, 0, 0, 0, 0])).eval()
    seen = examine_model(pgd("linf"), replace(natural, model=constant), battery=SMALL)

    assert verdict == seen.judged, seen


def test_an_honest_model_is_not_doubted_for_a_careless_plugin(natural: Subject) -> None:
    seen = examine_model(Naive(), natural, battery=SMALL)

    assert "checked" == seen.judged, seen


def test_a_correct_number_for_an_overconfident_model_is_doubted_not_refused(
    natural: Subject,
) -> None:
    options: dict[str, Json] = {
        "norm": "linf",
        "eps": 0.1,
        "steps": 20,
        "step_size": 0.0125,
        "loss": "margin",
    }
    built = Host.discover().component("foolbox/pgd", "evaluation").build(options, {})
    assert hasattr(built, "measure")
    sure = CANARIES["saturated logits"].spoil(natural, 1e3)
    seen = examine_model(built, sure, battery=SMALL)

    assert claimed(built, natural) == seen.claimed
    assert "suspicious" == seen.judged
    assert "saturation" in seen.reason


@pytest.mark.parametrize(("depth", "norm", "seed"), STRENGTHS)
def test_every_canary_is_caught_over_seeds_strengths_and_depths(
    depth: int, norm: Norm, seed: int, pgd: Pgd
) -> None:
    for robust in (False, True):
        base = honest_network(100 * seed + depth, depth=depth, robust=robust)
        subject = Subject(base, digits_dataset().part("test"), honest_network(7 + seed, depth=2))
        honest = examine_model(pgd(norm), subject, battery=SMALL).claimed
        assert honest is not None
        missed = []
        for name, canary in CANARIES.items():
            for strength in canary.strengths if norm in canary.norms else ():
                seen = examine_model(pgd(norm), canary.spoil(subject, strength), battery=SMALL)
                # A ripple as large as the logits of a shallow network leaves nothing to hide.
                hides = seen.claimed is None or seen.claimed > honest
                if hides and not seen.is_doubted:
                    missed.append((name, strength, robust))

        assert [] == missed


@pytest.mark.parametrize("seed", HONEST_SEEDS)
def test_no_model_of_a_hundred_honest_ones_is_doubted(seed: int, fast: Pgd, pgd: Pgd) -> None:
    source = honest_network(500 + seed, depth=2)
    test = SampleSubset(digits_dataset().part("test"), torch.arange(HONEST_IMAGES))
    for depth, robust in product((2, 3), (False, True)):
        subject = Subject(honest_network(1000 + seed, depth=depth, robust=robust), test, source)
        for norm in NORMS:
            seen = examine_model(fast(norm), subject, battery=SMALL, is_strong=True)

            assert "checked" == seen.judged, (norm, depth, robust, seen.reason)
        weak = examine_model(pgd("linf"), subject, battery=SMALL)
        if weak.is_doubted:
            warnings.warn(f"PGD-20, {depth}, {robust}: {weak.reason}", stacklevel=1)


def test_a_plugin_that_shows_no_examples_is_doubted_on_honest_models_too(natural: Subject) -> None:
    class Silent(Naive):
        def measure(self, given: EvaluationInputs, *, context: Context) -> Measurement:
            return replace(super().measure(given, context=context), examples=[])

    seen = examine_model(Silent(), natural, battery=SMALL)

    assert "suspicious" == seen.judged
    assert "robust_accuracy@0.1 has no examples" in seen.reason


@pytest.mark.slow
@pytest.mark.parametrize("norm", NORMS)
def test_the_battery_is_as_strong_as_the_fast_version_to_half_a_point(
    norm: Norm, fast: Pgd
) -> None:
    network, test = honest_network(50, robust=True), digits_dataset().part("test")
    threat = ThreatModel(norm, {"linf": 0.1, "l2": 0.5, "l1": 2.0}[norm])
    given = EvaluationInputs(test=test, model=network)
    measured = fast(norm).measure(given, context=InMemoryContext())
    ours = run_battery(network, test, threat, SMALL, device=torch.device("cpu"))

    theirs = measured.outcomes[f"robust_accuracy@{threat.eps:g}"][ours.positions]
    left = [int((each == Outcome.ROBUST).sum()) for each in (ours.outcomes["targeted"], theirs)]
    assert left[0] <= left[1] + 0.005 * len(ours.positions)
    assert 10 < left[1] < len(ours.positions) - 10
