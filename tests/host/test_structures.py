"""Types of options that are written as mappings: each once, with their keys, types and defaults."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from annotated_types import Gt

from advtransfer.host import Host
from advtransfer.host.structures import Structure, option_structures


@dataclass(frozen=True)
class Inner:
    """A part."""

    size: int


@dataclass(frozen=True)
class Outer:
    """The whole."""

    rate: Annotated[float, Gt(0)] = 0.5
    inner: Inner = field(default_factory=lambda: Inner(3))


def factory(
    *, first: Outer | None = None, again: tuple[Outer, ...] = (), steps: int = 1
) -> None: ...


def test_each_dataclass_is_described_once_and_before_those_in_its_fields() -> None:
    assert option_structures(factory) == [
        Structure(
            "Outer",
            "The whole.",
            (("rate", "float > 0", "0.5"), ("inner", "Inner", '{"size": 3}')),
        ),
        Structure("Inner", "A part.", (("size", "int", "required"),)),
    ]


def test_no_built_in_option_names_a_type_that_is_not_explained() -> None:
    components = Host.discover().components()
    structures = [each for component in components for each in option_structures(component.factory)]

    assert {"Sgd", "Adam", "Claims", "Spectrum"} <= {each.name for each in structures}
    assert all(each.text for each in structures)
