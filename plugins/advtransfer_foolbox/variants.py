"""The gradient attacks by norm: Foolbox's, watched."""

from __future__ import annotations

from collections.abc import Callable

from eagerpy.astensor import astensor
from eagerpy.tensor.tensor import Tensor as EagerTensor
from foolbox.attacks.basic_iterative_method import (
    L1BasicIterativeAttack,
    L2BasicIterativeAttack,
    LinfBasicIterativeAttack,
)
from foolbox.attacks.fast_gradient_method import L1FastGradientAttack, L2FastGradientAttack, LinfFastGradientAttack
from foolbox.attacks.projected_gradient_descent import (
    L2ProjectedGradientDescentAttack,
    LinfProjectedGradientDescentAttack,
)
from foolbox.attacks.sparse_l1_descent_attack import SparseL1DescentAttack

from advtransfer_foolbox.attacks import Watched
from advtransfer_foolbox.balls import projected, shortened
from advtransfer_foolbox.objectives import objective
from advtransfer_foolbox.settings import Loss, Norm, OfEps


class ShortenedL1:
    """Foolbox's way back into the l_1 ball, straight towards the image, in float64: its own leaves points outside."""

    def project(self, x: EagerTensor, x0: EagerTensor, epsilon: float) -> EagerTensor:
        """Foolbox's hook."""
        return astensor(shortened(x.raw, x0.raw, order=1, eps=epsilon))


class WatchedLinfFastGradient(Watched, LinfFastGradientAttack):
    """One step in the l_inf ball."""


class WatchedL2FastGradient(Watched, L2FastGradientAttack):
    """One step in the l_2 ball."""


class WatchedL1FastGradient(ShortenedL1, Watched, L1FastGradientAttack):
    """One step in the l_1 ball."""


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
        return astensor(projected(x.raw, x0.raw, norm="l1", eps=epsilon))


class WatchedLinfBasicIterative(Watched, LinfBasicIterativeAttack):
    """Steps from the image in the l_inf ball."""


class WatchedL2BasicIterative(Watched, L2BasicIterativeAttack):
    """Steps from the image in the l_2 ball."""


class WatchedL1BasicIterative(ShortenedL1, Watched, L1BasicIterativeAttack):
    """Steps from the image in the l_1 ball."""


_FAST: dict[Norm, Callable[..., Watched]] = {
    "linf": WatchedLinfFastGradient,
    "l2": WatchedL2FastGradient,
    "l1": WatchedL1FastGradient,
}
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
    norm: Norm, *, steps: int, step_size: float | OfEps, random_start: bool, loss: Loss = "cross_entropy"
) -> Watched:
    """Steps of length `step_size`, each projected back into the ball and the box."""
    return _aiming(_PROJECTED[norm](**_length(step_size), steps=steps, random_start=random_start), loss)


def basic_iterative(norm: Norm, *, steps: int, step_size: float | OfEps, loss: Loss = "cross_entropy") -> Watched:
    """The same without a random start, as Foolbox has it."""
    return _aiming(_ITERATIVE[norm](**_length(step_size), steps=steps, random_start=False), loss)


def _length(step_size: float | OfEps) -> dict[str, float]:
    """A step's length as Foolbox takes it."""
    return {"rel_stepsize": step_size.times_eps} if isinstance(step_size, OfEps) else {"abs_stepsize": step_size}


def _aiming(attack: Watched, loss: Loss) -> Watched:
    attack.objective = objective(loss)
    return attack
