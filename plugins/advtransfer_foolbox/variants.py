"""The gradient attacks by norm: Foolbox's, watched."""

from __future__ import annotations

from collections.abc import Callable

import torch
from eagerpy.astensor import astensor
from eagerpy.tensor.tensor import Tensor as EagerTensor
from foolbox.attacks.basic_iterative_method import (
    L1BasicIterativeAttack,
    L2BasicIterativeAttack,
    LinfBasicIterativeAttack,
)
from foolbox.attacks.fast_gradient_method import L2FastGradientAttack, LinfFastGradientAttack
from foolbox.attacks.projected_gradient_descent import (
    L2ProjectedGradientDescentAttack,
    LinfProjectedGradientDescentAttack,
)
from foolbox.attacks.sparse_l1_descent_attack import SparseL1DescentAttack
from torch import Tensor

from advtransfer_foolbox.attacks import Watched
from advtransfer_foolbox.objectives import objective
from advtransfer_foolbox.settings import Loss, Norm


class WatchedLinfFastGradient(Watched, LinfFastGradientAttack):
    """One step in the l_inf ball."""


class WatchedL2FastGradient(Watched, L2FastGradientAttack):
    """One step in the l_2 ball."""


class WatchedLinfProjectedGradient(Watched, LinfProjectedGradientDescentAttack):
    """Projected gradient descent in the l_inf ball."""


class WatchedL2ProjectedGradient(Watched, L2ProjectedGradientDescentAttack):
    """Projected gradient descent in the l_2 ball."""


class WatchedSparseL1Descent(Watched, SparseL1DescentAttack):
    """Sparse descent in the l_1 ball (Tramer and Boneh, 2019), with a projection that ends inside the ball.

    Foolbox 3.3.4's own leaves points slightly outside, and moves those that were inside when another of the batch
    was not.
    """

    def project(self, x: EagerTensor, x0: EagerTensor, epsilon: float) -> EagerTensor:
        """Foolbox's hook."""
        moved = (x.raw - x0.raw).flatten(1)
        return x0 + astensor(onto_l1_ball(moved, epsilon).reshape(x0.shape))


class WatchedLinfBasicIterative(Watched, LinfBasicIterativeAttack):
    """Steps from the image in the l_inf ball."""


class WatchedL2BasicIterative(Watched, L2BasicIterativeAttack):
    """Steps from the image in the l_2 ball."""


class WatchedL1BasicIterative(Watched, L1BasicIterativeAttack):
    """Steps from the image in the l_1 ball."""


_FAST: dict[Norm, Callable[..., Watched]] = {"linf": WatchedLinfFastGradient, "l2": WatchedL2FastGradient}
_PROJECTED: dict[Norm, Callable[..., Watched]] = {
    "linf": WatchedLinfProjectedGradient,
    "l2": WatchedL2ProjectedGradient,
    "l1": WatchedSparseL1Descent,
}
_ITERATIVE: dict[Norm, Callable[..., Watched]] = {
    "linf": WatchedLinfBasicIterative,
    "l2": WatchedL2BasicIterative,
    "l1": WatchedL1BasicIterative,
}


def fast_gradient(norm: Norm, *, random_start: bool, loss: Loss = "cross_entropy") -> Watched:
    """One gradient step of size eps."""
    return _aiming(_FAST[norm](random_start=random_start), loss)


def projected_gradient(
    norm: Norm, *, steps: int, step_size: float, random_start: bool, loss: Loss = "cross_entropy"
) -> Watched:
    """Steps of length `step_size`, each projected back into the ball and the box."""
    return _aiming(_PROJECTED[norm](abs_stepsize=step_size, steps=steps, random_start=random_start), loss)


def basic_iterative(norm: Norm, *, steps: int, step_size: float, loss: Loss = "cross_entropy") -> Watched:
    """The same without a random start, as Foolbox has it."""
    return _aiming(_ITERATIVE[norm](abs_stepsize=step_size, steps=steps, random_start=False), loss)


def onto_l1_ball(moved: Tensor, eps: float) -> Tensor:
    """The nearest points ``(B, D)`` of the l_1 ball of radius eps (Duchi et al., 2008, figure 1)."""
    sizes = moved.abs()
    falling = sizes.sort(dim=1, descending=True).values
    ranks = torch.arange(1, moved.shape[1] + 1, dtype=moved.dtype, device=moved.device)
    shifts = (falling.cumsum(1) - eps) / ranks
    last = (falling > shifts).sum(1, keepdim=True).clamp_min(1) - 1
    shift = shifts.gather(1, last).clamp_min(0)
    shrunk = moved.sign() * (sizes - shift).clamp_min(0)
    return torch.where(sizes.sum(1, keepdim=True) <= eps, moved, shrunk)


def _aiming(attack: Watched, loss: Loss) -> Watched:
    attack.objective = objective(loss)
    return attack
