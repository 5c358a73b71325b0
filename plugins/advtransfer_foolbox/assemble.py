"""From settings to the attacks and evaluations they ask for."""

from __future__ import annotations

from collections.abc import Sequence

from foolbox.attacks.blended_noise import LinearSearchBlendedUniformNoiseAttack

from advtransfer.types import Evaluation
from advtransfer_foolbox import settings, variants, walks
from advtransfer_foolbox.budget import Budget
from advtransfer_foolbox.claims import metric
from advtransfer_foolbox.contract import Attack
from advtransfer_foolbox.descent import Descent
from advtransfer_foolbox.first_examples import KeyedBlends
from advtransfer_foolbox.nearest import Nearest
from advtransfer_foolbox.random_noise import KeyedNoise, Noisy
from advtransfer_foolbox.robustness import AttackAccuracy
from advtransfer_foolbox.settings import Norm, Settings


def evaluation(
    *asked: Settings,
    norm: Norm,
    eps: float | tuple[float, ...],
    seed: int,
    counts: bool,
    clean: bool = True,
    nearest: bool = False,
) -> Evaluation:
    """Accuracy under the attacks that are asked for, named as they deserve; and clean accuracy, unless told not to."""
    return AttackAccuracy(
        attacks=attacks(asked, norm=norm, seed=seed),
        metric=metric(asked),
        clean="clean_accuracy" if clean else None,
        budget=Budget.of(norm, eps),
        counts=counts,
        nearest=nearest,
    )


def attacks(asked: Sequence[Settings], *, norm: Norm, seed: int) -> list[Attack]:
    """The attacks, in the same order.

    Raises:
        ValueError: One of them is not defined for the norm.
    """
    return [_attack(_defined(one, norm), norm=norm, seed=seed) for one in asked]


def _attack(asked: Settings, *, norm: Norm, seed: int) -> Attack:
    match asked:
        case settings.Fgsm() | settings.Pgd() | settings.BasicIterative():
            return _descent(asked, norm=norm, seed=seed)
        case settings.DeepFool():
            return Nearest(attack=walks.deepfool(norm, asked), seed=seed)
        case settings.CarliniWagner():
            return Nearest(attack=walks.carlini_wagner(asked), seed=seed)
        case settings.Boundary():
            walk = walks.boundary(asked)
            return Nearest(attack=walk, seed=seed, blends=_blends(seed), restarts=asked.restarts)
        case settings.BrendelBethge():
            walk = walks.brendel_bethge(norm, asked)
            return Nearest(attack=walk, seed=seed, blends=_blends(seed), restarts=asked.restarts)
        case settings.Noise():
            return Noisy(attack=KeyedNoise(norm=norm, noise=asked.noise, draws=asked.draws), seed=seed)


def _descent(asked: settings.Fgsm | settings.Pgd | settings.BasicIterative, *, norm: Norm, seed: int) -> Attack:
    if isinstance(asked, settings.Fgsm):
        step = variants.fast_gradient(norm, random_start=asked.random_start, loss=asked.loss)
        return Descent(watched=step, norm=norm, seed=seed, climbs=False)
    targeted = asked.loss == "targeted_margin"
    if isinstance(asked, settings.BasicIterative):
        steps = variants.basic_iterative(norm, steps=asked.steps, step_size=asked.step_size, loss=asked.loss)
        return Descent(watched=steps, norm=norm, seed=seed, targeted=targeted, targets=asked.targets)
    steps = variants.projected_gradient(
        norm, steps=asked.steps, step_size=asked.step_size, random_start=asked.random_start, loss=asked.loss
    )
    return Descent(
        watched=steps, norm=norm, seed=seed, restarts=asked.restarts, targeted=targeted, targets=asked.targets
    )


def _blends(seed: int) -> KeyedBlends:
    return KeyedBlends(attack=LinearSearchBlendedUniformNoiseAttack(directions=1000, steps=50), seed=seed)


def _defined(asked: Settings, norm: Norm) -> Settings:
    if norm not in asked.norms:
        known = " or ".join(sorted(asked.norms))
        raise ValueError(f"found norm {norm!r} for {asked.kind}; expected {known}; leave the attack out")
    return asked
