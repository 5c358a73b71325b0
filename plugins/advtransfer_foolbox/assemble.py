"""Build the attacks and evaluations that settings ask for."""

from __future__ import annotations

from collections.abc import Sequence

from foolbox.attacks.blended_noise import LinearSearchBlendedUniformNoiseAttack

from advtransfer.types import Evaluation
from advtransfer_foolbox import gradient_attacks, minimization_attacks, options
from advtransfer_foolbox.attack_accuracy import AttackAccuracy
from advtransfer_foolbox.gradient_restarts import GradientAttack
from advtransfer_foolbox.minimization_attacks import BlendedStartingPoints, NearestExampleAttack
from advtransfer_foolbox.norms import Budget
from advtransfer_foolbox.options import AttackSettings, Norm, accuracy_metric
from advtransfer_foolbox.protocols import Attack
from advtransfer_foolbox.random_noise import NoiseAttack, PerSampleNoise


def build_evaluation(
    *asked: AttackSettings,
    norm: Norm,
    eps: float | tuple[float, ...],
    seed: int,
    counts: bool,
    clean: bool = True,
    nearest: bool = False,
) -> Evaluation:
    """Accuracy under the attacks that are asked for, named as they deserve; and clean accuracy, unless told not to."""
    return AttackAccuracy(
        attacks=build_attacks(asked, norm=norm, seed=seed),
        metric=accuracy_metric(asked),
        clean_metric="clean_accuracy" if clean else None,
        budget=Budget.from_option(norm, eps),
        report_queries=counts,
        report_distances=nearest,
    )


def build_attacks(asked: Sequence[AttackSettings], *, norm: Norm, seed: int) -> list[Attack]:
    """The attacks, in the same order.

    Raises:
        ValueError: One of them is not defined for the norm.
    """
    return [_build_attack(_require_norm(one, norm), norm=norm, seed=seed) for one in asked]


def _build_attack(asked: AttackSettings, *, norm: Norm, seed: int) -> Attack:
    match asked:
        case options.Fgsm() | options.Pgd() | options.BasicIterative():
            return _build_gradient_attack(asked, norm=norm, seed=seed)
        case options.DeepFool():
            return NearestExampleAttack(
                attack=minimization_attacks.deepfool_attack(norm, asked), seed=seed
            )
        case options.CarliniWagner():
            return NearestExampleAttack(
                attack=minimization_attacks.carlini_wagner_attack(asked), seed=seed
            )
        case options.Boundary():
            walk = minimization_attacks.boundary_attack(asked)
            return NearestExampleAttack(
                attack=walk,
                seed=seed,
                starting_points=_build_starting_points(seed),
                restarts=asked.restarts,
            )
        case options.BrendelBethge():
            walk = minimization_attacks.brendel_bethge_attack(norm, asked)
            return NearestExampleAttack(
                attack=walk,
                seed=seed,
                starting_points=_build_starting_points(seed),
                restarts=asked.restarts,
            )
        case options.Noise():
            return NoiseAttack(
                attack=PerSampleNoise(norm=norm, noise=asked.noise, draws=asked.draws), seed=seed
            )


def _build_gradient_attack(
    asked: options.Fgsm | options.Pgd | options.BasicIterative, *, norm: Norm, seed: int
) -> Attack:
    if isinstance(asked, options.Fgsm):
        step = gradient_attacks.fast_gradient(
            norm, random_start=asked.random_start, loss=asked.loss
        )
        return GradientAttack(attack=step, norm=norm, seed=seed, warm_starts=False)
    targeted = asked.loss == "targeted_margin"
    if isinstance(asked, options.BasicIterative):
        steps = gradient_attacks.basic_iterative(
            norm, steps=asked.steps, step_size=asked.step_size, loss=asked.loss
        )
        return GradientAttack(
            attack=steps, norm=norm, seed=seed, targeted=targeted, max_targets=asked.targets
        )
    steps = gradient_attacks.projected_gradient(
        norm,
        steps=asked.steps,
        step_size=asked.step_size,
        random_start=asked.random_start,
        loss=asked.loss,
    )
    return GradientAttack(
        attack=steps,
        norm=norm,
        seed=seed,
        restarts=asked.restarts,
        targeted=targeted,
        max_targets=asked.targets,
    )


def _build_starting_points(seed: int) -> BlendedStartingPoints:
    return BlendedStartingPoints(
        attack=LinearSearchBlendedUniformNoiseAttack(directions=1000, steps=50), seed=seed
    )


def _require_norm(asked: AttackSettings, norm: Norm) -> AttackSettings:
    if norm not in asked.norms:
        known = " or ".join(sorted(asked.norms))
        raise ValueError(
            f"found norm {norm!r} for {asked.kind}; expected {known}; leave the attack out"
        )
    return asked
