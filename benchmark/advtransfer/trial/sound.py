"""Whether a measurement keeps the contract: only then is it looked at what it says."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import chain

import torch

from advtransfer.trial.legality import ORDERS
from advtransfer.types import Examples, Measurement, Outcome, Samples
from advtransfer.verdict import REQUIRED


def unsound(measurement: Measurement, test: Samples) -> str | None:
    """What is wrong with a measurement of a test part, in words; None where nothing is.

    Wrong are outcomes of another length or with other values, numbers that are not finite, a name for both, checks
    under a name of the host's, and examples of no outcome metric, of no sample, or of another shape.
    """
    found = (
        _outcomes(measurement, test),
        _metrics(measurement),
        _checks(measurement),
        *(_examples(one, measurement, test) for one in measurement.examples),
    )
    return next(chain(*found), None)


def _outcomes(measurement: Measurement, test: Samples) -> Iterator[str]:
    for name, values in measurement.outcomes.items():
        if values.dtype != torch.uint8:
            kind = str(values.dtype).removeprefix("torch.")
            yield f"outcomes {name!r} are {kind}; expected uint8 values of Outcome, in which right is 0 and not 1"
        elif tuple(values.shape) != (len(test),):
            yield f"outcomes {name!r} have shape {tuple(values.shape)}; expected one a test sample, ({len(test)},)"
        elif unknown := sorted(set(values.tolist()) - set(map(int, Outcome))):
            yield f"outcomes {name!r} hold {unknown}; expected 0 to 3"


def _metrics(measurement: Measurement) -> Iterator[str]:
    for name, number in measurement.metrics.items():
        if not math.isfinite(number):
            yield f"metric {name!r} is {number}; expected a number"
        if name in measurement.outcomes:
            yield f"{name!r} is both an outcome metric and a number; expected one of them, under a name of its own"
    if not measurement.outcomes and not measurement.metrics:
        yield "measured nothing; expected outcomes or metrics"


def _checks(measurement: Measurement) -> Iterator[str]:
    for check in measurement.checks:
        if check.name.partition("@")[0] in REQUIRED:
            yield f"check {check.name!r} has a name that the host's own evidence has; expected another one"


def _examples(one: Examples, measurement: Measurement, test: Samples) -> Iterator[str]:
    name, positions, shape = f"examples of {one.metric!r}", one.positions, tuple(one.inputs.shape)
    if one.metric not in measurement.outcomes:
        known = ", ".join(map(repr, measurement.outcomes)) or "none"
        yield f"{name} belong to no outcome metric; expected one of those measured: {known}"
    if one.norm not in ORDERS or not 0 <= one.eps < math.inf:
        yield f"{name} are of norm {one.norm!r} and eps {one.eps!r}; expected {', '.join(ORDERS)} and a finite radius"
    if positions.dtype != torch.int64 or positions.ndim != 1:
        found = f"{positions.dtype} of shape {tuple(positions.shape)}"
        yield f"{name} have positions {found}; expected int64, one an example"
    elif len(positions) and not 0 <= int(positions.min()) <= int(positions.max()) < len(test):
        found = f"{int(positions.min())} to {int(positions.max())}"
        yield f"{name} have positions from {found}; expected positions of the test part, 0 to {len(test) - 1}"
    expected = (len(positions), *test.card.shape)
    if shape != expected:
        yield f"{name} have inputs of shape {shape}; expected one image a position, {expected}"
