"""What a plugin's functions return, held against the types that the host expects; named where it is something else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from advtransfer.errors import PluginError
from advtransfer.hookspecs import Kind
from advtransfer.host import Component
from advtransfer.printable import article, type_text

T = TypeVar("T")

MEMBERS: Mapping[Kind, tuple[str, ...]] = {
    "dataset": ("card", "part"),
    "source": ("card", "network", "weights"),
    "adapter": ("learned", "module"),
    "transfer": ("model", "fit"),
    "evaluation": ("measure",),
    "executor": ("slots", "start", "submit", "news", "stop"),
}
"""What the protocol of each kind asks for."""


def refused(component: Component, call: str, found: str, expected: str) -> PluginError:
    """The error of a component one of whose functions gave something else than is expected."""
    return PluginError(component.plugin, f"{component.name}: {call} gave {found}; expected {expected}")


def returned(component: Component, call: str, value: object, expected: type[T]) -> T:
    """What a function of a component returned, if it is of the type.

    Raises:
        PluginError: It is not; names the component, the function and both types.
    """
    if not isinstance(value, expected):
        raise refused(component, call, type_text(value), article(expected.__name__))
    return value


def built(component: Component, value: object) -> object:
    """What a factory returned, if it has what its kind's protocol asks for.

    Raises:
        PluginError: It lacks some of it; names it.
    """
    asked = MEMBERS[component.kind]
    missing = [name for name in asked if isinstance(value, type) or not hasattr(value, name)]
    if missing:
        found = type_text(value) if len(missing) == len(asked) else f"{type_text(value)} without {', '.join(missing)}"
        expected = f"{article(component.kind)}, which has {', '.join(asked)}"
        raise refused(component, "the factory", found, expected)
    return value
