"""What was found of a source S and a reference T at the test samples, and the numbers made of it.

Suffixes name a direction: ``_st`` attacks the source and looks at the reference, ``_ts`` the other way round.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.losses import task_loss
from advtransfer.types import DataCard, Measurement
from advtransfer_alignment.bounds import Outputs, theorems
from advtransfer_alignment.deviations import Deviations, alpha_1, tau_2
from advtransfer_alignment.gradients import Jacobians, gradient_distance
from advtransfer_alignment.linearised import Linear
from advtransfer_alignment.matching import wanted
from advtransfer_alignment.numbers import angles, distances, linearised, transferability


@dataclass(frozen=True, slots=True)
class Seen:
    """One model under its own attack: ``(N, *shape)`` perturbations, ``(N, d)`` outputs without and with them."""

    delta: Tensor
    outputs: Tensor
    attacked: Tensor


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Everything that was found.

    Args:
        card: The target's.
        labels: Of the samples.
        source: f_S under its own attack.
        reference: f_T under its own.
        reference_at_source: What f_T says at the source's adversarials.
        source_at_reference: What f_S says at the reference's.
        features: What the heads of f_S and f_T receive, ``(N, D)`` each.
        linear: The linearised attack on both.
        jacobians: The inner products of all gradients; None for models of too many outputs.
        exact: Whether the attack is the linearised one, whose moves are then linear too, as it is defined.
    """

    card: DataCard
    labels: Tensor
    source: Seen
    reference: Seen
    reference_at_source: Tensor
    source_at_reference: Tensor
    features: tuple[Tensor, ...]
    linear: Linear
    jacobians: Jacobians | None
    exact: bool

    def measurement(self) -> Measurement:
        """The numbers and the arrays."""
        right, ways = self.right(), self.deviations()
        moved = torch.stack([*(one.moved() for one in ways.values()), self.linear.moved()]).all(0)
        kept = right & moved
        if (count := int(kept.sum())) < 2:
            found = f"of {len(right)} samples the reference has {int(right.sum())} right"
            raise Inapplicable(f"{found}, and {count} of these move both models; two are needed")
        counts = {"kept": float(count), "dropped": float((right & ~moved).sum()), "reference_error": _share(~right)}
        losses = self.losses()
        metrics = {
            **counts,
            **transferability({way: found.at(kept) for way, found in ways.items()}),
            **linearised(self.linear.at(kept)),
            **angles(self.source.delta[kept], self.reference.delta[kept]),
            **{name: float(values[kept].mean()) for name, values in losses.items()},
            **{name: _share(values[kept]) for name, values in self.errors().items()},
            **self._distances(kept),
            **self._theorems(kept),
        }
        arrays = {f"alpha_1_{way}": _where(kept, found) for way, found in ways.items()}
        samples = {name: values.float() for name, values in losses.items()}
        return Measurement(metrics=metrics, samples={"kept": kept.to(torch.uint8), **arrays, **samples})

    def right(self) -> Tensor:
        """Which samples the reference has right, ``(N,)`` bool; all where the task has values."""
        if self.card.task == "values":
            return torch.ones(len(self.labels), dtype=torch.bool)
        return (self._said(self.reference.outputs) == _decided(self.labels)).all(1)

    def deviations(self) -> dict[str, Deviations]:
        """How the attack moves outputs, by direction."""
        if self.exact:
            return {"st": self.linear.on_first, "ts": self.linear.on_second}
        source, reference = (one.attacked - one.outputs for one in (self.source, self.reference))
        to_reference = self.reference_at_source - self.reference.outputs
        to_source = self.source_at_reference - self.source.outputs
        return {
            "st": Deviations(source, to_reference, reference),
            "ts": Deviations(reference, to_source, source),
        }

    def losses(self) -> dict[str, Tensor]:
        """The reference's loss on the task, ``(N,)``: as it is, at its own adversarials, and at the source's."""
        at = {
            "loss_clean": self.reference.outputs,
            "loss_white_box": self.reference.attacked,
            "loss_transfer": self.reference_at_source,
        }
        return {name: task_loss(self.card.task, outputs, self.labels, reduction="none") for name, outputs in at.items()}

    def errors(self) -> dict[str, Tensor]:
        """Whether an attack changes what a model says, ``(N,)`` bool, by the model attacked and the one looked at."""
        if self.card.task == "values":
            return {}
        source, reference = self.source, self.reference
        pairs = {
            "ss": (source.outputs, source.attacked),
            "st": (reference.outputs, self.reference_at_source),
            "tt": (reference.outputs, reference.attacked),
            "ts": (source.outputs, self.source_at_reference),
        }
        return {f"error_rate_{way}": (self._said(a) != self._said(b)).any(1) for way, (a, b) in pairs.items()}

    def _said(self, outputs: Tensor) -> Tensor:
        """The decisions that outputs stand for, ``(N, 1)`` or ``(N, K)``."""
        return outputs.argmax(1, keepdim=True) if self.card.task == "classes" else (outputs > 0).long()

    def _distances(self, kept: Tensor) -> dict[str, float]:
        found = distances(
            source=self.source.outputs[kept],
            reference=self.reference.outputs[kept],
            source_features=self.features[0][kept].double(),
            reference_features=self.features[1][kept].double(),
            labels=wanted(self.labels, self.card)[kept],
        )
        if self.jacobians is not None:
            grams = self.jacobians.grams.at(kept)
            found["gradient_distance_st"] = gradient_distance(grams)
            found["gradient_distance_ts"] = gradient_distance(grams.swapped())
        return found

    def _theorems(self, kept: Tensor) -> Mapping[str, float]:
        if self.jacobians is None:
            return {}
        linear, jacobians = self.linear.at(kept), self.jacobians.at(kept)
        outputs = Outputs(
            source=self.source.outputs[kept],
            reference=self.reference.outputs[kept],
            wanted=wanted(self.labels, self.card)[kept],
        )
        carried = tau_2(linear.on_first.own, linear.on_first.other)
        return theorems(jacobians, linear, carried, outputs)


def _decided(labels: Tensor) -> Tensor:
    return labels.reshape(len(labels), -1)


def _share(mask: Tensor) -> float:
    return float(mask.double().mean())


def _where(kept: Tensor, deviations: Deviations) -> Tensor:
    """alpha_1 at the samples that are kept, NaN at the others, ``(N,)`` float32."""
    found = torch.full((len(kept),), torch.nan)
    found[kept] = alpha_1(deviations.at(kept)).float()
    return found
