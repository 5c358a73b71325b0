"""Options of the attacks: presets, shared types, and checks before anything is attacked.

Does not import torch.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Annotated, TypeAlias

from annotated_types import Ge, Gt, MinLen

from advtransfer.precheck import CellOutline, Misfit, OptionValues
from advtransfer.toolkit.option_checks import UNIT_BOUNDS, Norm, radius_misfits
from advtransfer.types import Json, Since
from advtransfer_foolbox.attack_settings import (
    AttackSettings,
    EpsMultiple,
    GradientSettings,
    accuracy_metric,
    autoattack_members,
)

_CIFAR_BALL: Mapping[str, Json] = {"norm": "linf", "eps": 8 / 255}

FGSM_PRESETS: Mapping[str, Mapping[str, Json]] = {
    "chan2020-fgsm": {**_CIFAR_BALL, "random_start": False}
}
"""Chan et al. (2020): one sign step from the image."""

PGD_PRESETS: Mapping[str, Mapping[str, Json]] = {
    **{
        f"chan2020-pgd{steps}": {**_CIFAR_BALL, "steps": steps, "step_size": 2 / 255}
        for steps in (5, 10, 20, 50, 100)
    },
    "madry2018-mnist": {"norm": "linf", "eps": 0.3, "steps": 40, "step_size": 0.01},
    "madry2018-cifar10": {**_CIFAR_BALL, "steps": 20, "step_size": 2 / 255},
}
"""Chan et al. (2020); 40 steps for MNIST and 20 for CIFAR-10 of Madry et al. (2018, section 5)."""

AUTOATTACK_PRESETS: Mapping[str, Mapping[str, Json]] = {
    "robustbench-cifar10-linf": {**_CIFAR_BALL, "version": "standard"},
    "robustbench-cifar10-l2": {"norm": "l2", "eps": 0.5, "version": "standard"},
    "robustbench-cifar100-linf": {**_CIFAR_BALL, "version": "standard"},
    "robustbench-imagenet-linf": {"norm": "linf", "eps": 4 / 255, "version": "standard"},
    "croce2021-cifar10-l1": {"norm": "l1", "eps": 12.0, "version": "standard"},
    "croce2020-cifar10-linf-rand": {**_CIFAR_BALL, "version": "rand"},
}
"""The threat models of RobustBench (Croce et al., 2021), that of "Mind the box", and one for randomised models."""


Eps: TypeAlias = Annotated[float, Ge(0)]
EpsList: TypeAlias = Annotated[tuple[Eps, ...], MinLen(1)]
AtLeastOne: TypeAlias = Annotated[int, Ge(1)]
Positive: TypeAlias = Annotated[float, Gt(0)]
StepSize: TypeAlias = Positive | EpsMultiple
Seed: TypeAlias = Annotated[int, Ge(0)]
ReportCounts: TypeAlias = Annotated[bool, Since(1)]


SettingsBuilder: TypeAlias = Callable[..., AttackSettings]

COUNT_METRICS = ("mean_forwards", "mean_gradients")


def radii_of(chosen: OptionValues) -> tuple[float, ...]:
    """Return the radii of the option `eps`, which is one radius or several."""
    eps = chosen["eps"]
    return eps if isinstance(eps, tuple) else (eps,)


def names_at_radii(metric: str, chosen: OptionValues) -> list[str]:
    """Return the names of a metric at each radius of the option `eps`."""
    return [f"{metric}@{eps:g}" for eps in radii_of(chosen)]


def eps_misfits(
    chosen: OptionValues, around: CellOutline, *, bounds: tuple[float, float] | None = UNIT_BOUNDS
) -> Iterator[Misfit]:
    """Yield the radii that reach beyond the box, and those that would have the same metric.

    `bounds` are those of the inputs that the evaluation accepts, None for any.
    """
    is_list = isinstance(chosen["eps"], tuple)
    seen: set[str] = set()
    for position, eps in enumerate(radii_of(chosen)):
        path = ("eps", position) if is_list else ("eps",)
        yield from radius_misfits(path, eps, chosen["norm"], around.target, bounds=bounds)
        # Metrics are named by six digits of the radius.
        if f"{eps:g}" in seen:
            yield Misfit(path, "radii that differ in six digits", "drop the repeated one")
        seen.add(f"{eps:g}")


def attack_check(
    build: SettingsBuilder, *names: str, bounds: tuple[float, float] | None = UNIT_BOUNDS
) -> Callable[[OptionValues, CellOutline], Iterator[Misfit]]:
    """Return the check of an evaluation by one attack.

    It checks the radii, the step size, and which options of these names exclude each other.
    """

    def check(chosen: OptionValues, around: CellOutline) -> Iterator[Misfit]:
        yield from eps_misfits(chosen, around, bounds=bounds)
        step_size = chosen.get("step_size")
        yield from _step_misfits((), step_size, chosen["norm"], around, bounds=bounds)
        # The settings check themselves when they are built; their errors become misfits.
        try:
            build(**{name: chosen[name] for name in names})
        except ValueError as error:
            yield _misfit_of_error(str(error))

    return check


def ensemble_misfits(chosen: OptionValues, around: CellOutline) -> Iterator[Misfit]:
    """Yield attacks that are not defined for the norm or repeated, and steps that are too long."""
    yield from eps_misfits(chosen, around)
    seen: list[AttackSettings] = []
    for position, attack in enumerate(chosen["attacks"]):
        path = ("attacks", position)
        if chosen["norm"] not in attack.norms:
            defined = " or ".join(sorted(attack.norms))
            found = f"{attack.kind}, which is not defined for {chosen['norm']}"
            yield Misfit(path, defined, "leave the attack out, or change `norm`", found)
        if around.target.task == "attributes" and not isinstance(attack, GradientSettings):
            found = f"{attack.kind}, which knows classes only"
            yield Misfit(path, "fgsm, pgd or basic_iterative for attributes", "remove it", found)
        if attack in seen:
            yield Misfit(
                path,
                "each attack once",
                "remove it; `restarts` repeats an attack from other starts",
            )
        seen.append(attack)
        yield from _step_misfits(path, getattr(attack, "step_size", None), chosen["norm"], around)


def attack_metrics(
    build: SettingsBuilder, *names: str, clean: bool = True
) -> Callable[[OptionValues], list[str]]:
    """Return the function that lists the metrics of an evaluation by one attack."""

    def list_metrics(chosen: OptionValues) -> list[str]:
        settings = build(**{name: chosen[name] for name in names})
        return _metric_names([settings], chosen, clean=clean)

    return list_metrics


def minimization_metrics(build: SettingsBuilder, kind: str) -> Callable[[OptionValues], list[str]]:
    """Return the function that lists the metrics of an attack that finds the nearest example."""

    def list_metrics(chosen: OptionValues) -> list[str]:
        # Only the number of steps decides on the metric's name.
        settings = build(kind=kind, steps=chosen["steps"])
        return [*_metric_names([settings], chosen), "median_distance"]

    return list_metrics


def ensemble_metrics(chosen: OptionValues) -> list[str]:
    """Return the metrics of several attacks together."""
    return _metric_names(chosen["attacks"], chosen)


def _metric_names(
    attacks: Sequence[AttackSettings], chosen: OptionValues, *, clean: bool = True
) -> list[str]:
    names = names_at_radii(accuracy_metric(attacks), chosen)
    if clean:
        names.append("clean_accuracy")
    if chosen["counts"]:
        names.extend(COUNT_METRICS)
    return names


def _step_misfits(
    path: tuple[str | int, ...],
    step_size: object,
    norm: Norm,
    around: CellOutline,
    *,
    bounds: tuple[float, float] | None = UNIT_BOUNDS,
) -> Iterator[Misfit]:
    if isinstance(step_size, int | float):
        yield from radius_misfits(
            (*path, "step_size"), step_size, norm, around.target, bounds=bounds, what="a step"
        )


def _misfit_of_error(message: str) -> Misfit:
    """Return the misfit that an error of `require_field` describes; it begins with the option."""
    match = re.fullmatch(r"(\w+): (.*), not (.*)", message)
    if match is None:
        return Misfit((), message, "correct the options")
    return Misfit((match[1],), match[2], f"correct `{match[1]}`, or what goes with it")


def autoattack_misfits(chosen: OptionValues, around: CellOutline) -> Iterator[Misfit]:
    """Yield the radii that do not suit the images, and options that the version does not take."""
    yield from eps_misfits(chosen, around)
    try:
        _chosen_members(chosen)
    except ValueError as error:
        yield _misfit_of_error(str(error))


def autoattack_metrics(chosen: OptionValues) -> list[str]:
    """Return the metrics of the attacks of AutoAttack together."""
    return _metric_names(_chosen_members(chosen), chosen)


def _chosen_members(chosen: OptionValues) -> tuple[AttackSettings, ...]:
    names = ("norm", "version", "steps", "targets")
    return autoattack_members(**{name: chosen[name] for name in names})
