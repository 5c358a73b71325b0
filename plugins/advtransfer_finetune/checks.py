"""What of the transfers' options is known to be wrong before anything is trained. Light: no torch."""

from __future__ import annotations

from collections.abc import Iterator

from advtransfer.precheck import Chosen, Misfit, Surroundings
from advtransfer.toolkit.radius import radius_misfits
from advtransfer.toolkit.training_misfits import (
    adversary_misfits,
    augment_misfits,
    network_misfits,
    repeated,
    snapshot_misfits,
)


def probe(chosen: Chosen, around: Surroundings) -> Iterator[Misfit]:
    """Options of one solver beside the other; strengths with nothing to choose by; folds of more than there are."""
    strengths, folds = chosen["C"], chosen["folds"]
    yield from snapshot_misfits(chosen["snapshots"], chosen["epochs"])
    if chosen["solver"] == "sgd":
        for name in ("C", "folds"):
            if chosen[name] != {"C": 1.0, "folds": None}[name]:
                step = "remove it, and set `weight_decay` in `optimiser` instead"
                yield Misfit((name,), f"no `{name}` beside `solver: sgd`", step)
        return
    if not isinstance(strengths, tuple):
        return
    yield from repeated("C", strengths)
    chooses = len(strengths) > 1 and around.validation == 0
    if chooses and folds is None:
        found = f"several C with `validation: 0` (n = {around.n})"
        step = "give the target a `validation` share, or the probe `folds`"
        yield Misfit(("C",), "something to choose among them by", step, found, skips=True)
    if chooses and folds is not None and isinstance(around.n, int) and folds > around.n:
        found = f"cross-validation over {folds} folds of {around.n} images"
        yield Misfit(("folds",), f"at most {around.n} folds", "take fewer folds", found, skips=True)


def blocks(chosen: Chosen, around: Surroundings) -> Iterator[Misfit]:
    """More blocks than the source has; and as `full`."""
    yield from full(chosen, around)
    wanted, there = chosen["blocks"], around.source.blocks
    if there is not None and wanted > there:
        found = f"blocks is {wanted}; the source has {there}"
        yield Misfit(("blocks",), f"at most {there}", "train fewer blocks, or take `finetune/full`", found, skips=True)


def full(chosen: Chosen, around: Surroundings) -> Iterator[Misfit]:
    """An adversary, changes to images or snapshots that do not suit the target or the training."""
    yield from adversary_misfits(chosen["adversary"], around.target)
    yield from augment_misfits(chosen["augment"], around.target)
    yield from snapshot_misfits(chosen["snapshots"], chosen["epochs"], chosen["adversary"])


def scratch(chosen: Chosen, around: Surroundings) -> Iterator[Misfit]:
    """A network for other images than the target's, and changes or snapshots that do not suit."""
    yield from network_misfits(chosen["network"], around.target)
    yield from augment_misfits(chosen["augment"], around.target)
    yield from snapshot_misfits(chosen["snapshots"], chosen["epochs"])


def adversarial(chosen: Chosen, around: Surroundings) -> Iterator[Misfit]:
    """As `scratch`, and a ball that is too large."""
    yield from scratch(chosen, around)
    data, norm = around.target, chosen["norm"]
    if norm == "linf" and chosen["eps"] > 1:
        expected = "at most 1 for linf, in [0, 1] pixel space"
        yield Misfit(("eps",), expected, f"divide it by 255 if it counts 8-bit levels: {chosen['eps']:g}/255")
    else:
        yield from radius_misfits(("eps",), chosen["eps"], norm, data)
    yield from radius_misfits(("step_size",), chosen["step_size"], norm, data, what="a step")
