"""Accuracy under an attack: the worst outcome of each sample, and the examples that prove it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from foolbox.models.pytorch import PyTorchModel
from torch import Tensor

from advtransfer.toolkit.freezing import weights_frozen
from advtransfer.toolkit.prediction import KERNEL_BATCH
from advtransfer.types import Context, Examples, Given, Measurement, Outcome
from advtransfer_foolbox.accuracy import clean_outcomes, model_of
from advtransfer_foolbox.attacks import Watched
from advtransfer_foolbox.budget import Budget, Norm, within
from advtransfer_foolbox.images import Boxed
from advtransfer_foolbox.starts import starts


@dataclass(frozen=True, slots=True, kw_only=True)
class AttackAccuracy:
    """An evaluation: what becomes of each test sample when an attack may move it.

    Args:
        attack: The attack.
        metric: The outcome metric's name, before ``@<eps>``.
        budget: The norm, and the radii, each measured by itself.
        clean: The name of the outcome metric without attack; None leaves it out.
        restarts: Runs from other random starts; each attacks only what still stands.
        seed: Which random starts are drawn.
    """

    attack: Watched
    metric: str
    budget: Budget
    clean: str | None = None
    restarts: int = 1
    seed: int = 0

    def measure(self, given: Given, *, context: Context) -> Measurement:
        """Outcomes at each radius, with the examples that broke a sample.

        Raises:
            ValueError: A radius beyond the box, images outside [0, 1], labels that are none of the model's classes, or
                a model in training mode.
        """
        model, test = model_of(given), Boxed(given.test)
        self.budget.check(test.card.shape)
        clean = clean_outcomes(model, test, context=context)
        outcomes = {} if self.clean is None else {self.clean: clean}
        examples = []
        with weights_frozen(model), torch.enable_grad():
            attacked = PyTorchModel(model, bounds=(0, 1), device=context.device)
            for eps in self.budget.eps:
                metric = f"{self.metric}@{eps:g}"
                run = AttackRun(self.attack, attacked, test, self.budget.norm, eps, self.seed, context)
                outcomes[metric], broken = run.worst(clean, restarts=self.restarts)
                if broken:
                    positions = sorted(broken)
                    inputs = torch.stack([broken[position] for position in positions])
                    examples.append(Examples(metric, self.budget.norm, eps, torch.tensor(positions), inputs))
        return Measurement(outcomes=outcomes, examples=examples)


@dataclass(frozen=True, slots=True)
class AttackRun:
    """One attack on one model and test part at one radius."""

    attack: Watched
    model: PyTorchModel
    test: Boxed
    norm: Norm
    eps: float
    seed: int
    context: Context

    def worst(self, clean: Tensor, *, restarts: int) -> tuple[Tensor, dict[int, Tensor]]:
        """Outcomes ``(N,)`` uint8, and by position the example ``(C, H, W)`` that broke a sample.

        Only samples that are right without attack are attacked; with eps 0 there is nothing to try.
        """
        outcomes, broken = clean.clone(), dict[int, Tensor]()
        right = clean == Outcome.ROBUST
        for restart in range(restarts if self.eps > 0 else 0):
            standing = (right & (outcomes != Outcome.BROKEN)).nonzero().flatten()
            for positions in torch.split(standing, KERNEL_BATCH) if len(standing) else ():
                found, points = self.strike(positions, restart=restart)
                # an unfinished attack stays unknown even if another restart ends well
                outcomes[positions] = torch.where(found == Outcome.ROBUST, outcomes[positions], found)
                fallen = (found == Outcome.BROKEN).nonzero().flatten()
                broken.update(zip(positions[fallen].tolist(), points[fallen], strict=True))
                self.context.progress(restart * len(clean) + int(positions[-1]) + 1, restarts * len(clean))
        return outcomes, broken

    def strike(self, positions: Tensor, *, restart: int) -> tuple[Tensor, Tensor]:
        """Attack up to `KERNEL_BATCH` samples once: their outcomes ``(B,)`` uint8 and points ``(B, C, H, W)``.

        A short chunk is filled up with its first sample, so that every kernel sees the same number of rows.
        """
        rows = torch.cat([positions, positions[:1].expand(KERNEL_BATCH - len(positions))])
        device = self.context.device
        images, labels = self.test.inputs(rows).to(device), self.test.labels(rows).to(device)
        noise = self.noise(rows, restart=restart).to(device) if self.attack.random_start else None
        reached = self.attack.reach(self.model, images, labels, eps=self.eps, noise=noise)
        with torch.no_grad():
            logits = self.model(reached.inputs)
        proven = within(reached.inputs, images, norm=self.norm, eps=self.eps) & logits.isfinite().all(1)
        outcomes = torch.where(proven & reached.finite, int(Outcome.ROBUST), int(Outcome.UNKNOWN))
        outcomes[proven & (logits.argmax(1) != labels)] = int(Outcome.BROKEN)
        kept = slice(len(positions))
        return outcomes[kept].to("cpu", torch.uint8), reached.inputs[kept].cpu()

    def noise(self, rows: Tensor, *, restart: int) -> Tensor:
        """Where the attack starts, in units of eps: ``(B, C, H, W)``."""
        keys = [self.test.keys[row] for row in rows.tolist()]
        shape = self.test.card.shape
        return starts(keys, shape, norm=self.norm, seed=self.seed, restart=restart, context=self.context)
