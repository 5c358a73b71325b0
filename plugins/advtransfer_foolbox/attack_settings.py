"""Settings of the attacks: what a suite asks of each, checked when it is built.

Does not import torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal, TypeAlias

from advtransfer.toolkit.option_checks import Norm
from advtransfer.toolkit.training_config import require_field
from advtransfer.types import Since

Loss: TypeAlias = Literal["cross_entropy", "margin", "targeted_margin"]
JudgedExamples: TypeAlias = Literal["any", "last"]
NoiseKind: TypeAlias = Literal["uniform", "gaussian", "salt_and_pepper"]
Norms: TypeAlias = frozenset[Norm]


@dataclass(frozen=True, slots=True, kw_only=True)
class EpsMultiple:
    """A step size as a multiple of the radius, so that each radius of a list has its own."""

    times_eps: float

    def __post_init__(self) -> None:
        require_field(self.times_eps > 0, "times_eps", self.times_eps, "a number above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fgsm:
    """One gradient step of size eps, as in `fgsm`."""

    norms: ClassVar[Norms] = frozenset({"linf", "l2", "l1"})
    steps: ClassVar[int] = 1
    step_size: ClassVar[float | EpsMultiple] = EpsMultiple(times_eps=1.0)
    sparse_l1: ClassVar[bool] = False
    restarts: ClassVar[int] = 1
    targets: ClassVar[int | None] = None
    examples: ClassVar[JudgedExamples] = "any"
    kind: Literal["fgsm"]
    random_start: bool = False
    loss: Literal["cross_entropy", "margin"] = "cross_entropy"
    draws: Annotated[int, Since(3)] = 1

    def __post_init__(self) -> None:
        require_field(self.draws >= 1, "draws", self.draws, "at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pgd:
    """Projected gradient descent, as in `pgd`."""

    norms: ClassVar[Norms] = frozenset({"linf", "l2", "l1"})
    sparse_l1: ClassVar[bool] = True
    kind: Literal["pgd"]
    steps: int
    step_size: float | EpsMultiple
    restarts: int = 1
    random_start: bool = True
    loss: Loss = "cross_entropy"
    targets: int | None = None
    examples: JudgedExamples = "any"
    draws: Annotated[int, Since(4)] = 1

    def __post_init__(self) -> None:
        _expect_steps(self.steps, self.step_size)
        require_field(self.draws >= 1, "draws", self.draws, "at least 1")
        require_field(self.restarts >= 1, "restarts", self.restarts, "at least 1")
        restarts_differ = self.restarts == 1 or self.random_start
        require_field(
            restarts_differ,
            "restarts",
            self.restarts,
            "1 without a random start, since all would be the same",
        )
        _expect_targets(self.loss, self.targets)


@dataclass(frozen=True, slots=True, kw_only=True)
class BasicIterative:
    """Gradient steps from the image, as in `basic_iterative`."""

    norms: ClassVar[Norms] = frozenset({"linf", "l2", "l1"})
    sparse_l1: ClassVar[bool] = False
    restarts: ClassVar[int] = 1
    random_start: ClassVar[bool] = False
    examples: ClassVar[JudgedExamples] = "any"
    draws: ClassVar[int] = 1
    kind: Literal["basic_iterative"]
    steps: int
    step_size: float | EpsMultiple
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
        require_field(self.steps >= 1, "steps", self.steps, "at least 1")
        require_field(
            self.candidates >= 2,
            "candidates",
            self.candidates,
            "at least 2 classes, the sample's own among them",
        )
        require_field(self.overshoot >= 0, "overshoot", self.overshoot, "a number from 0")


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
        require_field(
            self.binary_search_steps >= 1,
            "binary_search_steps",
            self.binary_search_steps,
            "at least 1",
        )
        _expect_steps(self.steps, self.step_size)
        require_field(self.confidence >= 0, "confidence", self.confidence, "a number from 0")
        require_field(
            self.initial_const > 0, "initial_const", self.initial_const, "a number above 0"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class BrendelBethge:
    """A gradient-based walk along the decision boundary, as in `brendel_bethge`."""

    norms: ClassVar[Norms] = frozenset({"linf", "l2", "l1"})
    kind: Literal["brendel_bethge"]
    steps: int = 1000
    lr: float = 0.01
    restarts: int = 1

    def __post_init__(self) -> None:
        _expect_steps(self.steps, self.lr, name="lr")
        require_field(self.restarts >= 1, "restarts", self.restarts, "at least 1")


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
        require_field(self.source_step > 0, "source_step", self.source_step, "a number above 0")
        require_field(self.restarts >= 1, "restarts", self.restarts, "at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """Random noise on the ball's surface, as in `noise`."""

    norms: ClassVar[Norms] = frozenset({"linf", "l2", "l1"})
    kind: Literal["noise"]
    noise: NoiseKind = "uniform"
    draws: int = 100

    def __post_init__(self) -> None:
        require_field(self.draws >= 1, "draws", self.draws, "at least 1")


ApgdLoss: TypeAlias = Literal["cross_entropy", "dlr", "targeted_dlr", "margin", "targeted_margin"]
TargetOrder: TypeAlias = Literal["logit", "distance"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Apgd:
    """Projected gradient descent that adapts its step size, as in `apgd`."""

    norms: ClassVar[Norms] = frozenset({"linf", "l2", "l1"})
    kind: Literal["apgd"]
    steps: int = 100
    restarts: int = 1
    loss: ApgdLoss = "cross_entropy"
    targets: int = 9
    target_order: TargetOrder = "logit"
    rho: float = 0.75
    draws: Annotated[int, Since(2)] = 1

    def __post_init__(self) -> None:
        require_field(self.draws >= 1, "draws", self.draws, "at least 1")
        require_field(self.steps >= 1, "steps", self.steps, "at least 1")
        require_field(self.restarts >= 1, "restarts", self.restarts, "at least 1")
        require_field(self.targets >= 1, "targets", self.targets, "at least 1")
        require_field(0 < self.rho < 1, "rho", self.rho, "a share between 0 and 1")

    @property
    def is_targeted(self) -> bool:
        """True if each ascent moves towards one target class."""
        return self.loss in ("targeted_dlr", "targeted_margin")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fab:
    """Steps to linearised boundaries, biased towards the image, as in `fab`."""

    norms: ClassVar[Norms] = frozenset({"linf", "l2", "l1"})
    kind: Literal["fab"]
    steps: int = 100
    targets: int = 9
    alpha_max: float = 0.1
    eta: float = 1.05
    beta: float = 0.9

    def __post_init__(self) -> None:
        require_field(self.steps >= 1, "steps", self.steps, "at least 1")
        require_field(self.targets >= 1, "targets", self.targets, "at least 1")
        require_field(0 <= self.alpha_max <= 1, "alpha_max", self.alpha_max, "from 0 to 1")
        require_field(self.eta >= 1, "eta", self.eta, "a number from 1")
        require_field(0 <= self.beta < 1, "beta", self.beta, "from 0 to below 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class Square:
    """Random search with square windows by the logits alone, as in `square`."""

    norms: ClassVar[Norms] = frozenset({"linf", "l2", "l1"})
    kind: Literal["square"]
    queries: int = 5000
    p_init: float = 0.8
    restarts: int = 1

    def __post_init__(self) -> None:
        require_field(self.queries >= 2, "queries", self.queries, "at least 2")
        require_field(0 < self.p_init <= 1, "p_init", self.p_init, "a share above 0, up to 1")
        require_field(self.restarts >= 1, "restarts", self.restarts, "at least 1")


GradientSettings: TypeAlias = Fgsm | Pgd | BasicIterative
AttackSettings: TypeAlias = (
    Fgsm
    | Pgd
    | BasicIterative
    | DeepFool
    | CarliniWagner
    | BrendelBethge
    | Boundary
    | Noise
    | Apgd
    | Fab
    | Square
)


def _expect_steps(steps: int, size: float | EpsMultiple, *, name: str = "step_size") -> None:
    require_field(steps >= 1, "steps", steps, "at least 1")
    require_field(isinstance(size, EpsMultiple) or size > 0, name, size, "a number above 0")


def _expect_targets(loss: Loss, targets: int | None) -> None:
    require_field(targets is None or targets >= 1, "targets", targets, "at least 1")
    require_field(
        targets is None or loss == "targeted_margin",
        "targets",
        targets,
        "none unless loss is targeted_margin",
    )


def accuracy_metric(
    attacks: Sequence[AttackSettings],
) -> Literal["robust_accuracy", "accuracy"]:
    """Return the name, before ``@<eps>``, of the outcome metric under all the attacks together.

    Attacks of a single step, even if restarted, random noise, and PGD judged by its last iterate
    only bound the robust accuracy from above. If there is no other attack, the metric is called
    ``accuracy``, for which the host demands no evidence of robustness.
    """
    return "robust_accuracy" if any(map(_claims_robustness, attacks)) else "accuracy"


def _claims_robustness(attack: AttackSettings) -> bool:
    if isinstance(attack, Square):
        return True
    if isinstance(attack, Noise) or attack.steps == 1:
        return False
    return not isinstance(attack, Pgd) or attack.examples == "any"


AutoAttackVersion: TypeAlias = Literal["standard", "fast", "rand"]

FAST_STEPS, FAST_TARGETS = 100, 3
"""Defaults of the fast version: steps of each ascent, and target classes."""

RAND_DRAWS = 20
"""Draws of each gradient of the version for randomised models."""


def autoattack_members(
    norm: Norm, version: AutoAttackVersion, steps: int | None, targets: int | None
) -> tuple[AttackSettings, ...]:
    """Return the attacks of AutoAttack in their order.

    Raises:
        ValueError: A version but ``fast`` is given steps or targets.
    """
    if version != "fast":
        require_field(steps is None, "steps", steps, "none unless version is fast")
        require_field(targets is None, "targets", targets, "none unless version is fast")
        return _standard_members(norm) if version == "standard" else _rand_members()
    ascent_steps = FAST_STEPS if steps is None else steps
    return (
        Apgd(kind="apgd", steps=ascent_steps),
        Apgd(
            kind="apgd",
            steps=ascent_steps,
            loss="targeted_dlr",
            targets=FAST_TARGETS if targets is None else targets,
            target_order="distance",
        ),
    )


def _standard_members(norm: Norm) -> tuple[AttackSettings, ...]:
    """Return the attacks of the standard version of Croce and Hein (2020; 2021 for l_1)."""
    is_l1 = norm == "l1"
    return (
        Apgd(kind="apgd", restarts=5 if is_l1 else 1),
        Apgd(kind="apgd", loss="targeted_dlr", targets=5 if is_l1 else 9),
        Fab(kind="fab"),
        Square(kind="square"),
    )


def _rand_members() -> tuple[AttackSettings, ...]:
    """Return the attacks of the version for randomised models of Croce and Hein (2020)."""
    return (
        Apgd(kind="apgd", draws=RAND_DRAWS),
        Apgd(kind="apgd", loss="dlr", draws=RAND_DRAWS),
    )
