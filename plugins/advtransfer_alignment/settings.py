"""How inputs are perturbed to compare two models, in words. Light: no torch.

These dataclasses are options of the factories: they check themselves, so a mistake is told when a suite is planned. No
attack here takes a label: each moves a model away from what the model itself says. A source has no labels on the
target's images, and where the reference is right its own class is the true one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, TypeAlias

from advtransfer.toolkit.adversary import Norm
from advtransfer.toolkit.choice import Choice
from advtransfer.toolkit.recipe import expect


@dataclass(frozen=True, slots=True)
class Path:
    """How an attack goes: a ball, steps in it, and whether it starts at a random point of it."""

    norm: Norm
    eps: float
    steps: int
    step_size: float
    random_start: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Pgd:
    """Projected gradient ascent on the loss against the model's own prediction (Liang et al., 2021).

    Args:
        kind: ``pgd``; may be left out.
        norm: ``linf`` or ``l2``.
        eps: The radius, in the unit of the inputs: [0, 1] pixel space.
        steps: Gradient steps; 50 in the released code.
        step_size: The length of one step; by default ``5 * eps / steps``, as there.
        random_start: Start at a random point of the ball.
    """

    kind: Literal["pgd"] = "pgd"
    norm: Norm = "linf"
    eps: float
    steps: int = 50
    step_size: float | None = None
    random_start: bool = True

    def __post_init__(self) -> None:
        _expect_ball(self.eps, self.steps, self.step_size)

    @property
    def path(self) -> Path:
        """The steps, the default length filled in."""
        step_size = 5 * self.eps / self.steps if self.step_size is None else self.step_size
        return Path(self.norm, self.eps, self.steps, step_size, self.random_start)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fgsm:
    """One gradient step of length eps on that loss (Goodfellow, Shlens and Szegedy, 2015).

    Args:
        kind: ``fgsm``.
        norm: ``linf`` takes the sign of the gradient, ``l2`` its direction.
        eps: The radius.
        random_start: Start at a random point of the ball, as the released code of Liang et al. (2021) does.
    """

    kind: Literal["fgsm"]
    norm: Norm = "linf"
    eps: float
    random_start: bool = True

    def __post_init__(self) -> None:
        _expect_ball(self.eps, 1, None)

    @property
    def path(self) -> Path:
        """The one step."""
        return Path(self.norm, self.eps, 1, self.eps, self.random_start)


@dataclass(frozen=True, slots=True, kw_only=True)
class Virtual:
    """The virtual adversarial attack: it moves the outputs as far as it can (Liang et al., 2020, definition 1).

    Ascends ``||f(x + delta) - f(x)||_2`` from a random point of the ball, since there is no slope at x, and keeps the
    iterate that moved the outputs furthest.

    Args:
        kind: ``virtual``.
        norm: ``l2``, as defined, or ``linf``.
        eps: The radius.
        steps: Gradient steps.
        step_size: The length of one step; by default ``eps / 2``: a step of ordinary length does not turn far enough.
    """

    kind: Literal["virtual"]
    norm: Norm = "l2"
    eps: float
    steps: int = 20
    step_size: float | None = None

    def __post_init__(self) -> None:
        _expect_ball(self.eps, self.steps, self.step_size)

    @property
    def path(self) -> Path:
        """The steps, the default length filled in."""
        step_size = self.eps / 2 if self.step_size is None else self.step_size
        return Path(self.norm, self.eps, self.steps, step_size, True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spectrum:
    """How the largest singular values and directions of a Jacobian are found.

    Args:
        most_outputs: Of a model with so many outputs or fewer the Jacobian is computed whole, one backward pass an
            output; of others, its largest directions by block power iteration. Where two models of m and d outputs are
            compared, 8 (m + d)^2 bytes a sample are held for this, and for a moment up to three times as many: with 32
            outputs each 33 kB, or up to 1 GB for 10,000 samples; with 100 each ten times as much.
        iterations: Of the power iteration, each two products with the Jacobian for each vector of the block.
    """

    most_outputs: int = 32
    iterations: int = 20

    def __post_init__(self) -> None:
        expect(self.most_outputs >= 0, "most_outputs", self.most_outputs, "a number from 0")
        expect(self.iterations >= 1, "iterations", self.iterations, "at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class TopSingular:
    """The virtual attack of the linearised model: eps times the Jacobian's first right singular vector.

    Of its two signs the one that moves the outputs further. How the vector is found is the evaluation's `spectrum`,
    with which it finds all others, too; where it has none, that of `Spectrum()`.

    Args:
        kind: ``top_singular``.
        eps: The l2 radius.
    """

    kind: Literal["top_singular"]
    eps: float

    def __post_init__(self) -> None:
        expect(self.eps > 0, "eps", self.eps, "a number above 0")


Attack: TypeAlias = Annotated[Pgd | Fgsm | Virtual | TopSingular, Choice()]
"""The attacks, told apart by `kind`."""


def _expect_ball(eps: float, steps: int, step_size: float | None) -> None:
    expect(eps > 0, "eps", eps, "a number above 0")
    expect(steps >= 1, "steps", steps, "at least 1")
    expect(step_size is None or step_size > 0, "step_size", step_size, "a number above 0")
