"""Attacks that move samples away from a model's own output, and the perturbations they give."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import cast

import torch
from torch import Tensor

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.adversary import TrainingNorm
from advtransfer.toolkit.losses import task_loss
from advtransfer.toolkit.option_checks import require_radius
from advtransfer.toolkit.pgd import clip_to_bounds, projected_ascent
from advtransfer.toolkit.prediction import apply_in_chunks, kernel_batches
from advtransfer.types import Context, DataCard, Json, Samples, Shape, Task
from advtransfer_alignment.linear_algebra import ModelFunction, leading_spectrum
from advtransfer_alignment.options import (
    Attack,
    LabelFreeFgsm,
    LabelFreePgd,
    Spectrum,
    TopSingularAttack,
    VirtualAttack,
)

_DEFAULT_SPECTRUM = Spectrum()


def compute_perturbations(
    function: ModelFunction,
    samples: Samples,
    *,
    attack: Attack,
    context: Context,
    spectrum: Spectrum = _DEFAULT_SPECTRUM,
) -> Tensor:
    """Return the attack's perturbation of each sample, ``(N, *shape)`` float32 on the CPU.

    A sample's random start depends only on the evaluation's seed and the sample's key. It is the
    same for every model, so that equal models have equal perturbations.

    Args:
        function: The attacked model, from target inputs to outputs.
        samples: The samples to perturb. Their labels are not used.
        attack: The attack and its options.
        context: Device and random streams.
        spectrum: How to compute the singular direction that the attack may follow.

    Raises:
        ValueError: The radius exceeds the inputs' bounds, or an input lies outside them.
        Inapplicable: The attack needs a predicted class, and the task is regression.
    """
    _require_applicable(attack, samples.card)
    if isinstance(attack, TopSingularAttack):
        perturb = _singular_direction_attack(
            function, attack.eps, samples.card, spectrum=spectrum, context=context
        )
        return _perturb_in_chunks(samples, perturb, noise=None, context=context)
    config = attack.ascent_config
    noise = config.norm if config.random_start else None
    perturb = _ascent_attack(function, attack, samples.card)
    return _perturb_in_chunks(samples, perturb, noise=noise, context=context)


def attack_to_json(attack: Attack, *, spectrum: Spectrum = _DEFAULT_SPECTRUM) -> Mapping[str, Json]:
    """Return everything that perturbations depend on besides model and samples, as JSON."""
    options = cast("Mapping[str, Json]", asdict(attack))
    # Only this attack reads the spectrum. Leaving it out elsewhere keeps other cache keys stable.
    if isinstance(attack, TopSingularAttack):
        return {**options, "spectrum": asdict(spectrum)}
    return options


def random_starts(
    keys: Sequence[int], shape: Shape, *, norm: TrainingNorm, context: Context
) -> Tensor:
    """Return a uniform random point of the unit ball for each sample, ``(B, *shape)``."""
    draw = _uniform_linf if norm == "linf" else _uniform_l2
    points = [draw(math.prod(shape), context.generator("start", key)) for key in keys]
    return torch.stack(points).reshape(-1, *shape)


def _require_applicable(attack: Attack, card: DataCard) -> None:
    """Raise an error if the data's bounds or task do not allow the attack."""
    norm: TrainingNorm = "l2" if isinstance(attack, TopSingularAttack) else attack.norm
    require_radius(attack.eps, norm, shape=card.shape, bounds=card.bounds)
    if card.task == "values" and isinstance(attack, LabelFreePgd | LabelFreeFgsm):
        raise Inapplicable(
            f"{attack.kind} attacks a prediction; values have none: take virtual or top_singular"
        )


def _ascent_attack(
    function: ModelFunction,
    attack: LabelFreePgd | LabelFreeFgsm | VirtualAttack,
    card: DataCard,
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the gradient ascent from inputs and unit-ball starts to perturbations."""
    config = attack.ascent_config

    def perturb(inputs: Tensor, noise: Tensor) -> Tensor:
        with torch.no_grad():
            clean_outputs = function(inputs)
        with torch.enable_grad():
            adversarial = projected_ascent(
                _ascent_objective(attack, card.task, function, clean_outputs),
                inputs,
                config.eps * noise,
                norm=config.norm,
                eps=config.eps,
                steps=config.steps,
                step_size=config.step_size,
                best=isinstance(attack, VirtualAttack),
                bounds=card.bounds,
            )
        return adversarial - inputs

    return perturb


def _perturb_in_chunks(
    samples: Samples,
    perturb: Callable[..., Tensor],
    *,
    noise: TrainingNorm | None,
    context: Context,
) -> Tensor:
    """Return `perturb` of all samples and their random starts, in chunks of a fixed size.

    Without `noise`, a norm, all starts are zero.
    """
    device = context.device
    perturbations = []
    for positions, inputs, _ in kernel_batches(samples):
        keys = [samples.keys[position] for position in positions.tolist()]
        starts = torch.zeros_like(inputs)
        if noise is not None:
            starts = random_starts(keys, samples.card.shape, norm=noise, context=context)
        # Chunks of one size, so that a sample's perturbation does not depend on the others.
        chunk = apply_in_chunks(perturb, inputs.to(device), starts.to(device))
        perturbations.append(chunk.detach().cpu())
        context.progress(int(positions[-1]) + 1, len(samples))
    return torch.cat(perturbations)


def _ascent_objective(
    attack: LabelFreePgd | LabelFreeFgsm | VirtualAttack,
    task: Task,
    function: ModelFunction,
    clean_outputs: Tensor,
) -> Callable[[Tensor], Tensor]:
    """Return the objective to maximise: the distance from, or the loss against, `clean_outputs`."""
    if isinstance(attack, VirtualAttack):
        # Liang et al. (2020), definition 1: ||f(x + delta) - f(x)||_2.
        return lambda moved: torch.linalg.vector_norm(function(moved) - clean_outputs, dim=1)
    # The model's own prediction replaces the label, which a source does not have on the target.
    pseudo_labels = (
        clean_outputs.argmax(1) if task == "classes" else (clean_outputs > 0).to(clean_outputs)
    )
    return lambda moved: task_loss(task, function(moved), pseudo_labels, reduction="none")


def _singular_direction_attack(
    function: ModelFunction, eps: float, card: DataCard, *, spectrum: Spectrum, context: Context
) -> Callable[[Tensor, Tensor], Tensor]:
    """Return the attack that moves inputs by eps along their first right singular vector."""

    def perturb(inputs: Tensor, _: Tensor) -> Tensor:
        leading = leading_spectrum(
            function, inputs, spectrum=spectrum, generator=context.generator("singular")
        )
        step = eps * leading.direction.to(inputs).reshape(inputs.shape)
        # The sign of a singular vector is arbitrary: both are tried, and the one that moves the
        # outputs further is taken.
        forward = clip_to_bounds(inputs + step, card.bounds)
        backward = clip_to_bounds(inputs - step, card.bounds)
        with torch.no_grad():
            clean_outputs = function(inputs)
            forward_distance = torch.linalg.vector_norm(function(forward) - clean_outputs, dim=1)
            backward_distance = torch.linalg.vector_norm(function(backward) - clean_outputs, dim=1)
        is_forward = (forward_distance >= backward_distance).view(-1, *[1] * (inputs.ndim - 1))
        return torch.where(is_forward, forward, backward) - inputs

    return perturb


def _uniform_linf(size: int, generator: torch.Generator) -> Tensor:
    return 2 * torch.rand(size, generator=generator) - 1


def _uniform_l2(size: int, generator: torch.Generator) -> Tensor:
    direction = torch.randn(size, generator=generator)
    length: Tensor = direction.norm()
    # The volume within radius r grows with r ** size, so a uniform radius needs this root.
    return direction / length * torch.rand(1, generator=generator) ** (1 / size)
