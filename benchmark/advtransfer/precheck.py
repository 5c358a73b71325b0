"""What a component says and checks before anything is built.

A mistake is told by `plan`, hours before a trial fails.

All of it is light: no torch, no images. What a component does not say is not claimed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from advtransfer.deprecation import deprecated_names
from advtransfer.types import P, Shape, T, Task

OptionValues: TypeAlias = Mapping[
    str, Any
]  # Any: options are as varied as the signatures of factories
"""A factory's options as it is called with them; data sets and sources among them are their outlines."""


@dataclass(frozen=True, slots=True)
class Outline:
    """A data set or a source as far as it is known before it is built; None is what is not known.

    Args:
        shape: Of one input.
        bounds: Of the inputs; only where `shape` is known.
        task: What the labels are.
        outputs: Classes, attributes or values.
        train: The most samples that the train part can have.
        test: The most samples that the test part can have.
        train_counts: By class, the most samples of it in the train part; each class has one.
        test_counts: Likewise of the test part.
        blocks: How many blocks a source's network has.
    """

    shape: Shape | None = None
    bounds: tuple[float, float] | None = None
    task: Task | None = None
    outputs: int | None = None
    train: int | None = None
    test: int | None = None
    train_counts: tuple[int, ...] | None = None
    test_counts: tuple[int, ...] | None = None
    blocks: int | None = None


@dataclass(frozen=True, slots=True)
class CellOutline:
    """Where in the grid a component is used, as far as that is known; nothing is where an entry is read by itself.

    Args:
        target: The target's data set, its view laid over it.
        source: The source; None also where there is none.
        n: The images that a transfer may see.
        validation: Their share that is held back.
    """

    target: Outline = Outline()
    source: Outline = Outline()
    n: int | Literal["all"] | None = None
    validation: float | None = None


@dataclass(frozen=True, slots=True)
class Misfit:
    """An option that cannot work.

    Args:
        path: Where: the option, then names and positions inside it.
        expected: What would work.
        next_step: What to do.
        found: What is wrong; by default the value as the suite writes it.
        skips: Whether the cell makes no sense and is skipped, with ``found`` as the reason; a mistake otherwise, and
            also where it is so in every cell.
    """

    path: tuple[str | int, ...]
    expected: str
    next_step: str
    found: str | None = None
    skips: bool = False


OptionCheck: TypeAlias = Callable[[OptionValues, CellOutline], Iterable[Misfit]]


@dataclass(frozen=True, slots=True)
class Precheck:
    """What a factory states with `precheck`."""

    outline: Callable[[OptionValues], Outline] | None = None
    check: OptionCheck | None = None
    metrics: Callable[[OptionValues], Iterable[str]] | None = None


def precheck(
    *,
    outline: Callable[[OptionValues], Outline] | None = None,
    check: OptionCheck | None = None,
    metrics: Callable[[OptionValues], Iterable[str]] | None = None,
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """State what can be known of a factory's product, and what of its options can be checked, from the options alone.

    Args:
        outline: Of a data set or source: what it will be.
        check: The options that cannot work, alone or in these surroundings. It is called for an entry by itself, with
            nothing known around it, and for each place in the grid. What a type can say stays in the annotations.
        metrics: Of an evaluation: every metric that it can give; of one with snapshots, without their epoch.
    """

    def state(factory: Callable[P, T]) -> Callable[P, T]:
        factory.__precheck__ = Precheck(outline, check, metrics)  # type: ignore[attr-defined]  # as in `component`
        return factory

    return state


def precheck_of(factory: Callable[..., object]) -> Precheck:
    """What a factory states, or nothing."""
    stated = getattr(factory, "__precheck__", None)
    return stated if isinstance(stated, Precheck) else Precheck()


if not TYPE_CHECKING:  # mypy then reports an old name, as it should
    __getattr__ = deprecated_names(
        __name__,
        {
            "Check": "advtransfer.precheck:OptionCheck",
            "Chosen": "advtransfer.precheck:OptionValues",
            "Surroundings": "advtransfer.precheck:CellOutline",
        },
    )
