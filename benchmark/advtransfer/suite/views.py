"""The view that a suite may lay over any data set: which classes, how many channels, what size."""

from __future__ import annotations

from collections.abc import Mapping

from advtransfer.precheck import Outline
from advtransfer.suite import expect
from advtransfer.suite.limits import MOST_PIXELS
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


def check_view(data: Outline, said: Mapping[str, Marked], problems: Problems) -> None:
    """Note what of a view the data set below cannot give, as far as that is known."""
    classes, channels, shape = said.get("classes"), said.get("channels"), data.shape
    if classes is not None and data.task not in (None, "classes"):
        expected = f"no `classes`, since the labels are {data.task}"
        problems.add(classes.name_mark, found="`classes`", expected=expected, next_step="leave them out")
    elif classes is not None and data.outputs is not None and isinstance(classes.value, tuple):
        for one in classes.value:
            if isinstance(one.value, int) and one.value >= data.outputs:
                expected = f"a class from 0 to {data.outputs - 1}"
                expect.wrong(one, expected=expected, next_step="correct it", problems=problems)
    for name in ("channels", "size"):
        if name in said and shape is not None and len(shape) != 3:
            expected = f"none over inputs of shape {shape}, which are no images"
            problems.add(said[name].name_mark, found=f"`{name}`", expected=expected, next_step="leave it out")
    if (
        channels is not None
        and shape is not None
        and channels.value == 3
        and len(shape) == 3
        and shape[0] not in (1, 3)
    ):
        expected = f"1, or no `channels`, over images of {shape[0]} channels"
        expect.wrong(channels, expected=expected, next_step="correct it", problems=problems)


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
    expected = f"the side of a square in pixels, from 1 to {MOST_PIXELS:,}"
    return expect.integer(value, at_least=1, at_most=MOST_PIXELS, expected=expected, problems=problems)
