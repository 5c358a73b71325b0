"""Agreement of an evaluation with an attack of another library, sample by sample.

Both attack the same networks; a sample counts as broken only by an example that the host verifies.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from advtransfer.errors import BadInput, MissingLibrary, Problem
from advtransfer.testing.canaries.honest_models import Subject, honest_subject
from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.datasets import all_positions
from advtransfer.toolkit.prediction import apply_in_chunks
from advtransfer.types import Evaluation, EvaluationInputs, Examples, Outcome
from advtransfer.worker.guards.side_effects import guard_side_effects
from advtransfer.worker.process import deterministic_algorithms
from advtransfer.worker.verification import ThreatModel
from advtransfer.worker.verification.claims import robustness_claims
from advtransfer.worker.verification.examples import legal_examples, verify_examples

MOST_MORE_LEFT = 0.005
"""Largest share of the samples by which an evaluation may leave more robust than the other attack."""

MOST_TARGETS = 9
"""Largest number of target classes of AutoAttack (Croce and Hein, 2020)."""

CPU = torch.device("cpu")


class OtherAttack(Protocol):
    """An attack of another library."""

    def attack(
        self, model: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel
    ) -> Tensor:
        """Return a point for each image, ``(N, C, H, W)``."""


@dataclass(frozen=True, slots=True)
class AttackResult:
    """Samples that an attack left robust, and what it cost.

    Args:
        left: True for samples that are right without attack and not broken, ``(N,)`` bool.
        gradients: Gradient evaluations per sample; None if they were not counted.
        forwards: Model evaluations per sample; None if they were not counted.
        seconds: Duration.
    """

    left: Tensor
    gradients: float | None
    forwards: float | None
    seconds: float

    @property
    def share(self) -> float:
        """The share of all samples that is left robust."""
        return float(self.left.double().mean())


@dataclass(frozen=True, slots=True)
class Agreement:
    """An evaluation beside another attack on one network.

    Args:
        network: The network's name.
        own: The result of the evaluation.
        other: The result of the other attack.
    """

    network: str
    own: AttackResult
    other: AttackResult

    @property
    def passes(self) -> bool:
        """True if the evaluation leaves at most `MOST_MORE_LEFT` more than the other attack."""
        count = len(self.own.left)
        # In samples: shares of floats would refuse .5 points that are .5 points.
        more_left = int(self.own.left.sum()) - int(self.other.left.sum())
        return more_left <= MOST_MORE_LEFT * count

    @property
    def only_own(self) -> list[int]:
        """Positions of the samples that the evaluation alone breaks."""
        return _positions(self.other.left & ~self.own.left)

    @property
    def only_other(self) -> list[int]:
        """Positions of the samples that the other attack alone breaks."""
        return _positions(self.own.left & ~self.other.left)


def compare_attacks(
    evaluation: Evaluation, other: OtherAttack, *, threat: ThreatModel, seed: int = 0
) -> Iterator[Agreement]:
    """Yield the agreement on the honest networks, one trained naturally and one adversarially.

    Args:
        evaluation: The evaluation.
        other: The other attack.
        threat: The ball of both.
        seed: The seed of the networks.
    """
    for name in ("natural", "robust"):
        subject = honest_subject(seed, robust=name == "robust")
        own = run_evaluation(evaluation, subject, threat)
        yield Agreement(f"{name} network", own, run_other(other, subject, threat))


def run_evaluation(evaluation: Evaluation, subject: Subject, threat: ThreatModel) -> AttackResult:
    """Return what an evaluation leaves robust in the ball, by the examples that it can show.

    Raises:
        BadInput: The evaluation reports no robust accuracy in this ball.
    """
    started = time.monotonic()
    with deterministic_algorithms(), guard_side_effects(subject.model):
        inputs = EvaluationInputs(test=subject.test, model=subject.model)
        measurement = evaluation.measure(inputs, context=InMemoryContext(0))
    seconds = time.monotonic() - started
    metrics = [claim.metric for claim in robustness_claims(measurement) if claim.threat == threat]
    if not metrics:
        found = f"no robust_accuracy within {threat.norm} {threat.eps:g}"
        raise BadInput([Problem(found, "an evaluation that reports one", "correct its options")])
    outcomes, _ = verify_examples(
        measurement.outcomes,
        measurement.examples,
        test=subject.test,
        model=subject.model,
        device=CPU,
    )
    # A sample whose attack did not end is left, as one that was never attacked.
    is_left = (outcomes[metrics[0]] != Outcome.BROKEN) & (outcomes[metrics[0]] != Outcome.WRONG)
    gradients = _mean_of(measurement.samples, "gradients")
    return AttackResult(is_left, gradients, _mean_of(measurement.samples, "forwards"), seconds)


def run_other(other: OtherAttack, subject: Subject, threat: ThreatModel) -> AttackResult:
    """Return what another attack leaves robust, by examples that the host verifies."""
    positions = all_positions(subject.test)
    images = subject.test.inputs(positions)
    labels = subject.test.labels(positions)
    counting = CountingNetwork(subject.model)
    started = time.monotonic()
    with guard_side_effects(subject.model):
        points = other.attack(counting, images, labels, threat)
    seconds = time.monotonic() - started
    examples = Examples("robust_accuracy", threat.norm, threat.eps, positions, points.detach())
    broken = legal_examples(examples, test=subject.test, model=subject.model, device=CPU)
    with torch.no_grad():
        is_right = apply_in_chunks(subject.model, images).argmax(1) == labels
    count = len(positions)
    return AttackResult(
        is_right & ~broken, counting.gradients / count, counting.forwards / count, seconds
    )


class CountingNetwork(nn.Module):
    """A network that counts the rows that it evaluates, and those of its gradients.

    Args:
        network: The network.

    Attributes:
        forwards: Number of rows evaluated.
        gradients: Number of rows whose gradient was evaluated.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        # In a list, so that the network is not registered: it keeps its modes and its owner.
        self._network = [network]
        self.forwards = 0
        self.gradients = 0

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the network's logits ``(B, K)``."""
        self.forwards += len(inputs)
        logits: Tensor = self._network[0](inputs)
        if logits.requires_grad:
            logits.register_hook(self._count_gradient)  # type: ignore[no-untyped-call]  # torch
        return logits

    def _count_gradient(self, gradient: Tensor) -> None:
        self.gradients += len(gradient)


class PyAutoAttack:
    """AutoAttack of its authors, as packaged in `pyautoattack`, in its version ``standard``.

    Raises:
        MissingLibrary: The library is not installed.
    """

    def __init__(self) -> None:
        try:
            from pyautoattack import AutoAttack
        except ImportError as error:
            install = "pip install 'advtransfer[autoattack]'"
            raise MissingLibrary("pyautoattack", "--against pyautoattack", install) from error
        self._auto_attack = AutoAttack

    def attack(
        self, model: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel
    ) -> Tensor:
        """Return a point for each image, ``(N, C, H, W)``; the image itself where none was found."""
        norm = {"linf": "Linf", "l2": "L2", "l1": "L1"}[threat.norm]
        attack = self._auto_attack(model, norm=norm, eps=threat.eps, seed=0)
        with torch.no_grad():
            classes = model(images[:1]).shape[1]
        # It asks for nine target classes whatever the model has, and fails where they are fewer.
        for targeted in (attack.apgd_targeted, attack.fab):
            targeted.n_target_classes = min(targeted.n_target_classes, classes - 1)
        points: Tensor
        points, _ = attack.run_standard_evaluation(images, labels)
        return points


OTHER_ATTACKS: Mapping[str, type[PyAutoAttack]] = {"pyautoattack": PyAutoAttack}
"""The attacks that an evaluation can be held against, by name."""


def _positions(mask: Tensor) -> list[int]:
    positions: list[int] = mask.nonzero().flatten().tolist()
    return positions


def _mean_of(samples: Mapping[str, Any], name: str) -> float | None:  # Any: arrays of plugins
    return None if name not in samples else float(torch.as_tensor(samples[name]).double().mean())
