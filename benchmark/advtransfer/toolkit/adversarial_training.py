"""Objectives of adversarial training: PGD, APGD and fast, TRADES, free; a rising radius."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from advtransfer.toolkit.adversary import (
    Apgd,
    Fast,
    Free,
    RisingMethod,
    Trades,
    TrainingMethod,
    at_strength,
)
from advtransfer.toolkit.apgd import apgd_perturb
from advtransfer.toolkit.losses import MeanLoss, Objective, task_loss
from advtransfer.toolkit.model_modes import in_eval_mode, weights_frozen
from advtransfer.toolkit.pgd import Bounds, clip_to_bounds, pgd_perturb, projected_ascent
from advtransfer.types import Task

TRADES_START_NOISE = 1e-3
"""The standard deviation of the noise that TRADES starts from.

At the image itself the divergence is 0 and has no gradient.
"""


def training_objective(
    adversary: TrainingMethod | None,
    *,
    task: Task = "classes",
    bounds: Bounds = (0.0, 1.0),
    steps: int | None = None,
) -> Objective:
    """Return the objective of natural training (None) or of training against the adversary.

    Args:
        adversary: The method and its ball.
        task: The task whose loss is minimised.
        bounds: The smallest and the largest value of an input; None for no such box.
        steps: The number of batches in the whole training, which an adversary with a `warmup`
            needs.

    Raises:
        ValueError: The method does not work on the task, or `steps` are missing.
    """
    if adversary is None:
        return MeanLoss(task)
    if isinstance(adversary, Free):
        return FreeSteps(adversary, task, bounds)
    if adversary.warmup:
        if steps is None:
            raise ValueError(
                f"found a warmup of {adversary.warmup:g} and no number of steps; expected both; "
                "pass steps, the batches of the whole training"
            )
        return WarmedUpLoss(adversary, task, bounds, steps)
    return _perturbed_loss(adversary, task=task, bounds=bounds)


def _perturbed_loss(
    adversary: RisingMethod, *, task: Task, bounds: Bounds
) -> MeanLoss | TradesLoss:
    """Return the objective of a method that keeps nothing from batch to batch."""
    if isinstance(adversary, Trades):
        if task != "classes":
            raise ValueError(
                f"found the task {task!r} for TRADES; expected 'classes'; "
                "use kind: pgd, apgd, fast or free"
            )
        return TradesLoss(adversary, bounds)
    if isinstance(adversary, Apgd):
        return MeanLoss(task, apgd_perturb(adversary, task=task, bounds=bounds))
    attacker = adversary.as_pgd if isinstance(adversary, Fast) else adversary
    return MeanLoss(task, pgd_perturb(attacker, task=task, bounds=bounds))


@dataclass(frozen=True, slots=True)
class WarmedUpLoss:
    """The objective of a method whose radius rises linearly from 0 to eps, and then stays.

    Args:
        adversary: The method, with its `warmup`.
        task: The task whose loss is minimised.
        bounds: The smallest and the largest value of an input; None for no such box.
        steps: The number of batches in the whole training.
    """

    adversary: RisingMethod
    task: Task
    bounds: Bounds
    steps: int
    state: dict[str, Tensor] = field(default_factory=dict)

    def __call__(
        self, model: nn.Module, inputs: Tensor, labels: Tensor, noise: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield one loss and its outputs ``(B, K)``; the first batch has a radius above 0."""
        step = int(self.state.get("step", torch.tensor(0))) + 1
        # In the saved state, so that a resumed training goes on counting.
        self.state["step"] = torch.tensor(step)
        share = min(1.0, step / (self.adversary.warmup * self.steps))
        scaled = at_strength(self.adversary, share)
        objective = _perturbed_loss(scaled, task=self.task, bounds=self.bounds)
        yield from objective(model, inputs, labels, noise)


@dataclass(frozen=True, slots=True)
class TradesLoss:
    """Cross-entropy on x plus ``beta * KL(f(x) || f(x'))`` for the x' of the largest divergence.

    Zhang et al. (2019), equation 5 and algorithm 1. x' is searched in the ball around x, with the
    model in eval mode as in the paper's code.
    """

    adversary: Trades
    bounds: Bounds
    state: dict[str, Tensor] = field(default_factory=dict)

    def __call__(
        self, model: nn.Module, inputs: Tensor, labels: Tensor, noise: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield one loss and the logits ``(B, K)`` of the unperturbed inputs."""
        perturbed = self._find_adversarial(model, inputs, noise)
        logits: Tensor = model(inputs)
        divergence = kl_divergence(logits.log_softmax(1), model(perturbed).log_softmax(1)).mean()
        # Equation 5 with beta = 1 / lambda.
        loss = functional.cross_entropy(logits, labels) + self.adversary.beta * divergence
        yield loss, logits

    def _find_adversarial(self, model: nn.Module, inputs: Tensor, noise: torch.Generator) -> Tensor:
        """Return the inputs of the ball that maximise the divergence (algorithm 1, inner loop)."""
        with in_eval_mode(model), weights_frozen(model):
            with torch.no_grad():
                clean_log_probabilities = model(inputs).log_softmax(1)

            def divergence(perturbed: Tensor) -> Tensor:
                return kl_divergence(clean_log_probabilities, model(perturbed).log_softmax(1))

            start = (TRADES_START_NOISE * torch.randn(inputs.shape, generator=noise)).to(inputs)
            return projected_ascent(
                divergence,
                inputs,
                start,
                norm=self.adversary.norm,
                eps=self.adversary.eps,
                steps=self.adversary.steps,
                step_size=self.adversary.effective_step_size,
                bounds=self.bounds,
            )


@dataclass(frozen=True, slots=True)
class FreeSteps:
    """Several steps on each batch; one backward pass updates both the weights and the perturbation.

    Shafahi et al. (2019), algorithm 1. The perturbation starts at zero before the first batch and
    is kept from batch to batch and from epoch to epoch.
    """

    adversary: Free
    task: Task
    bounds: Bounds
    state: dict[str, Tensor] = field(default_factory=dict)

    def __call__(
        self, model: nn.Module, inputs: Tensor, labels: Tensor, noise: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield one loss and its outputs ``(B, K)`` for each replay."""
        eps = self.adversary.eps
        for _ in range(self.adversary.replays):
            delta = self._last_perturbation(inputs).requires_grad_()
            outputs: Tensor = model(clip_to_bounds(inputs + delta, self.bounds))
            yield task_loss(self.task, outputs, labels), outputs
            # The caller's backward pass for the weights has filled in the perturbation's gradient.
            if delta.grad is None:
                raise RuntimeError(
                    "found no gradient of the perturbation; expected a backward pass for each loss"
                )
            stepped = delta.detach() + eps * delta.grad.sign()
            self.state["delta"][: len(inputs)] = stepped.clamp(-eps, eps)

    def _last_perturbation(self, inputs: Tensor) -> Tensor:
        """Return a copy of the last perturbation for the rows of this batch, ``(B, ...)``."""
        delta = self.state.get("delta", inputs[:0]).to(inputs)
        # Zeros for rows that no batch had so far; a smaller last batch leaves the others as they
        # are.
        missing = max(0, len(inputs) - len(delta))
        self.state["delta"] = torch.cat([delta, torch.zeros_like(inputs[:missing])])
        return self.state["delta"][: len(inputs)].clone()


def kl_divergence(given: Tensor, other: Tensor) -> Tensor:
    """Return KL(given || other) of each row ``(B,)``, from log-probabilities ``(B, K)``."""
    return functional.kl_div(other, given, reduction="none", log_target=True).sum(1)
