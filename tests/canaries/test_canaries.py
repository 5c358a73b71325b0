"""No canary passes for robust, whoever evaluates it, and no honest model is doubted."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from advtransfer.testing.canaries import CANARIES, Subject, honest
from advtransfer.testing.canaries.examine import examine
from advtransfer.testing.canaries.honest import digits
from advtransfer.toolkit.attack import pgd as ascend
from advtransfer.toolkit.streams import generator
from advtransfer.trial.battery.design import SIZES
from advtransfer.types import Context, Evaluation, Examples, Given, Measurement, Outcome

SMALL = SIZES["small"]


@dataclass(frozen=True)
class Naive:
    """PGD-20 as a careless plugin has it: it checks nothing, and what is not misclassified at the end is robust."""

    eps: float = 0.1

    def measure(self, given: Given, *, context: Context) -> Measurement:
        assert given.model is not None
        inputs, labels = given.test.inputs(torch.arange(len(given.test))), given.test.labels(torch.arange(300))
        moved = ascend(
            given.model,
            inputs,
            labels,
            norm="linf",
            eps=self.eps,
            steps=20,
            step_size=self.eps / 8,
            random_start=True,
            generator=generator("naive"),
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


@pytest.mark.parametrize("name", CANARIES)
def test_the_weakest_of_each_canary_is_caught_behind_foolbox(name: str, natural: Subject, pgd: Evaluation) -> None:
    canary = CANARIES[name]
    seen = examine(pgd, canary.spoil(natural, canary.strengths[-1]), battery=SMALL)

    assert seen.doubted, seen


@pytest.mark.slow
@pytest.mark.parametrize("name", CANARIES)
def test_the_host_alone_catches_what_a_careless_plugin_does_not(name: str, natural: Subject) -> None:
    canary = CANARIES[name]
    seen = examine(Naive(), canary.spoil(natural, canary.strengths[0]), battery=SMALL)

    assert seen.doubted, seen


def test_a_canary_fools_the_careless_plugin_itself(natural: Subject) -> None:
    def claimed(subject: Subject) -> float:
        seen = examine(Naive(), subject, battery=SMALL)
        assert seen.claimed is not None
        return seen.claimed

    for name in ("quantised input", "saturated logits"):
        canary = CANARIES[name]

        assert claimed(canary.spoil(natural, canary.strengths[0])) > claimed(natural) + 0.3, name


def test_honest_models_are_not_doubted(natural: Subject, pgd: Evaluation) -> None:
    for evaluation in (pgd, Naive()):
        seen = examine(evaluation, natural, battery=SMALL)

        assert "verified" == seen.judged, seen


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("depth", [1, 2, 4])
def test_every_canary_is_caught_over_seeds_strengths_and_depths(seed: int, depth: int, pgd: Evaluation) -> None:
    for robust in (False, True):
        base = honest(100 * seed + depth, depth=depth, robust=robust)
        subject = Subject(base, digits().part("test"), honest(7 + seed, depth=2))
        missed = [
            (name, strength, robust)
            for name, canary in CANARIES.items()
            for strength in canary.strengths
            if not examine(pgd, canary.spoil(subject, strength), battery=SMALL).doubted
        ]

        assert [] == missed


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(25))
def test_of_a_hundred_honest_models_none_is_doubted(seed: int, pgd: Evaluation) -> None:
    source = honest(500 + seed, depth=2)
    for depth in (2, 3):
        for robust in (False, True):
            base = honest(1000 + seed, depth=depth, robust=robust)
            seen = examine(pgd, Subject(base, digits().part("test"), source), battery=SMALL)

            assert "verified" == seen.judged, (depth, robust, seen.reason)
