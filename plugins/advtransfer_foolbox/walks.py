"""Foolbox's attacks that look for the nearest example, as they run in batches without one sample touching another."""

from __future__ import annotations

import warnings

from foolbox.attacks.base import MinimizationAttack
from foolbox.attacks.boundary_attack import BoundaryAttack
from foolbox.attacks.brendel_bethge import (
    BrendelBethgeAttack,
    L1BrendelBethgeAttack,
    L2BrendelBethgeAttack,
    LinfinityBrendelBethgeAttack,
)
from foolbox.attacks.carlini_wagner import L2CarliniWagnerAttack
from foolbox.attacks.deepfool import DeepFoolAttack, L2DeepFoolAttack, LinfDeepFoolAttack

from advtransfer.toolkit.prediction import KERNEL_BATCH
from advtransfer_foolbox import settings
from advtransfer_foolbox.settings import Norm

_DEEPFOOL: dict[Norm, type[DeepFoolAttack]] = {"linf": LinfDeepFoolAttack, "l2": L2DeepFoolAttack}
_BRENDEL_BETHGE: dict[Norm, type[BrendelBethgeAttack]] = {
    "linf": LinfinityBrendelBethgeAttack,
    "l2": L2BrendelBethgeAttack,
    "l1": L1BrendelBethgeAttack,
}


def deepfool(norm: Norm, asked: settings.DeepFool) -> MinimizationAttack:
    """DeepFool, towards the nearest of the candidates."""
    return _DEEPFOOL[norm](steps=asked.steps, candidates=asked.candidates, overshoot=asked.overshoot)


def carlini_wagner(asked: settings.CarliniWagner) -> MinimizationAttack:
    """Carlini and Wagner's l_2 attack.

    Foolbox can stop early when the loss of the whole batch stalls; a sample's outcome would then depend on the others.
    """
    return L2CarliniWagnerAttack(
        binary_search_steps=asked.binary_search_steps,
        steps=asked.steps,
        stepsize=asked.step_size,
        confidence=asked.confidence,
        initial_const=asked.initial_const,
        abort_early=False,
    )


def boundary(asked: settings.Boundary) -> MinimizationAttack:
    """The boundary attack."""
    return BoundaryAttack(steps=asked.steps, spherical_step=asked.spherical_step, source_step=asked.source_step)


def brendel_bethge(norm: Norm, asked: settings.BrendelBethge) -> MinimizationAttack:
    """Brendel and Bethge's attack.

    Foolbox's trust region grows with the number of images in the batch; `lr` is what one image alone would have.

    Raises:
        ModuleNotFoundError: numba is not installed.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="At the first initialisation the optimizer needs to be compiled")
        return _BRENDEL_BETHGE[norm](steps=asked.steps, lr=asked.lr / KERNEL_BATCH)
