"""Accuracy on the union of balls in several norms."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TypeAlias

from advtransfer.precheck import CellOutline, Misfit, OptionValues, precheck
from advtransfer.toolkit.option_checks import UNIT_BOUNDS, Norm, radius_misfits
from advtransfer.types import Evaluation, Factory, Json, component
from advtransfer.types.metric_names import UNION_ACCURACY
from advtransfer_foolbox.attack_settings import (
    AttackSettings,
    accuracy_metric,
    autoattack_members,
)
from advtransfer_foolbox.components.ensembles import EnsembleMember
from advtransfer_foolbox.options import Positive, Seed

Radii: TypeAlias = "dict[Norm, float]"

NORMS: tuple[Norm, ...] = ("linf", "l2", "l1")
PRESETS: Mapping[str, Mapping[str, Json]] = {
    "croce2022-cifar10": {"linf": 8 / 255, "l2": 0.5, "l1": 12.0}
}
"""The three threat models of Croce and Hein (2022) on CIFAR-10."""


def _radii(chosen: OptionValues) -> Radii:
    return {norm: chosen[norm] for norm in NORMS if chosen[norm] is not None}


def _members(attacks: Sequence[AttackSettings], norm: Norm) -> Sequence[AttackSettings]:
    """Return the attacks in one norm: those of the option, or AutoAttack's."""
    return attacks or autoattack_members(norm, "standard", None, None)


def _metric(attacks: Sequence[AttackSettings], norm: Norm) -> str:
    return f"{accuracy_metric(_members(attacks, norm))}_{norm}"


def _list_metrics(chosen: OptionValues) -> list[str]:
    attacks = chosen["attacks"]
    claims = [f"{_metric(attacks, norm)}@{eps:g}" for norm, eps in _radii(chosen).items()]
    return [*claims, UNION_ACCURACY, "clean_accuracy"]


def _misfits(chosen: OptionValues, around: CellOutline) -> Iterator[Misfit]:
    """Yield radii that do not suit the images, and attacks that suit not all norms."""
    radii = _radii(chosen)
    if len(radii) < 2:
        found = f"{len(radii)} of {', '.join(NORMS)}"
        yield Misfit((), "radii in at least two norms", "add another norm", found)
    names: set[str] = set()
    for norm, eps in radii.items():
        yield from radius_misfits((norm,), eps, norm, around.target, bounds=UNIT_BOUNDS)
        # The checks of each ball are named by six digits of its radius.
        if f"{eps:g}" in names:
            yield Misfit((norm,), "radii that differ in six digits", "change one of them")
        names.add(f"{eps:g}")
    for position, attack in enumerate(chosen["attacks"]):
        path = ("attacks", position)
        for norm in radii:
            if norm not in attack.norms:
                defined = " or ".join(sorted(attack.norms))
                found = f"{attack.kind}, which is not defined for {norm}"
                yield Misfit(path, defined, "leave the attack or the norm out", found)
        if isinstance(getattr(attack, "step_size", None), int | float):
            yield Misfit(
                (*path, "step_size"), "{times_eps: ...}, since the radii differ", "write that"
            )


@precheck(check=_misfits, metrics=_list_metrics)
@component(
    needs=("model",),
    presets=PRESETS,
    example={"linf": 0.1, "l2": 0.5, "attacks": [{"kind": "apgd", "steps": 2}]},
)
def norm_union(
    *,
    linf: Positive | None = None,
    l2: Positive | None = None,
    l1: Positive | None = None,
    attacks: tuple[EnsembleMember, ...] = (),
    seed: Seed = 0,
) -> Evaluation:
    """Accuracy on a union of norm balls: the worst over attacks in each norm, with its own radius.

    Outcome metrics ``robust_accuracy_<norm>@<eps>`` for each norm (``accuracy_<norm>@<eps>`` as in
    `ensemble`), ``clean_accuracy``, and ``union_accuracy``: a sample counts if it is broken in none of
    the balls (Tramer and Boneh, 2019; Maini, Wong and Kolter, 2020). The host verifies each ball with
    its own battery, and pages fold the breaks of all of them into ``union_accuracy``.

    Args:
        linf: Radius in l_inf, in [0, 1] pixel space.
        l2: Radius in l_2.
        l1: Radius in l_1. At least two of the three are given, and differ.
        attacks: The attacks in each norm, as in `ensemble`; by default the standard version of
            `autoattack`. A step size is ``{times_eps: ...}``.
        seed: Seed of all random draws.
    """
    from advtransfer_foolbox.assemble import build_norm_union

    radii = _radii({"linf": linf, "l2": l2, "l1": l1})
    return build_norm_union(
        radii,
        attacks={norm: _members(attacks, norm) for norm in radii},
        metrics={norm: _metric(attacks, norm) for norm in radii},
        seed=seed,
    )


EVALUATIONS: Sequence[Factory[Evaluation]] = (norm_union,)
