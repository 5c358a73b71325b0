from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Literal

import pytest
from annotated_types import Gt, Le

from advtransfer.options import OptionFault, Options
from advtransfer.types import Adapter, Dataset, File, Json, Since, Source


@dataclass(frozen=True)
class Budget:
    norm: Literal["linf", "l2"]
    eps: Annotated[float, Gt(0)]
    steps: int = 7

    def __post_init__(self) -> None:
        if self.norm == "linf" and self.eps > 1:
            raise ValueError("an l_inf eps of at most 1")


def trained(
    *,
    data: Dataset,
    network: Literal["small", "large"] = "small",
    budget: Budget | None = None,
    eps: float | tuple[float, ...] = 0.1,
    epochs: Annotated[int, Gt(0)] = 3,
    parts: tuple[Adapter, ...] = (),
    weights: File | None = None,
    late: Annotated[float, Since(2)] = 1.0,
) -> Source:
    """A source."""
    raise AssertionError((data, network, budget, eps, epochs, parts, weights, late))


OPTIONS = Options(trained)


def test_fields_tell_entries_files_and_plain_options_apart() -> None:
    fields = OPTIONS.fields

    assert [name for name, one in fields.items() if one.is_plain] == [
        "network",
        "budget",
        "eps",
        "epochs",
        "late",
    ]
    assert (fields["data"].kind, fields["data"].required, fields["data"].many) == (
        "dataset",
        True,
        False,
    )
    assert (fields["parts"].kind, fields["parts"].many) == ("adapter", True)
    assert (fields["weights"].file, fields["weights"].required) == ("file", False)
    assert fields["network"].text == "'small' | 'large'"


def test_defaults_are_filled_in() -> None:
    values, faults = OPTIONS.validate({"budget": {"norm": "linf", "eps": 0.5}})

    assert faults == []
    assert values == {
        "network": "small",
        "budget": {"norm": "linf", "eps": 0.5, "steps": 7},
        "eps": 0.1,
        "epochs": 3,
    }


def test_an_option_added_later_leaves_the_id_while_it_equals_its_default() -> None:
    assert "late" not in OPTIONS.validate({"late": 1.0})[0]
    assert OPTIONS.validate({"late": 2})[0]["late"] == 2.0


def test_built_values_are_python_values() -> None:
    built = OPTIONS.python_values({"budget": {"norm": "l2", "eps": 3}, "eps": [0.1, 1]})

    assert built["budget"] == Budget("l2", 3.0)
    assert built["eps"] == (0.1, 1.0)
    assert built["late"] == 1.0


@pytest.mark.parametrize(
    ("values", "faults"),
    [
        ({"epochs": 3.0}, [OptionFault(("epochs",), "3.0", "a valid integer")]),
        ({"epochs": "3"}, [OptionFault(("epochs",), '"3"', "a valid integer")]),
        ({"epochs": True}, [OptionFault(("epochs",), "true", "a valid integer")]),
        ({"epochs": 0}, [OptionFault(("epochs",), "0", "greater than 0")]),
        ({"network": "smal"}, [OptionFault(("network",), '"smal"', "'small' or 'large'")]),
        ({"late": float("nan")}, [OptionFault(("late",), "NaN", "a finite number")]),
        ({"eps": ["a", 1]}, [OptionFault(("eps", 0), '"a"', "a valid number")]),
        ({"eps": "x"}, [OptionFault(("eps",), '"x"', "a valid number or a valid array")]),
        (
            {"budget": {"norm": "linf", "eps": 2}},
            [OptionFault(("budget",), '{"norm": "linf", "eps": 2}', "an l_inf eps of at most 1")],
        ),
        (
            {"budget": {"eps": -1, "step": 2}},
            [
                OptionFault(("budget",), "no option 'norm'", "a value, since it has no default"),
                OptionFault(("budget", "eps"), "-1", "greater than 0"),
                OptionFault(("budget", "step"), "unknown option 'step'", "a key that it knows"),
            ],
        ),
        (
            {"epoch": 3},
            [
                OptionFault(
                    ("epoch",),
                    "unknown option 'epoch'",
                    "one of network, budget, eps, epochs, late",
                )
            ],
        ),
    ],
)
def test_every_fault_is_found_where_it_is(
    values: Mapping[str, Json], faults: list[OptionFault]
) -> None:
    assert OPTIONS.validate(values)[1] == faults


def test_the_schema_has_the_plain_options_with_references_inlined() -> None:
    schema = OPTIONS.json_schema()

    assert "$ref" not in str(schema)
    assert schema["additionalProperties"] is False
    properties = schema["properties"]
    assert isinstance(properties, Mapping)
    assert list(properties) == ["network", "budget", "eps", "epochs", "late"]


def test_constraints_are_told_to_readers() -> None:
    def bounded(*, share: Annotated[float, Gt(0), Le(1)] = 0.5) -> Dataset:
        """Bounded."""
        raise AssertionError(share)

    assert Options(bounded).fields["share"].text == "float > 0 and <= 1"


@pytest.mark.parametrize("default", [(), [], None])
def test_a_factory_without_options_takes_none(default: object) -> None:
    def bare() -> Dataset:
        """Bare."""
        raise AssertionError(default)

    factory: Callable[..., object] = bare
    assert Options(factory).validate({}) == ({}, [])
    assert Options(factory).validate({"size": 1})[1] == [
        OptionFault(("size",), "unknown option 'size'", "no options")
    ]
