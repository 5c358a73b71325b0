"""Validation of the values that plugins return, before any of them is used.

First their types, then the contract of a `Measurement` (names, shapes, dtypes, ranges). Every error
names the plugin, the component and the function.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from advtransfer.host import Component
from advtransfer.host.component import check_return_value, return_error
from advtransfer.result.verdict import HOST_CHECKS
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
    """A plugin's data set whose card and parts are validated when they are read."""

    component: Component
    dataset: Dataset

    def card(self) -> DataCard:
        """Return its card."""
        card = check_return_value(self.component, "card", self.dataset.card(), DataCard)
        fields = {"shape": tuple, "outputs": int, "names": tuple, "digest": str}
        _require_fields(self.component, "card", card, fields)
        return card

    def part(self, name: Part) -> Samples:
        """Return one of its parts after validating the first sample."""
        call = f"part({name!r})"
        samples = self.dataset.part(name)
        missing = [attribute for attribute in SAMPLES_ATTRIBUTES if not hasattr(samples, attribute)]
        if missing:
            found = f"{type_text(samples)} without {', '.join(missing)}"
            expected = f"samples, which have {', '.join(SAMPLES_ATTRIBUTES)}"
            raise return_error(self.component, call, found, expected)
        check_return_value(self.component, f"{call}.card", samples.card, DataCard)
        if len(samples):
            self._validate_first_sample(call, samples)
        return samples

    def _validate_first_sample(self, call: str, samples: Samples) -> None:
        position = torch.arange(1)
        shape = (1, *samples.card.shape)
        inputs = samples.inputs(position)
        _require_tensor(
            self.component, f"{call}.inputs of one sample", inputs, torch.float32, shape
        )
        # Labels of other tasks have a dtype and a shape of their own.
        dtype = torch.int64 if samples.card.task == "classes" else None
        labels = samples.labels(position)
        _require_tensor(self.component, f"{call}.labels of one sample", labels, dtype, None)


def require_module(component: Component, call: str, value: object) -> nn.Module:
    """Return a plugin's value if it is a module.

    Raises:
        PluginError: It is not; so do the other functions of this module.
    """
    return check_return_value(component, call, value, nn.Module)


def require_network(component: Component, value: object) -> Network:
    """Return a source's network if it has blocks, a head and features."""
    module = require_module(component, "network", value)
    missing = [attribute for attribute in NETWORK_ATTRIBUTES if not hasattr(module, attribute)]
    if missing:
        found = f"{type_text(module)} without {', '.join(missing)}"
        expected = f"a Network, which has {', '.join(NETWORK_ATTRIBUTES)}"
        raise return_error(component, "network", found, expected)
    return cast(Network, module)


def load_weights(component: Component, module: nn.Module, tensors: Tensors) -> None:
    """Load a source's weights into its network.

    Raises:
        PluginError: They do not fit the network.
    """
    try:
        module.load_state_dict(dict(tensors))
    except RuntimeError as error:
        raise return_error(
            component, "weights", "others than its network has", f"those of `network` ({error})"
        ) from error


def require_source_card(component: Component, value: object) -> SourceCard:
    """Return a source's card if its fields have the stated types."""
    card = check_return_value(component, "card", value, SourceCard)
    _require_fields(component, "card", card, {"architecture": str, "shape": tuple, "outputs": int})
    return card


def require_weights(component: Component, value: object) -> Weights:
    """Return a source's weights if their fields have the stated types."""
    weights = check_return_value(component, "weights", value, Weights)
    _require_tensors(component, "weights", "tensors", weights.tensors)
    _require_rows(component, "weights", weights.curves)
    facts = _require_mapping(component, "weights", "facts", weights.facts)
    # Facts of weights are texts or numbers.
    numbers = {name: fact for name, fact in facts.items() if not isinstance(fact, str)}
    _require_numbers(component, "weights", "facts", numbers)
    return weights


def require_fitted(component: Component, value: object) -> Fitted:
    """Return the result of a fit if its fields have the stated types."""
    fitted = check_return_value(component, "fit", value, Fitted)
    _require_rows(component, "fit", fitted.curves)
    _require_numbers(component, "fit", "facts", fitted.facts)
    _require_mapping(component, "fit", "chosen", fitted.chosen)
    for epoch, state in _require_mapping(component, "fit", "snapshots", fitted.snapshots).items():
        if isinstance(epoch, bool) or not isinstance(epoch, int) or epoch < 0:
            raise return_error(
                component, "fit", f"a snapshot of the epoch {epoch!r}", "an int, 0 or more"
            )
        _require_tensors(component, "fit", f"snapshots[{epoch}]", state)
    return fitted


def require_measurement(component: Component, value: object) -> Measurement:
    """Return the result of an evaluation if its fields have the stated types."""
    measurement = check_return_value(component, "measure", value, Measurement)
    _require_tensors(component, "measure", "outcomes", measurement.outcomes)
    _require_tensors(component, "measure", "samples", measurement.samples)
    _require_numbers(component, "measure", "metrics", measurement.metrics)
    if isinstance(measurement.shares, str) or not isinstance(measurement.shares, Collection):
        raise return_error(
            component, "measure", f"shares {measurement.shares!r}", "a list of names"
        )
    _require_items(component, "examples", measurement.examples, Examples)
    _require_items(component, "checks", measurement.checks, Check)
    for examples in measurement.examples:
        tensors = {"positions": examples.positions, "inputs": examples.inputs}
        _require_tensors(component, "measure", "examples", tensors)
    _require_files(component, _require_mapping(component, "measure", "files", measurement.files))
    return measurement


def _require_items(component: Component, field: str, value: object, kind: type) -> None:
    for item in _require_sequence(component, "measure", field, value):
        if not isinstance(item, kind):
            found = f"{type_text(item)} among its {field}"
            expected = f"{field} of the type {kind.__name__}"
            raise return_error(component, "measure", found, expected)


def _require_files(component: Component, files: Mapping[str, object]) -> None:
    names: dict[str, str] = {}
    for name, path in files.items():
        if not isinstance(path, Path):
            found = f"{type_text(path)} as the file {name!r}"
            raise return_error(component, "measure", found, "a Path")
        # A link could point to a file that is changed or deleted before it is copied.
        if path.is_symlink() or not path.is_file():
            found = f"{str(path)!r} as {name!r} of its files"
            raise return_error(component, "measure", found, "a file that is there")
        if path.name in names:
            found = f"two files of the name {path.name!r} ({names[path.name]!r} and {name!r})"
            expected = "different names, since they are kept in one folder"
            raise return_error(component, "measure", found, expected)
        names[path.name] = name


def _require_fields(
    component: Component, call: str, value: object, kinds: Mapping[str, type]
) -> None:
    for name, kind in kinds.items():
        field = getattr(value, name)
        # A bool is an int to `isinstance`, but no field here is one.
        if not isinstance(field, kind) or isinstance(field, bool):
            found = f"{type_text(field)} as its {name}"
            raise return_error(component, call, found, with_article(kind.__name__))


def _require_tensor(
    component: Component,
    call: str,
    value: object,
    dtype: torch.dtype | None,
    shape: tuple[int, ...] | None,
) -> None:
    expected = "a tensor" if dtype is None else _dtype_name(dtype)
    if shape:
        expected = f"{expected} of shape {shape}"
    if not isinstance(value, Tensor):
        raise return_error(component, call, type_text(value), expected)
    if (dtype and value.dtype != dtype) or (shape and tuple(value.shape) != shape):
        found = f"{_dtype_name(value.dtype)} of shape {tuple(value.shape)}"
        raise return_error(component, call, found, expected)


def _dtype_name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


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


def _require_tensors(component: Component, call: str, field: str, value: object) -> None:
    for name, tensor in _require_mapping(component, call, field, value).items():
        _require_name(component, call, field, name)
        if not isinstance(tensor, Tensor):
            found = f"{type_text(tensor)} as {name!r} of its {field}"
            raise return_error(component, call, found, "a tensor")


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
    """Return the first violation of a measurement's contract on a test part; None if it is kept.

    Violations are outcomes of another length or with other values, numbers that are not finite, a
    name for both, checks with a name of the host's, and examples of no outcome metric, of no sample,
    or of another shape.
    """
    violations = chain(
        _outcome_violations(measurement, test),
        _metric_violations(measurement),
        _check_violations(measurement),
        *(_example_violations(examples, measurement, test) for examples in measurement.examples),
    )
    return next(violations, None)


def _outcome_violations(measurement: Measurement, test: Samples) -> Iterator[str]:
    for name, values in measurement.outcomes.items():
        if values.dtype != torch.uint8:
            yield (
                f"outcomes {name!r} are {_dtype_name(values.dtype)}; "
                "expected uint8 values of Outcome, in which right is 0 and not 1"
            )
        elif tuple(values.shape) != (len(test),):
            yield (
                f"outcomes {name!r} have shape {tuple(values.shape)}; "
                f"expected one per test sample, ({len(test)},)"
            )
        elif unknown := sorted(set(values.tolist()) - set(map(int, Outcome))):
            yield f"outcomes {name!r} hold {unknown}; expected 0 to 3"


def _metric_violations(measurement: Measurement) -> Iterator[str]:
    for name, number in measurement.metrics.items():
        if not math.isfinite(number):
            yield f"metric {name!r} is {number}; expected a number"
        if name in measurement.shares and not 0 <= number <= 1:
            yield f"share {name!r} is {number}; expected 0 to 1"
        if name in measurement.outcomes:
            yield (
                f"{name!r} is both an outcome metric and a number; "
                "expected one of them; give the other another name"
            )
    for name in sorted(set(measurement.shares) - set(measurement.metrics)):
        yield f"share {name!r} has no value; expected it in metrics"
    if not measurement.outcomes and not measurement.metrics:
        yield "measured nothing; expected outcomes or metrics"


def _check_violations(measurement: Measurement) -> Iterator[str]:
    for check in measurement.checks:
        # Such a check would be counted as the host's own when the result is judged.
        if check.name.partition("@")[0] in HOST_CHECKS:
            yield f"check {check.name!r} has a name of the host's own checks; expected another name"


def _example_violations(
    examples: Examples, measurement: Measurement, test: Samples
) -> Iterator[str]:
    name = f"examples of {examples.metric!r}"
    positions = examples.positions
    shape = tuple(examples.inputs.shape)
    if examples.metric not in measurement.outcomes:
        metrics = ", ".join(map(repr, measurement.outcomes)) or "none"
        yield f"{name} belong to no outcome metric; expected one of those measured: {metrics}"
    if examples.norm not in NORM_ORDERS or not 0 <= examples.eps < math.inf:
        yield (
            f"{name} are of norm {examples.norm!r} and eps {examples.eps!r}; "
            f"expected {', '.join(NORM_ORDERS)} and a finite radius"
        )
    if positions.dtype != torch.int64 or positions.ndim != 1:
        found = f"{positions.dtype} of shape {tuple(positions.shape)}"
        yield f"{name} have positions {found}; expected int64, one per example"
    elif len(positions) and not 0 <= int(positions.min()) <= int(positions.max()) < len(test):
        found = f"{int(positions.min())} to {int(positions.max())}"
        yield (
            f"{name} have positions from {found}; "
            f"expected positions of the test part, 0 to {len(test) - 1}"
        )
    expected = (len(positions), *test.card.shape)
    if shape != expected:
        yield f"{name} have inputs of shape {shape}; expected one image per position, {expected}"
