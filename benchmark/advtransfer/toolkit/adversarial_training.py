"""Objectives of adversarial training: PGD and fast, TRADES, free."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn import functional

from advtransfer.toolkit.adversary import Adversary, Fast, Free, Trades
from advtransfer.toolkit.losses import MeanLoss, Objective, task_loss
from advtransfer.toolkit.model_modes import in_eval_mode, weights_frozen
from advtransfer.toolkit.pgd import Bounds, clip_to_bounds, pgd_perturb, projected_ascent
from advtransfer.types import Task

TRADES_START_NOISE = 1e-3
"""The standard deviation of the noise that TRADES starts from: at the image itself the divergence has no gradient."""


def training_objective(
    adversary: Adversary | Trades | Fast | Free | None,
    *,
    task: Task = "classes",
    bounds: Bounds = (0.0, 1.0),
) -> Objective:
    """What is minimised to train naturally (None) or against the adversary.

    Args:
        adversary: The method, with its ball.
        task: Which loss is minimised.
        bounds: The smallest and the largest value an input may take; None for no such box.

    Raises:
        ValueError: The method does not work on the task.
    """
    if adversary is None:
        return MeanLoss(task)
    if isinstance(adversary, Free):
        return FreeSteps(adversary, task, bounds)
    if isinstance(adversary, Trades):
        if task != "classes":
            raise ValueError(
                f"found the task {task!r} for TRADES; expected 'classes'; use kind: pgd, fast or free"
            )
        return TradesLoss(adversary, bounds)
    attacker = adversary.as_pgd if isinstance(adversary, Fast) else adversary
    return MeanLoss(task, pgd_perturb(attacker, task=task, bounds=bounds))


@dataclass(frozen=True, slots=True)
class TradesLoss:
    """Cross-entropy on x plus ``beta * KL(f(x) || f(x'))``, at the x' of the ball that maximises the divergence.

    Zhang et al. (2019), equation 5 and algorithm 1. The model is in eval mode while x' is looked for, as in the
    paper's code.
    """

    adversary: Trades
    bounds: Bounds
    state: dict[str, Tensor] = field(default_factory=dict)

    def __call__(
        self, model: nn.Module, inputs: Tensor, labels: Tensor, noise: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """One loss a batch; the outputs are those on the images as they are."""
        moved = self._find_adversarial(model, inputs, noise)
        logits: Tensor = model(inputs)
        apart = kl_divergence(logits.log_softmax(1), model(moved).log_softmax(1)).mean()
        yield functional.cross_entropy(logits, labels) + self.adversary.beta * apart, logits

    def _find_adversarial(self, model: nn.Module, inputs: Tensor, noise: torch.Generator) -> Tensor:
        with in_eval_mode(model), weights_frozen(model):
            with torch.no_grad():
                still = model(inputs).log_softmax(1)
            return projected_ascent(
                lambda moved: kl_divergence(still, model(moved).log_softmax(1)),
                inputs,
                (TRADES_START_NOISE * torch.randn(inputs.shape, generator=noise)).to(inputs),
                norm=self.adversary.norm,
                eps=self.adversary.eps,
                steps=self.adversary.steps,
                step_size=self.adversary.effective_step_size,
                bounds=self.bounds,
            )


@dataclass(frozen=True, slots=True)
class FreeSteps:
    """Several steps on each batch, each moving the weights down and the perturbation up by one backward pass.

    Shafahi et al. (2019), algorithm 1. The perturbation starts at zero before the first batch, and is kept from batch
    to batch and from epoch to epoch.
    """

    adversary: Free
    task: Task
    bounds: Bounds
    state: dict[str, Tensor] = field(default_factory=dict)

    def __call__(
        self, model: nn.Module, inputs: Tensor, labels: Tensor, noise: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """As many losses a batch as there are replays."""
        for _ in range(self.adversary.replays):
            delta = self._last_perturbation(inputs).requires_grad_()
            outputs: Tensor = model(clip_to_bounds(inputs + delta, self.bounds))
            yield task_loss(self.task, outputs, labels), outputs
            if delta.grad is None:
                raise RuntimeError(
                    "found no gradient of the perturbation; expected a backward pass for each loss"
                )
            moved = delta.detach() + self.adversary.eps * delta.grad.sign()
            self.state["delta"][: len(inputs)] = moved.clamp(
                -self.adversary.eps, self.adversary.eps
            )

    def _last_perturbation(self, inputs: Tensor) -> Tensor:
        """The perturbation as it was left, for as many samples as the batch has; the last batch may be smaller."""
        kept = self.state.get("delta", inputs[:0]).to(inputs)
        missing = max(0, len(inputs) - len(kept))
        self.state["delta"] = torch.cat([kept, torch.zeros_like(inputs[:missing])])
        return self.state["delta"][: len(inputs)].clone()


def kl_divergence(given: Tensor, other: Tensor) -> Tensor:
    """The Kullback-Leibler divergence KL(given || other) of each row, from log-probabilities ``(B, K)``."""
    return functional.kl_div(other, given, reduction="none", log_target=True).sum(1)
