"""The view that a suite may lay over any data set: which classes, how many channels, what size."""

from __future__ import annotations

from collections.abc import Mapping

from advtransfer.suite import expect
from advtransfer.suite.marked import Marked
from advtransfer.suite.problems import Problems
from advtransfer.suite.sections import VIEWS
from advtransfer.suite.sweep import distinct
from advtransfer.types import Json


def views(options: Mapping[str, Marked], *, problems: Problems) -> dict[str, Json]:
    """The view's part of a data set's options; nothing for what is not written."""
    readers = {"classes": _classes, "channels": _channels, "size": _size}
    said = {name: options[name] for name in VIEWS if name in options and options[name].value is not None}
    return {name: readers[name](value, problems) for name, value in said.items()}


def _classes(value: Marked, problems: Problems) -> Json:
    expected = "a list of at least two class numbers; they become 0, 1, ... in this order"
    numbers = expect.listed(value, expected=expected, problems=problems)
    kept = distinct(numbers, of="`classes`", problems=problems)
    if len(numbers) == 1:
        expect.wrong(value, expected=expected, next_step="add a class", problems=problems)
    return [expect.integer(one, at_least=0, expected="a class number from 0", problems=problems) for one in kept]


def _channels(value: Marked, problems: Problems) -> Json:
    channels = expect.integer(value, at_least=1, expected="1 (their mean) or 3 (repeated)", problems=problems)
    if channels not in (None, 1, 3):
        expect.wrong(value, expected="1 (their mean) or 3 (repeated)", next_step="correct it", problems=problems)
    return channels


def _size(value: Marked, problems: Problems) -> Json:
    return expect.integer(value, at_least=1, expected="the side of a square in pixels", problems=problems)
