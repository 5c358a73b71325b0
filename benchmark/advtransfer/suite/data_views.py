"""Reader of the options that select a view of a data set, and checks against what it can give."""

from __future__ import annotations

from collections.abc import Mapping

from advtransfer.precheck import Outline
from advtransfer.suite import validators
from advtransfer.suite.located import Located, Problems
from advtransfer.suite.sections import MAX_IMAGE_SIDE, VIEW_OPTIONS
from advtransfer.types import Json


def read_view(options: Mapping[str, Located], *, problems: Problems) -> dict[str, Json]:
    """Return the view's part of a data set's options; options not written are left out."""
    readers = {
        "classes": _read_classes,
        "channels": _read_channels,
        "size": _read_size,
        "attribute": _read_attribute,
    }
    view: dict[str, Json] = {}
    for name in VIEW_OPTIONS:
        if name in options and options[name].value is not None:
            view[name] = readers[name](options[name], problems)
    return view


def check_view(data: Outline, view: Mapping[str, Located], problems: Problems) -> None:
    """Add problems for a view that its data set cannot give, as far as the data set is known."""
    if "classes" in view:
        _check_classes(data, view["classes"], problems)
    if "attribute" in view:
        _check_attribute(data, view["attribute"], problems)
    if data.shape is None:
        return
    for name in ("channels", "size"):
        if name in view and len(data.shape) != 3:
            problems.add(
                view[name].name_location,
                found=f"`{name}`",
                expected=f"none over inputs of shape {data.shape}, which are no images",
                next_step="leave it out",
            )
    # Only gray images can be repeated to 3 channels.
    is_repeated = "channels" in view and view["channels"].value == 3
    if is_repeated and len(data.shape) == 3 and data.shape[0] not in (1, 3):
        expected = f"1, or no `channels`, over images of {data.shape[0]} channels"
        validators.add_mismatch(
            view["channels"], expected=expected, next_step="correct it", problems=problems
        )


def _check_classes(data: Outline, classes: Located, problems: Problems) -> None:
    if data.task not in (None, "classes"):
        problems.add(
            classes.name_location,
            found="`classes`",
            expected=f"no `classes`, since the labels are {data.task}",
            next_step="leave them out",
        )
    elif data.outputs is not None and isinstance(classes.value, tuple):
        for number in classes.value:
            if isinstance(number.value, int) and number.value >= data.outputs:
                expected = f"a class from 0 to {data.outputs - 1}"
                validators.add_mismatch(
                    number, expected=expected, next_step="correct it", problems=problems
                )


def _check_attribute(data: Outline, attribute: Located, problems: Problems) -> None:
    if data.task not in (None, "attributes"):
        problems.add(
            attribute.name_location,
            found="`attribute`",
            expected=f"no `attribute`, since the labels are {data.task}",
            next_step="leave it out",
        )
        return
    # A name is looked up when the data set is built: an outline has no names.
    number = attribute.value
    if data.outputs is not None and isinstance(number, int) and number >= data.outputs:
        expected = f"a name, or a number from 0 to {data.outputs - 1}"
        validators.add_mismatch(
            attribute, expected=expected, next_step="correct it", problems=problems
        )


def _read_classes(value: Located, problems: Problems) -> Json:
    expected = "a list of at least two class numbers; they become 0, 1, ... in this order"
    numbers = validators.require_list(value, expected=expected, problems=problems)
    distinct = validators.require_distinct(numbers, of="`classes`", problems=problems)
    if len(numbers) == 1:
        validators.add_mismatch(
            value, expected=expected, next_step="add a class", problems=problems
        )
    return [
        validators.require_integer(
            number, at_least=0, expected="a class number from 0", problems=problems
        )
        for number in distinct
    ]


def _read_channels(value: Located, problems: Problems) -> Json:
    expected = "1 (their mean) or 3 (repeated)"
    channels = validators.require_integer(value, at_least=1, expected=expected, problems=problems)
    if channels not in (None, 1, 3):
        validators.add_mismatch(value, expected=expected, next_step="correct it", problems=problems)
    return channels


def _read_size(value: Located, problems: Problems) -> Json:
    expected = f"the side of a square in pixels, from 1 to {MAX_IMAGE_SIDE:,}"
    return validators.require_integer(
        value, at_least=1, at_most=MAX_IMAGE_SIDE, expected=expected, problems=problems
    )


def _read_attribute(value: Located, problems: Problems) -> Json:
    expected = "the name of an attribute, or its number from 0"
    if isinstance(value.value, str):
        return validators.require_text(value, expected=expected, problems=problems)
    return validators.require_integer(value, at_least=0, expected=expected, problems=problems)
