"""The attacks in words: what each may be told besides the ball. Light: no torch.

These dataclasses are options of `ensemble`: they check themselves, so a mistake is told when a suite is planned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, TypeAlias

from advtransfer.toolkit.recipe import expect

Norm: TypeAlias = Literal["linf", "l2", "l1"]
Loss: TypeAlias = Literal["cross_entropy", "margin", "targeted_margin"]
Shape: TypeAlias = Literal["uniform", "gaussian", "salt_and_pepper"]
Norms: TypeAlias = frozenset[Norm]


@dataclass(frozen=True, slots=True, kw_only=True)
class OfEps:
    """A step's length as a multiple of the radius, so that every radius of a ladder has steps of its own."""

    times_eps: float

    def __post_init__(self) -> None:
        expect(self.times_eps > 0, "times_eps", self.times_eps, "a number above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fgsm:
    """One gradient step of size eps, as in `fgsm`."""

    norms: ClassVar[Norms] = frozenset({"linf", "l2", "l1"})
    kind: Literal["fgsm"]
    random_start: bool = False
    loss: Literal["cross_entropy", "margin"] = "cross_entropy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pgd:
    """Projected gradient descent, as in `pgd`."""

    norms: ClassVar[Norms] = frozenset({"linf", "l2", "l1"})
    kind: Literal["pgd"]
    steps: int
    step_size: float | OfEps
    restarts: int = 1
    random_start: bool = True
    loss: Loss = "cross_entropy"
    targets: int | None = None

    def __post_init__(self) -> None:
        _expect_steps(self.steps, self.step_size)
        expect(self.restarts >= 1, "restarts", self.restarts, "at least 1")
        alone = self.restarts == 1 or self.random_start
        expect(alone, "restarts", self.restarts, "1 without a random start, since all would be the same")
        _expect_targets(self.loss, self.targets)


@dataclass(frozen=True, slots=True, kw_only=True)
class BasicIterative:
    """Gradient steps from the image, as in `basic_iterative`."""

    norms: ClassVar[Norms] = frozenset({"linf", "l2", "l1"})
    kind: Literal["basic_iterative"]
    steps: int
    step_size: float | OfEps
    loss: Loss = "cross_entropy"
    targets: int | None = None

    def __post_init__(self) -> None:
        _expect_steps(self.steps, self.step_size)
        _expect_targets(self.loss, self.targets)


@dataclass(frozen=True, slots=True, kw_only=True)
class DeepFool:
    """Steps to the nearest linearised boundary, as in `deepfool`."""

    norms: ClassVar[Norms] = frozenset({"linf", "l2"})
    kind: Literal["deepfool"]
    steps: int = 50
    candidates: int = 10
    overshoot: float = 0.02

    def __post_init__(self) -> None:
        expect(self.steps >= 1, "steps", self.steps, "at least 1")
        expect(self.candidates >= 2, "candidates", self.candidates, "at least 2 classes, the sample's own among them")
        expect(self.overshoot >= 0, "overshoot", self.overshoot, "a number from 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class CarliniWagner:
    """Adam on the squared distance and the logit margin, as in `carlini_wagner`."""

    norms: ClassVar[Norms] = frozenset({"l2"})
    kind: Literal["carlini_wagner"]
    binary_search_steps: int = 9
    steps: int = 1000
    step_size: float = 0.01
    confidence: float = 0.0
    initial_const: float = 1e-3

    def __post_init__(self) -> None:
        expect(self.binary_search_steps >= 1, "binary_search_steps", self.binary_search_steps, "at least 1")
        _expect_steps(self.steps, self.step_size)
        expect(self.confidence >= 0, "confidence", self.confidence, "a number from 0")
        expect(self.initial_const > 0, "initial_const", self.initial_const, "a number above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class BrendelBethge:
    """A walk along the decision boundary with gradients, as in `brendel_bethge`."""

    norms: ClassVar[Norms] = frozenset({"linf", "l2", "l1"})
    kind: Literal["brendel_bethge"]
    steps: int = 1000
    lr: float = 0.01
    restarts: int = 1

    def __post_init__(self) -> None:
        _expect_steps(self.steps, self.lr, name="lr")
        expect(self.restarts >= 1, "restarts", self.restarts, "at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Boundary:
    """A random walk along the decision boundary, as in `boundary`."""

    norms: ClassVar[Norms] = frozenset({"l2"})
    kind: Literal["boundary"]
    steps: int = 25_000
    spherical_step: float = 0.01
    source_step: float = 0.01
    restarts: int = 1

    def __post_init__(self) -> None:
        _expect_steps(self.steps, self.spherical_step, name="spherical_step")
        expect(self.source_step > 0, "source_step", self.source_step, "a number above 0")
        expect(self.restarts >= 1, "restarts", self.restarts, "at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """Random noise on the ball's surface, as in `noise`."""

    norms: ClassVar[Norms] = frozenset({"linf", "l2", "l1"})
    kind: Literal["noise"]
    noise: Shape = "uniform"
    draws: int = 100

    def __post_init__(self) -> None:
        expect(self.draws >= 1, "draws", self.draws, "at least 1")


Settings: TypeAlias = Fgsm | Pgd | BasicIterative | DeepFool | CarliniWagner | BrendelBethge | Boundary | Noise


def _expect_steps(steps: int, size: float | OfEps, *, name: str = "step_size") -> None:
    expect(steps >= 1, "steps", steps, "at least 1")
    expect(isinstance(size, OfEps) or size > 0, name, size, "a number above 0")


def _expect_targets(loss: Loss, targets: int | None) -> None:
    expect(targets is None or targets >= 1, "targets", targets, "at least 1")
    expect(targets is None or loss == "targeted_margin", "targets", targets, "none unless loss is targeted_margin")
