"""Shared options, and the checks of options.

Does not import torch.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal, TypeAlias

from annotated_types import Ge

from advtransfer.precheck import CellOutline, Misfit, OptionValues
from advtransfer.toolkit.option_checks import (
    adversary_misfits,
    augment_misfits,
    network_misfits,
    radius_misfits,
    recipe_misfits,
    snapshot_misfits,
)
from advtransfer.toolkit.training_config import Schedule
from advtransfer.types import NotInId

PositiveInt: TypeAlias = Annotated[int, Ge(1)]
SnapshotEpochs: TypeAlias = tuple[PositiveInt, ...]

CacheActivations: TypeAlias = Annotated[bool, NotInId()]
"""Keep the frozen layers' activations in the cache for other fits; results have the same bits."""

HeadInit: TypeAlias = Literal["default", "normal"]
"""``default``: torch's; ``normal``: weights from N(0, 1), zero biases (Utrera et al., 2021)."""

BatchNorm: TypeAlias = Literal["adapt", "freeze"]
"""``adapt``: batch normalisation uses and learns the target's statistics; ``freeze``: the source's."""

FeatureNorm: TypeAlias = Literal["l1", "l2"]
"""The norm of a distance between features."""

STEP_AFTER_EACH_THIRD = Schedule(kind="step", milestones=(1 / 3, 2 / 3))
"""A tenth of the rate after each third: the schedule of Utrera et al. (2021) over 150 epochs."""


def adversary_ball(chosen: OptionValues) -> tuple[str, float] | None:
    """Return the norm and radius of the option `adversary`; None for natural training."""
    adversary = chosen["adversary"]
    return None if adversary is None else (adversary.norm, adversary.eps)


def own_ball(chosen: OptionValues) -> tuple[str, float]:
    """Return the norm and radius of a factory that has them among its own options."""
    return chosen["norm"], chosen["eps"]


def probe_misfits(chosen: OptionValues, around: CellOutline) -> Iterator[Misfit]:
    """Yield misfits of the snapshots, and of an option that the solver does not have."""
    yield from snapshot_misfits(chosen["snapshots"], chosen["epochs"])
    if chosen["solver"] == "sgd" and chosen["C"] != 1.0:
        next_step = "remove it, and set `weight_decay` in `optimiser` instead"
        yield Misfit(("C",), "no `C` beside `solver: sgd`", next_step)


def blocks_misfits(chosen: OptionValues, around: CellOutline) -> Iterator[Misfit]:
    """Yield the misfits of `full_misfits`, and more blocks than the source has."""
    yield from full_misfits(chosen, around)
    trained = chosen["blocks"]
    available = around.source.blocks
    if available is not None and trained > available:
        found = f"blocks is {trained}; the source has {available}"
        next_step = "train fewer blocks, or take `finetune/full`"
        yield Misfit(("blocks",), f"at most {available}", next_step, found, skips=True)


def full_misfits(chosen: OptionValues, around: CellOutline) -> Iterator[Misfit]:
    """Yield misfits of the adversary, the augmentation and the snapshots."""
    yield from adversary_misfits(chosen["adversary"], around.target)
    yield from augment_misfits(chosen["augment"], around.target)
    yield from snapshot_misfits(chosen["snapshots"], chosen["epochs"], chosen["adversary"])
    yield from recipe_misfits(
        chosen["checkpoint"], chosen["cutmix"], around.target, validation=around.validation
    )


def l2_sp_misfits(chosen: OptionValues, around: CellOutline) -> Iterator[Misfit]:
    """Yield the misfits of `full_misfits`, and a decay towards 0 beside that towards the start."""
    yield from full_misfits(chosen, around)
    if chosen["optimiser"].weight_decay:
        found = f"a weight_decay of {chosen['optimiser'].weight_decay:g} in `optimiser`"
        next_step = "write `weight_decay: 0` in it: `alpha` and `beta` are the decays"
        yield Misfit(("optimiser",), "none beside `alpha` and `beta`", next_step, found)


def lwf_misfits(chosen: OptionValues, around: CellOutline) -> Iterator[Misfit]:
    """Yield misfits of the augmentation, the snapshots and the kept epoch."""
    yield from augment_misfits(chosen["augment"], around.target)
    yield from snapshot_misfits(chosen["snapshots"], chosen["epochs"])
    yield from recipe_misfits(
        chosen["checkpoint"], None, around.target, validation=around.validation
    )


def controlled_misfits(chosen: OptionValues, around: CellOutline) -> Iterator[Misfit]:
    """Yield the misfits of `lwf_misfits`, and a reference for inputs of another shape."""
    yield from network_misfits(chosen["reference"], around.target, name="reference")
    yield from lwf_misfits(chosen, around)


def scratch_misfits(chosen: OptionValues, around: CellOutline) -> Iterator[Misfit]:
    """Yield misfits of the network, the augmentation and the snapshots."""
    yield from network_misfits(chosen["network"], around.target)
    yield from augment_misfits(chosen["augment"], around.target)
    yield from snapshot_misfits(chosen["snapshots"], chosen["epochs"])
    yield from recipe_misfits(
        chosen["checkpoint"], chosen["cutmix"], around.target, validation=around.validation
    )


def adversarial_misfits(chosen: OptionValues, around: CellOutline) -> Iterator[Misfit]:
    """Yield the misfits of `scratch_misfits`, and a ball that is too large."""
    yield from scratch_misfits(chosen, around)
    data = around.target
    norm = chosen["norm"]
    if norm == "linf" and chosen["eps"] > 1:
        expected = "at most 1 for linf, in [0, 1] pixel space"
        next_step = f"divide it by 255 if it counts 8-bit levels: {chosen['eps']:g}/255"
        yield Misfit(("eps",), expected, next_step)
    else:
        yield from radius_misfits(("eps",), chosen["eps"], norm, data)
    yield from radius_misfits(("step_size",), chosen["step_size"], norm, data, what="a step")
