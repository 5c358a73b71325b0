"""Build the attacks and evaluations that settings ask for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeAlias

from foolbox.attacks.blended_noise import LinearSearchBlendedUniformNoiseAttack

from advtransfer.toolkit.option_checks import Norm
from advtransfer.types import Evaluation
from advtransfer_foolbox import attack_settings, minimization_attacks
from advtransfer_foolbox.apgd import AutoPgd
from advtransfer_foolbox.attack_accuracy import AttackAccuracy
from advtransfer_foolbox.attack_settings import AttackSettings, accuracy_metric
from advtransfer_foolbox.fab import FastAdaptiveBoundary
from advtransfer_foolbox.gradient_attacks import GradientAttack
from advtransfer_foolbox.minimization_attacks import BlendedStartingPoints, NearestExampleAttack
from advtransfer_foolbox.norm_union import UnionAccuracy
from advtransfer_foolbox.norms import Budget
from advtransfer_foolbox.protocols import Attack
from advtransfer_foolbox.random_noise import NoiseAttack
from advtransfer_foolbox.square import SquareAttack

MinimizationSettings: TypeAlias = (
    attack_settings.DeepFool
    | attack_settings.CarliniWagner
    | attack_settings.Boundary
    | attack_settings.BrendelBethge
)


def build_evaluation(
    *attacks: AttackSettings,
    norm: Norm,
    eps: float | tuple[float, ...],
    seed: int,
    report_queries: bool,
    report_clean: bool = True,
    report_distances: bool = False,
) -> Evaluation:
    """Return the evaluation of accuracy under the attacks, with clean accuracy by default.

    Raises:
        ValueError: An attack is not defined for the norm.
    """
    return AttackAccuracy(
        attacks=build_attacks(attacks, norm=norm, seed=seed, report_distances=report_distances),
        metric=accuracy_metric(attacks),
        clean_metric="clean_accuracy" if report_clean else None,
        budget=Budget.from_option(norm, eps),
        report_queries=report_queries,
        report_distances=report_distances,
        apgd_losses=_apgd_losses(attacks),
    )


def build_norm_union(
    radii: Mapping[Norm, float],
    *,
    attacks: Mapping[Norm, Sequence[AttackSettings]],
    metrics: Mapping[Norm, str],
    seed: int,
) -> Evaluation:
    """Return the evaluation of accuracy on a union of balls, with clean accuracy.

    Raises:
        ValueError: An attack is not defined for its norm.
    """
    members = [
        AttackAccuracy(
            attacks=build_attacks(attacks[norm], norm=norm, seed=seed),
            metric=metrics[norm],
            clean_metric="clean_accuracy" if position == 0 else None,
            budget=Budget(norm, (eps,)),
            apgd_losses=_apgd_losses(attacks[norm]),
        )
        for position, (norm, eps) in enumerate(radii.items())
    ]
    return UnionAccuracy(members)


def _apgd_losses(attacks: Sequence[AttackSettings]) -> list[attack_settings.ApgdLoss]:
    return [attack.loss for attack in attacks if isinstance(attack, attack_settings.Apgd)]


def build_attacks(
    settings: Sequence[AttackSettings], *, norm: Norm, seed: int, report_distances: bool = False
) -> list[Attack]:
    """Return the attacks in the order of their settings.

    Without `report_distances`, FAB stops at an example within the radius: a nearer one is not needed.

    Raises:
        ValueError: An attack is not defined for the norm.
    """
    # All are checked before any is built: building one may need a library or take time.
    for attack in settings:
        _require_norm(attack, norm)
    return [
        _build_attack(attack, norm=norm, seed=seed, report_distances=report_distances)
        for attack in settings
    ]


def _require_norm(settings: AttackSettings, norm: Norm) -> None:
    if norm not in settings.norms:
        defined = " or ".join(sorted(settings.norms))
        raise ValueError(
            f"found norm {norm!r} for {settings.kind}; expected {defined}; leave the attack out"
        )


def _build_attack(
    settings: AttackSettings, *, norm: Norm, seed: int, report_distances: bool
) -> Attack:
    match settings:
        case attack_settings.Apgd():
            return AutoPgd(settings, norm=norm, seed=seed)
        case attack_settings.Fgsm() | attack_settings.Pgd() | attack_settings.BasicIterative():
            return GradientAttack(settings, norm=norm, seed=seed)
        case attack_settings.Fab():
            return FastAdaptiveBoundary(settings, norm=norm, stops_inside=not report_distances)
        case attack_settings.Square():
            return SquareAttack(settings, norm=norm, seed=seed)
        case attack_settings.Noise():
            return NoiseAttack(settings=settings, norm=norm, seed=seed)
        case _:
            return _build_minimization_attack(settings, norm=norm, seed=seed)


def _build_minimization_attack(settings: MinimizationSettings, *, norm: Norm, seed: int) -> Attack:
    match settings:
        case attack_settings.DeepFool():
            attack = minimization_attacks.deepfool_attack(norm, settings)
            return NearestExampleAttack(attack=attack, seed=seed)
        case attack_settings.CarliniWagner():
            attack = minimization_attacks.carlini_wagner_attack(settings)
            return NearestExampleAttack(attack=attack, seed=seed)
        case attack_settings.Boundary():
            attack = minimization_attacks.boundary_attack(settings)
        case attack_settings.BrendelBethge():
            attack = minimization_attacks.brendel_bethge_attack(norm, settings)
    # A walk along the decision boundary needs a misclassified point to start from.
    blends = LinearSearchBlendedUniformNoiseAttack(directions=1000, steps=50)
    return NearestExampleAttack(
        attack=attack,
        seed=seed,
        starting_points=BlendedStartingPoints(attack=blends, seed=seed),
        restarts=settings.restarts,
    )
