"""What is known of attacks before anything is attacked: wrong options, and what they measure. Light: no torch."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

from advtransfer.precheck import Chosen, Misfit, Surroundings
from advtransfer.toolkit.radius import UNIT, Norm, radius_misfits
from advtransfer_foolbox.claims import metric
from advtransfer_foolbox.settings import Settings

Asked: TypeAlias = Callable[..., Settings]

COUNTS = ("mean_forwards", "mean_gradients")


def radii(chosen: Chosen, around: Surroundings) -> Iterator[Misfit]:
    """Radii that are larger than the images are apart, or that records could not tell from each other."""
    several = chosen["eps"] if isinstance(chosen["eps"], tuple) else None
    seen: set[str] = set()
    for position, eps in enumerate(several or (chosen["eps"],)):
        path = ("eps", position) if several else ("eps",)
        yield from radius_misfits(path, eps, chosen["norm"], around.target, bounds=UNIT)
        if f"{eps:g}" in seen:
            yield Misfit(path, "radii that differ in six digits", "drop the repeated one")
        seen.add(f"{eps:g}")


def checked(asked: Asked, *names: str) -> Callable[[Chosen, Surroundings], Iterator[Misfit]]:
    """The check of an evaluation by one attack: of its radii, its steps, and of what its settings say together."""

    def check(chosen: Chosen, around: Surroundings) -> Iterator[Misfit]:
        yield from radii(chosen, around)
        yield from _step((), chosen["step_size"], chosen["norm"], around)
        try:
            asked(**{name: chosen[name] for name in names})
        except ValueError as error:
            yield _said(str(error))

    return check


def ensemble(chosen: Chosen, around: Surroundings) -> Iterator[Misfit]:
    """The check of several attacks: each is defined for the norm, and stands there once."""
    yield from radii(chosen, around)
    seen: list[Settings] = []
    for position, attack in enumerate(chosen["attacks"]):
        path = ("attacks", position)
        if chosen["norm"] not in attack.norms:
            known = " or ".join(sorted(attack.norms))
            found = f"{attack.kind}, which is not defined for {chosen['norm']}"
            yield Misfit(path, known, "leave the attack out, or change `norm`", found)
        if attack in seen:
            yield Misfit(path, "each attack once", "remove it; `restarts` repeats an attack from other starts")
        seen.append(attack)
        yield from _step(path, getattr(attack, "step_size", None), chosen["norm"], around)


def measured(asked: Asked, *names: str, clean: bool = True) -> Callable[[Chosen], list[str]]:
    """The metrics of an evaluation by one attack."""
    return lambda chosen: _metrics([asked(**{name: chosen[name] for name in names})], chosen, clean=clean)


def nearest(asked: Asked, kind: str) -> Callable[[Chosen], list[str]]:
    """The metrics of an evaluation by an attack that looks for the nearest example."""
    return lambda chosen: [*_metrics([asked(kind=kind, steps=chosen["steps"])], chosen), "median_distance"]


def ensemble_metrics(chosen: Chosen) -> list[str]:
    """The metrics of several attacks together."""
    return _metrics(chosen["attacks"], chosen)


def _metrics(attacks: Sequence[Settings], chosen: Chosen, *, clean: bool = True) -> list[str]:
    several = chosen["eps"] if isinstance(chosen["eps"], tuple) else (chosen["eps"],)
    names = [f"{metric(attacks)}@{eps:g}" for eps in several]
    names += ["clean_accuracy"] if clean else []
    return [*names, *(COUNTS if chosen["counts"] else ())]


def _step(path: tuple[str | int, ...], size: object, norm: Norm, around: Surroundings) -> Iterator[Misfit]:
    if isinstance(size, int | float):
        yield from radius_misfits((*path, "step_size"), size, norm, around.target, bounds=UNIT, what="a step")


def _said(error: str) -> Misfit:
    """What the settings say of themselves, which begins with the option."""
    match = re.fullmatch(r"(\w+): (.*), not (.*)", error)
    if match is None:
        return Misfit((), error, "correct the options")
    return Misfit((match[1],), match[2], f"correct `{match[1]}`, or what goes with it")
