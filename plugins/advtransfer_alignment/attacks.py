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
    """The attack's delta of each sample, ``(N, *shape)`` float32 on the CPU.

    A sample's random start depends on the evaluation's seed and the sample's key: the same for every model, so that
    equal models have equal perturbations.

    Args:
        function: The model, from target inputs to outputs.
        samples: What is attacked; their labels are not looked at.
        attack: How.
        context: Device and random streams.
        spectrum: How singular directions are found, where the attack goes along one.

    Raises:
        ValueError: The radius reaches beyond the inputs' bounds, or an input lies outside them.
        Inapplicable: The attack needs a prediction that can be wrong, and the task has values.
    """
    _require_applicable(attack, samples.card)
    if isinstance(attack, TopSingularAttack):
        along = _singular_direction_attack(
            function, attack.eps, samples.card, spectrum=spectrum, context=context
        )
        return _perturb_in_chunks(samples, along, noise=None, context=context)
    path, card = attack.ascent_config, samples.card

    def strike(inputs: Tensor, noise: Tensor) -> Tensor:
        with torch.no_grad():
            own = function(inputs)
        with torch.enable_grad():
            moved = projected_ascent(
                _ascent_objective(attack, card.task, function, own),
                inputs,
                path.eps * noise,
                norm=path.norm,
                eps=path.eps,
                steps=path.steps,
                step_size=path.step_size,
                best=isinstance(attack, VirtualAttack),
                bounds=card.bounds,
            )
        return moved - inputs

    return _perturb_in_chunks(
        samples, strike, noise=path.norm if path.random_start else None, context=context
    )


def attack_to_json(attack: Attack, *, spectrum: Spectrum = _DEFAULT_SPECTRUM) -> Mapping[str, Json]:
    """All that perturbations hang on besides model and samples, as JSON."""
    found = cast("Mapping[str, Json]", asdict(attack))
    return (
        {**found, "spectrum": asdict(spectrum)} if isinstance(attack, TopSingularAttack) else found
    )


def random_starts(
    keys: Sequence[int], shape: Shape, *, norm: TrainingNorm, context: Context
) -> Tensor:
    """A uniform point of the unit ball for each sample, ``(B, *shape)``."""
    draw = _uniform_linf if norm == "linf" else _uniform_l2
    points = [draw(math.prod(shape), context.generator("start", key)) for key in keys]
    return torch.stack(points).reshape(-1, *shape)


def _require_applicable(attack: Attack, card: DataCard) -> None:
    """Refuse an attack that the data's bounds or task have no room for."""
    norm: TrainingNorm = "l2" if isinstance(attack, TopSingularAttack) else attack.norm
    require_radius(attack.eps, norm, shape=card.shape, bounds=card.bounds)
    if card.task == "values" and isinstance(attack, LabelFreePgd | LabelFreeFgsm):
        raise Inapplicable(
            f"{attack.kind} attacks a prediction; values have none: take virtual or top_singular"
        )


def _perturb_in_chunks(
    samples: Samples, strike: Callable[..., Tensor], *, noise: TrainingNorm | None, context: Context
) -> Tensor:
    """What `strike` gives for all samples and their starts, in chunks of a fixed size."""
    device, deltas = context.device, []
    for positions, inputs, _ in kernel_batches(samples):
        keys = [samples.keys[position] for position in positions.tolist()]
        start = torch.zeros_like(inputs)
        if noise is not None:
            start = random_starts(keys, samples.card.shape, norm=noise, context=context)
        deltas.append(apply_in_chunks(strike, inputs.to(device), start.to(device)).detach().cpu())
        context.progress(int(positions[-1]) + 1, len(samples))
    return torch.cat(deltas)


def _ascent_objective(
    attack: LabelFreePgd | LabelFreeFgsm | VirtualAttack,
    task: Task,
    function: ModelFunction,
    own: Tensor,
) -> Callable[[Tensor], Tensor]:
    """What is ascended: how far outputs are from `own`, or the loss against the prediction that `own` makes."""
    if isinstance(attack, VirtualAttack):
        return lambda moved: torch.linalg.vector_norm(function(moved) - own, dim=1)
    says = own.argmax(1) if task == "classes" else (own > 0).to(own)
    return lambda moved: task_loss(task, function(moved), says, reduction="none")


def _singular_direction_attack(
    function: ModelFunction, eps: float, card: DataCard, *, spectrum: Spectrum, context: Context
) -> Callable[[Tensor, Tensor], Tensor]:
    """Moves inputs by eps along their first singular direction, whichever way the outputs move further."""

    def strike(inputs: Tensor, _: Tensor) -> Tensor:
        found = leading_spectrum(
            function, inputs, spectrum=spectrum, generator=context.generator("singular")
        )
        step = eps * found.direction.to(inputs).reshape(inputs.shape)
        with torch.no_grad():
            own = function(inputs)
            up, down = (
                clip_to_bounds(inputs + step, card.bounds),
                clip_to_bounds(inputs - step, card.bounds),
            )
            there, back = (
                torch.linalg.vector_norm(function(end) - own, dim=1) for end in (up, down)
            )
        return torch.where((there >= back).view(-1, *[1] * (inputs.ndim - 1)), up, down) - inputs

    return strike


def _uniform_linf(size: int, generator: torch.Generator) -> Tensor:
    return 2 * torch.rand(size, generator=generator) - 1


def _uniform_l2(size: int, generator: torch.Generator) -> Tensor:
    direction = torch.randn(size, generator=generator)
    length: Tensor = direction.norm()
    return direction / length * torch.rand(1, generator=generator) ** (1 / size)
