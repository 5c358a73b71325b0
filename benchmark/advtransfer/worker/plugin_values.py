"""Validation of the values that plugins return, before any of them is used.

First their types, then the contract of a `Measurement` (names, shapes, dtypes, ranges).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from advtransfer.host import Component
from advtransfer.host.component import check_return_value, return_error
from advtransfer.result.verdict import REQUIRED_CHECKS
from advtransfer.text import type_text, with_article
from advtransfer.types import (
    Check,
    DataCard,
    Dataset,
    Examples,
    Fitted,
    Measurement,
    Network,
    Outcome,
    Part,
    Samples,
    SourceCard,
    Tensors,
    Weights,
)
from advtransfer.worker.verification.examples import NORM_ORDERS

NETWORK_ATTRIBUTES = ("blocks", "head", "features")
SAMPLES_ATTRIBUTES = ("card", "keys", "inputs", "labels", "__len__")


@dataclass(frozen=True, slots=True)
class ValidatedDataset:
    """A plugin's data set whose card and parts are looked at."""

    component: Component
    dataset: Dataset

    def card(self) -> DataCard:
        """Its card."""
        card = check_return_value(self.component, "card", self.dataset.card(), DataCard)
        _require_fields(
            self.component,
            "card",
            card,
            {"shape": tuple, "outputs": int, "names": tuple, "digest": str},
        )
        return card

    def part(self, name: Part) -> Samples:
        """One of its parts; its first sample is looked at too."""
        call, samples = f"part({name!r})", self.dataset.part(name)
        if lacking := [one for one in SAMPLES_ATTRIBUTES if not hasattr(samples, one)]:
            found = f"{type_text(samples)} without {', '.join(lacking)}"
            raise return_error(
                self.component, call, found, f"samples, which have {', '.join(SAMPLES_ATTRIBUTES)}"
            )
        check_return_value(self.component, f"{call}.card", samples.card, DataCard)
        if len(samples):
            self._validate_first_sample(call, samples)
        return samples

    def _validate_first_sample(self, call: str, samples: Samples) -> None:
        position = torch.arange(1)
        inputs, shape = samples.inputs(position), (1, *samples.card.shape)
        _require_tensor(
            self.component, f"{call}.inputs of one sample", inputs, torch.float32, shape
        )
        labels, classes = samples.labels(position), samples.card.task == "classes"
        _require_tensor(
            self.component,
            f"{call}.labels of one sample",
            labels,
            torch.int64 if classes else None,
            None,
        )


def require_module(component: Component, call: str, value: object) -> nn.Module:
    """A module that a plugin made."""
    return check_return_value(component, call, value, nn.Module)


def require_network(component: Component, value: object) -> Network:
    """A source's network."""
    made = require_module(component, "network", value)
    if lacking := [name for name in NETWORK_ATTRIBUTES if not hasattr(made, name)]:
        expected = f"a Network, which has {', '.join(NETWORK_ATTRIBUTES)}"
        raise return_error(
            component, "network", f"{type_text(made)} without {', '.join(lacking)}", expected
        )
    return cast(Network, made)


def load_weights(component: Component, module: nn.Module, tensors: Tensors) -> None:
    """Load a source's weights into its network.

    Raises:
        PluginError: They do not fit it.
    """
    try:
        module.load_state_dict(dict(tensors))
    except RuntimeError as error:
        raise return_error(
            component, "weights", "others than its network has", f"those of `network` ({error})"
        ) from error


def require_source_card(component: Component, value: object) -> SourceCard:
    """A source's card."""
    card = check_return_value(component, "card", value, SourceCard)
    _require_fields(component, "card", card, {"architecture": str, "shape": tuple, "outputs": int})
    return card


def require_weights(component: Component, value: object) -> Weights:
    """A source's weights."""
    made = check_return_value(component, "weights", value, Weights)
    _require_tensors(component, "weights", "tensors", made.tensors)
    _require_rows(component, "weights", made.curves)
    words = {
        name
        for name, fact in _require_mapping(component, "weights", "facts", made.facts).items()
        if isinstance(fact, str)
    }
    _require_numbers(
        component,
        "weights",
        "facts",
        {name: made.facts[name] for name in made.facts.keys() - words},
    )
    return made


def require_fitted(component: Component, value: object) -> Fitted:
    """What a fit gave."""
    made = check_return_value(component, "fit", value, Fitted)
    _require_rows(component, "fit", made.curves)
    _require_numbers(component, "fit", "facts", made.facts)
    _require_mapping(component, "fit", "chosen", made.chosen)
    for epoch, state in _require_mapping(component, "fit", "snapshots", made.snapshots).items():
        if isinstance(epoch, bool) or not isinstance(epoch, int) or epoch < 0:
            raise return_error(
                component, "fit", f"a snapshot of the epoch {epoch!r}", "an int, 0 or more"
            )
        _require_tensors(component, "fit", f"snapshots[{epoch}]", state)
    return made


def require_measurement(component: Component, value: object) -> Measurement:
    """What an evaluation gave: all of its fields of the types that they state."""
    made = check_return_value(component, "measure", value, Measurement)
    _require_tensors(component, "measure", "outcomes", made.outcomes)
    _require_tensors(component, "measure", "samples", made.samples)
    _require_numbers(component, "measure", "metrics", made.metrics)
    for name, kind in (("examples", Examples), ("checks", Check)):
        for one in _require_sequence(component, "measure", name, getattr(made, name)):
            if not isinstance(one, kind):
                expected = f"{name} of the type {kind.__name__}"
                raise return_error(
                    component, "measure", f"{type_text(one)} among its {name}", expected
                )
    for one in made.examples:
        _require_tensors(
            component, "measure", "examples", {"positions": one.positions, "inputs": one.inputs}
        )
    _require_files(component, _require_mapping(component, "measure", "files", made.files))
    return made


def _require_files(component: Component, files: Mapping[str, object]) -> None:
    names: dict[str, str] = {}
    for name, path in files.items():
        if not isinstance(path, Path):
            raise return_error(
                component, "measure", f"{type_text(path)} as the file {name!r}", "a Path"
            )
        if path.is_symlink() or not path.is_file():
            raise return_error(
                component,
                "measure",
                f"{str(path)!r} as {name!r} of its files",
                "a file that is there",
            )
        if path.name in names:
            found = f"two files of the name {path.name!r} ({names[path.name]!r} and {name!r})"
            raise return_error(
                component, "measure", found, "names that differ, since they are kept in one folder"
            )
        names[path.name] = name


def _require_fields(
    component: Component, call: str, value: object, kinds: Mapping[str, type]
) -> None:
    for name, kind in kinds.items():
        if not isinstance(one := getattr(value, name), kind) or isinstance(one, bool):
            raise return_error(
                component, call, f"{type_text(one)} as its {name}", with_article(kind.__name__)
            )


def _require_tensor(
    component: Component,
    call: str,
    value: object,
    dtype: torch.dtype | None,
    shape: tuple[int, ...] | None,
) -> None:
    wanted = (
        f"{str(dtype or 'a tensor').removeprefix('torch.')}{f' of shape {shape}' if shape else ''}"
    )
    if not isinstance(value, Tensor):
        raise return_error(component, call, type_text(value), wanted)
    if (dtype and value.dtype != dtype) or (shape and tuple(value.shape) != shape):
        found = f"{str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}"
        raise return_error(component, call, found, wanted)


def _require_mapping(
    component: Component, call: str, field: str, value: object
) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise return_error(component, call, f"{type_text(value)} as its {field}", "a mapping")
    return value


def _require_sequence(
    component: Component, call: str, field: str, value: object
) -> Sequence[object]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise return_error(component, call, f"{type_text(value)} as its {field}", "a sequence")
    return value


def _require_tensors(component: Component, call: str, field: str, value: Tensors) -> None:
    for name, one in _require_mapping(component, call, field, value).items():
        _require_name(component, call, field, name)
        if not isinstance(one, Tensor):
            raise return_error(
                component, call, f"{type_text(one)} as {name!r} of its {field}", "a tensor"
            )


def _require_rows(component: Component, call: str, rows: object) -> None:
    for row in _require_sequence(component, call, "curves", rows):
        _require_numbers(component, call, "curves", row)


def _require_numbers(component: Component, call: str, field: str, value: object) -> None:
    for name, number in _require_mapping(component, call, field, value).items():
        _require_name(component, call, field, name)
        if not isinstance(number, int | float) or isinstance(number, bool):
            found = f"{type_text(number)} as {name!r} of its {field}"
            raise return_error(component, call, found, "a float; convert it with float(...)")


def _require_name(component: Component, call: str, field: str, name: object) -> None:
    if not isinstance(name, str):
        raise return_error(component, call, f"the name {name!r} in its {field}", "a str")


def contract_violation(measurement: Measurement, test: Samples) -> str | None:
    """What is wrong with a measurement of a test part, in words; None where nothing is.

    Wrong are outcomes of another length or with other values, numbers that are not finite, a name for both, checks
    under a name of the host's, and examples of no outcome metric, of no sample, or of another shape.
    """
    found = (
        _outcome_violations(measurement, test),
        _metric_violations(measurement),
        _check_violations(measurement),
        *(_example_violations(one, measurement, test) for one in measurement.examples),
    )
    return next(chain(*found), None)


def _outcome_violations(measurement: Measurement, test: Samples) -> Iterator[str]:
    for name, values in measurement.outcomes.items():
        if values.dtype != torch.uint8:
            kind = str(values.dtype).removeprefix("torch.")
            yield f"outcomes {name!r} are {kind}; expected uint8 values of Outcome, in which right is 0 and not 1"
        elif tuple(values.shape) != (len(test),):
            yield f"outcomes {name!r} have shape {tuple(values.shape)}; expected one a test sample, ({len(test)},)"
        elif unknown := sorted(set(values.tolist()) - set(map(int, Outcome))):
            yield f"outcomes {name!r} hold {unknown}; expected 0 to 3"


def _metric_violations(measurement: Measurement) -> Iterator[str]:
    for name, number in measurement.metrics.items():
        if not math.isfinite(number):
            yield f"metric {name!r} is {number}; expected a number"
        if name in measurement.outcomes:
            yield f"{name!r} is both an outcome metric and a number; expected one of them, under a name of its own"
    if not measurement.outcomes and not measurement.metrics:
        yield "measured nothing; expected outcomes or metrics"


def _check_violations(measurement: Measurement) -> Iterator[str]:
    for check in measurement.checks:
        if check.name.partition("@")[0] in REQUIRED_CHECKS:
            yield f"check {check.name!r} has a name that the host's own evidence has; expected another one"


def _example_violations(one: Examples, measurement: Measurement, test: Samples) -> Iterator[str]:
    name, positions, shape = f"examples of {one.metric!r}", one.positions, tuple(one.inputs.shape)
    if one.metric not in measurement.outcomes:
        known = ", ".join(map(repr, measurement.outcomes)) or "none"
        yield f"{name} belong to no outcome metric; expected one of those measured: {known}"
    if one.norm not in NORM_ORDERS or not 0 <= one.eps < math.inf:
        yield f"{name} are of norm {one.norm!r} and eps {one.eps!r}; expected {', '.join(NORM_ORDERS)} and a finite radius"
    if positions.dtype != torch.int64 or positions.ndim != 1:
        found = f"{positions.dtype} of shape {tuple(positions.shape)}"
        yield f"{name} have positions {found}; expected int64, one an example"
    elif len(positions) and not 0 <= int(positions.min()) <= int(positions.max()) < len(test):
        found = f"{int(positions.min())} to {int(positions.max())}"
        yield f"{name} have positions from {found}; expected positions of the test part, 0 to {len(test) - 1}"
    expected = (len(positions), *test.card.shape)
    if shape != expected:
        yield f"{name} have inputs of shape {shape}; expected one image a position, {expected}"
