"""Values that plugins return are validated; errors name the function that returned them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from advtransfer.errors import PluginError
from advtransfer.hookspecs import ComponentKind
from advtransfer.host import Component, Plugin
from advtransfer.host.component import check_product
from advtransfer.testing.data import toy
from advtransfer.types import (
    Check,
    ComponentMetadata,
    Dataset,
    Fitted,
    Measurement,
    Samples,
    SourceCard,
    Weights,
)
from advtransfer.worker import plugin_values

UINT8 = torch.zeros(3, dtype=torch.uint8)
CARD = SourceCard("small", "toy", "none", (1, 2, 2), 2)
ODD: list[tuple[object, str]] = [
    (None, "None"),
    ({}, "a dict"),
    (0.5, "a float"),
    (np.zeros(3), "an ndarray"),
    (OrderedDict(weight=UINT8), "an OrderedDict"),
    (nn.Sequential(), "a Sequential"),
    (UINT8, "a Tensor"),
    (Measurement, "the class Measurement"),
]


def component(kind: str = "evaluation") -> Component:
    return Component(
        "odd/thing",
        cast(ComponentKind, kind),
        "odd",
        "odd",
        "1.0",
        lambda: None,
        ComponentMetadata(),
        Plugin("odd", "odd", "odd", "1.0"),
    )


def error_of(call: Callable[[], object]) -> str:
    """Return the host's error for a value, without the plugin's name."""
    with pytest.raises(PluginError) as caught:
        call()
    return str(caught.value).removeprefix("plugin 'odd': odd/thing: ")


@pytest.mark.parametrize(("value", "words"), ODD, ids=[words for _, words in ODD])
@pytest.mark.parametrize(
    ("look", "call", "expected"),
    [
        (plugin_values.require_measurement, "measure", "a Measurement"),
        (plugin_values.require_fitted, "fit", "a Fitted"),
        (plugin_values.require_weights, "weights", "a Weights"),
        (plugin_values.require_source_card, "card", "a SourceCard"),
    ],
)
def test_wrong_type_is_named_with_the_expected_one(
    look: Callable[[Component, object], object], call: str, expected: str, value: object, words: str
) -> None:
    assert f"{call} gave {words}; expected {expected}" == error_of(lambda: look(component(), value))


@pytest.mark.parametrize(
    ("value", "words"), [case for case in ODD if not isinstance(case[0], nn.Module)]
)
def test_model_must_be_a_module(value: object, words: str) -> None:
    assert f"model gave {words}; expected a Module" == error_of(
        lambda: plugin_values.require_module(component(), "model", value)
    )


def test_network_must_have_blocks_head_and_features() -> None:
    message = error_of(lambda: plugin_values.require_network(component("source"), nn.Linear(2, 2)))

    assert (
        "network gave a Linear without blocks, head, features; expected a Network, which has blocks, "
        in message
    )


@pytest.mark.parametrize(("value", "words"), ODD, ids=[words for _, words in ODD])
@pytest.mark.parametrize(
    "kind", ["dataset", "source", "adapter", "transfer", "evaluation", "executor"]
)
def test_product_of_a_factory_must_fit_its_kind(kind: str, value: object, words: str) -> None:
    article = "an" if kind[0] in "aeiou" else "a"

    assert error_of(lambda: check_product(component(kind), value)).startswith(
        f"the factory gave {words}; expected {article} {kind}"
    )


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"outcomes": [1, 2]}, "a list as its outcomes; expected a mapping"),
        (
            {"outcomes": {"accuracy": [0, 1]}},
            "a list as 'accuracy' of its outcomes; expected a tensor",
        ),
        (
            {"outcomes": {"accuracy": np.zeros(3)}},
            "an ndarray as 'accuracy' of its outcomes; expected a tensor",
        ),
        ({"metrics": {"loss": UINT8}}, "a Tensor as 'loss' of its metrics; expected a float"),
        ({"metrics": {"loss": "0.5"}}, "a str as 'loss' of its metrics; expected a float"),
        (
            {"metrics": {"loss": np.float32(1)}},
            "a float32 as 'loss' of its metrics; expected a float",
        ),
        ({"metrics": {1: 0.5}}, "the name 1 in its metrics; expected a str"),
        ({"samples": {"loss": [0.1]}}, "a list as 'loss' of its samples; expected a tensor"),
        ({"examples": UINT8}, "a Tensor as its examples; expected a sequence"),
        ({"examples": [None]}, "None among its examples; expected examples of the type Examples"),
        ({"checks": [{"name": "x"}]}, "a dict among its checks; expected checks of the type Check"),
        ({"files": {"map": "map.png"}}, "a str as the file 'map'; expected a Path"),
        (
            {"files": {"map": Path("/no/such.png")}},
            "'/no/such.png' as 'map' of its files; expected a file that is",
        ),
    ],
)
def test_fields_of_a_measurement_are_validated(
    fields: dict[str, Any], words: str
) -> None:  # Any: wrong on purpose
    given = Measurement(**{"outcomes": {"accuracy": UINT8}, **fields})

    assert error_of(lambda: plugin_values.require_measurement(component(), given)).startswith(
        f"measure gave {words}"
    )


def test_two_files_of_one_name_are_refused(
    tmp_path: Path,
) -> None:
    paths = [tmp_path / part / "map.png" for part in ("one", "two")]
    for path in paths:
        path.parent.mkdir()
        path.write_bytes(b"")
    given = Measurement(metrics={"x": 1.0}, files={"first": paths[0], "second": paths[1]})

    assert "two files of the name 'map.png' ('first' and 'second')" in error_of(
        lambda: plugin_values.require_measurement(component(), given)
    )


def test_valid_values_are_returned() -> None:
    check = Check("mine", "pass", 0.0, 0.0, 3, "fine")
    measured = Measurement(
        outcomes={"accuracy": UINT8}, metrics={"x": np.float64(1), "n": 2}, checks=(check,)
    )
    fitted = Fitted(
        curves=({"loss": 1.0},), facts={"n": 1}, snapshots={1: {"w": UINT8}}, chosen={"lr": "high"}
    )
    weights = Weights({"w": UINT8}, [{"loss": 0.1}])

    assert measured is plugin_values.require_measurement(component(), measured)
    assert fitted is plugin_values.require_fitted(component("transfer"), fitted)
    assert weights is plugin_values.require_weights(component("source"), weights)
    assert CARD is plugin_values.require_source_card(component("source"), CARD)


@dataclass(frozen=True)
class Given:
    """A data set that returns the given values."""

    a_card: Any
    a_part: Any

    def card(self) -> Any:  # noqa: ANN401  # Any: wrong on purpose
        return self.a_card

    def part(self, name: str) -> Any:  # noqa: ANN401  # Any: wrong on purpose
        return self.a_part


TOY: Dataset = toy(classes=2, train=4, test=6, shape=(1, 2, 2))


class Doubles:
    """Samples whose pixels are float64, or whatever is asked for."""

    def __init__(
        self, samples: Samples, inputs: Callable[[Tensor], Any]
    ) -> None:  # Any: wrong on purpose
        self.samples, self.inputs = samples, inputs
        self.card, self.keys, self.labels = samples.card, samples.keys, samples.labels

    def __len__(self) -> int:
        return len(self.samples)


TEST = TOY.part("test")


@pytest.mark.parametrize(
    ("card", "part", "words"),
    [
        (None, TEST, "card gave None; expected a DataCard"),
        (
            replace(TEST.card, shape=[1, 2, 2]),  # type: ignore[arg-type]  # the mistake
            TEST,
            "card gave a list as its shape; expected a tuple",
        ),
        (
            replace(TEST.card, outputs=2.0),  # type: ignore[arg-type]  # the mistake
            TEST,
            "card gave a float as its outputs; expected an int",
        ),
        (
            TEST.card,
            None,
            "part('test') gave None without card, keys, inputs, labels, __len__; expected samples",
        ),
        (
            TEST.card,
            [1, 2],
            "part('test') gave a list without card, keys, inputs, labels; expected samples",
        ),
        (
            TEST.card,
            Doubles(TEST, lambda rows: TEST.inputs(rows).double()),
            "part('test').inputs of one sample gave float64 of shape (1, 1, 2, 2); expected float32 of shape",
        ),
        (
            TEST.card,
            Doubles(TEST, lambda rows: np.zeros((1, 1, 2, 2))),
            "part('test').inputs of one sample gave an ndarray; expected float32 of shape (1, 1, 2, 2)",
        ),
    ],
)
def test_data_set_must_return_a_card_and_samples(card: object, part: object, words: str) -> None:
    held = plugin_values.ValidatedDataset(component("dataset"), Given(card, part))

    assert error_of(lambda: (held.card(), held.part("test"))).startswith(words)


def test_facts_of_weights_may_be_texts_and_those_of_fits_may_not() -> None:
    made = Weights({"w": UINT8}, facts={"key": "state_dict", "average": 0.5})

    assert made is plugin_values.require_weights(component("source"), made)
    with pytest.raises(PluginError, match="a list as 'key' of its facts; expected a float"):
        plugin_values.require_weights(
            component("source"),
            replace(made, facts={"key": ["state_dict"]}),  # type: ignore[dict-item]  # wrong on purpose
        )
    with pytest.raises(PluginError, match="a str as 'key' of its facts; expected a float"):
        plugin_values.require_fitted(component("transfer"), Fitted(facts={"key": "state_dict"}))  # type: ignore[dict-item]  # as above
