"""Outlines and option checks that a component offers before anything is built.

``advtransfer plan`` reports a mistake with them, hours before a trial would fail. They import no torch and
read no images. A component that states nothing is not checked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from advtransfer.deprecation import deprecated_names
from advtransfer.types import P, Shape, T, Task

OptionValues: TypeAlias = Mapping[str, Any]  # Any: each factory has option types of its own
"""The options that a factory is called with, with outlines in place of data sets and sources."""


@dataclass(frozen=True, slots=True)
class Outline:
    """The known properties of a data set or source before it is built; None where unknown.

    Args:
        shape: The shape ``(C, H, W)`` of one input.
        bounds: The bounds of the inputs; only where `shape` is known.
        task: The kind of labels.
        outputs: The number of classes, attributes or values.
        train: The largest number of samples that the train part can have.
        test: The largest number of samples that the test part can have.
        train_counts: The largest number of train samples of each class; at least one each.
        test_counts: The same for the test part.
        blocks: The number of blocks of a source's network.
        names: The names of the classes or attributes, in their order.
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
    names: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class CellOutline:
    """The known properties of a cell of the grid; all unknown where an entry is checked by itself.

    Args:
        target: The target's data set, seen through its view.
        source: The source; without known properties also where the cell has no source.
        n: The number of images that a transfer may see.
        validation: The share of them that is held back for validation.
    """

    target: Outline = Outline()
    source: Outline = Outline()
    n: int | Literal["all"] | None = None
    validation: float | None = None


@dataclass(frozen=True, slots=True)
class Misfit:
    """An option that cannot work.

    Args:
        path: The option, then names and positions inside it.
        expected: A description of the values that would work.
        next_step: What the user should do.
        found: A description of what is wrong; by default the value as written in the suite.
        skips: True if the cell is not applicable and is skipped with `found` as the reason. Otherwise, and
            also where it holds in every cell, the misfit is a mistake.
    """

    path: tuple[str | int, ...]
    expected: str
    next_step: str
    found: str | None = None
    skips: bool = False


OptionCheck: TypeAlias = Callable[[OptionValues, CellOutline], Iterable[Misfit]]


@dataclass(frozen=True, slots=True)
class Precheck:
    """The outline, check, metrics, ball and files that a factory states with `precheck`."""

    outline: Callable[[OptionValues], Outline] | None = None
    check: OptionCheck | None = None
    metrics: Callable[[OptionValues], Iterable[str]] | None = None
    ball: Callable[[OptionValues], tuple[str, float] | None] | None = None
    files: Callable[[OptionValues], Iterable[str]] | None = None


def precheck(
    *,
    outline: Callable[[OptionValues], Outline] | None = None,
    check: OptionCheck | None = None,
    metrics: Callable[[OptionValues], Iterable[str]] | None = None,
    ball: Callable[[OptionValues], tuple[str, float] | None] | None = None,
    files: Callable[[OptionValues], Iterable[str]] | None = None,
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Attach functions that outline a factory's product and check its options, from the options alone.

    Args:
        outline: For a data set or source: returns the outline of the product.
        check: Returns the options that cannot work, alone or in a cell. It is called once for the entry by
            itself, with nothing known about the cell, and once for each cell of the grid. Limits that a type
            can express belong in the annotations.
        metrics: For an evaluation: returns all metrics that it can give; those of snapshots without the epoch.
        ball: For a transfer: returns the norm and radius that it trains against, or None. It is the ball of
            ``choose: {by: validation.robust_accuracy}`` where the suite names no attack.
        files: For an evaluation: returns the names of all files that it can write (`Measurement.files`); those
            of snapshots without the epoch.
    """

    def state(factory: Callable[P, T]) -> Callable[P, T]:
        factory.__precheck__ = Precheck(outline, check, metrics, ball, files)  # type: ignore[attr-defined]  # as in `component`
        return factory

    return state


def precheck_of(factory: Callable[..., object]) -> Precheck:
    """Return what a factory states with `precheck`; an empty `Precheck` where it states nothing."""
    stated = getattr(factory, "__precheck__", None)
    return stated if isinstance(stated, Precheck) else Precheck()


if not TYPE_CHECKING:  # Hidden from mypy, so that it reports uses of the old names.
    __getattr__ = deprecated_names(
        __name__,
        {
            "Check": "advtransfer.precheck:OptionCheck",
            "Chosen": "advtransfer.precheck:OptionValues",
            "Surroundings": "advtransfer.precheck:CellOutline",
        },
    )
