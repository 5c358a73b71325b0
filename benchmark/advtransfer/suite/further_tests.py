"""``also`` of a target: further data sets on whose test parts its fitted models are evaluated too.

A suite measures distribution shift with it (Kumar et al., "Fine-Tuning can Distort Pretrained Features
and Underperform Out-of-Distribution", ICLR 2022): a fit sees the target alone, and each evaluation of
the fitted model is measured on the target's test part and again on that of each further data set D, as
an evaluation of its own named ``EVALUATION/D``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import product

from advtransfer.errors import Location
from advtransfer.node import Node, canonical_json
from advtransfer.precheck import Outline
from advtransfer.suite import validators
from advtransfer.suite.grid_entries import GridEntries
from advtransfer.suite.located import Located, Problems, join_names, quote_name
from advtransfer.suite.sections import VIEW_OPTIONS, label_fault
from advtransfer.suite.selection import Axis, AxisName
from advtransfer.suite.suite import GridEntry, Target
from advtransfer.types import Json

CLASS_OPTIONS = ("classes", "attribute")
"""Options of a view that select classes; the others change inputs."""
SEPARATOR = "/"
"""Between an evaluation and a further data set. No name of an entry has one, and it means nothing in
metrics, unlike ``@``, which stands before radii and epochs."""


def read_further_data(
    value: Located,
    data: GridEntry | None,
    *,
    test: int | None,
    entries: GridEntries,
    problems: Problems,
) -> tuple[GridEntry, ...]:
    """Return the data sets of a target's ``also``, each a named entry of ``datasets``.

    Problems are an inline entry, a data set that is listed twice or is the target's own, and one on
    which the target's models cannot be measured, as far as it is known before it is read.

    Args:
        value: The list of names.
        data: The target's own data; None where it has mistakes.
        test: The number of test images to measure; None for all.
        entries: The entries of the suite.
        problems: Collects the problems.
    """
    cells: list[GridEntry] = []
    seen = set() if data is None else {data.node.id}
    for item in validators.require_list(
        value, expected="a list of names of data sets", problems=problems
    ):
        cell = _named_data(item, entries, problems)
        if cell is None:
            continue
        cells.append(cell)
        if cell.node.id in seen:
            problems.add(
                item.location,
                found=f"{item.shown_text()}, which is the target's own data or listed before",
                expected="each further data set once",
                next_step="remove it",
            )
            continue
        seen.add(cell.node.id)
        if data is not None and _is_reordered(data.node, cell.node):
            own_classes, classes = (node.options["classes"] for node in (data.node, cell.node))
            problems.add(
                item.location,
                found=f"{item.shown_text()} with the classes {classes} of the target's own data",
                expected=f"{own_classes}, in the order of the target's own data",
                next_step="correct `classes` of its entry",
            )
        own = entries.outlines.outline_of(data.node if data else None)
        _check_same_task(item, own, entries.outlines.outline_of(cell.node), test, problems)
    return tuple(cells)


def _named_data(item: Located, entries: GridEntries, problems: Problems) -> GridEntry | None:
    if isinstance(item.value, Mapping):
        problems.add(
            item.location,
            found="an inline data set",
            expected="the name of an entry of `datasets`, which its columns are named by",
            next_step="move it to `datasets`, and write its name here",
        )
        return None
    return entries.single_entry("dataset", item, key="also")


def _is_reordered(own: Node, further: Node) -> bool:
    """Return whether two nodes select the same classes of one data set in different orders.

    Numbers are names there: a model's answer would be held against another class.
    """
    if (own.use, own.version, own.inputs) != (further.use, further.version, further.inputs):
        return False
    unselected = [
        {name: value for name, value in node.options.items() if name not in VIEW_OPTIONS}
        for node in (own, further)
    ]
    first, second = (node.options.get("classes") for node in (own, further))
    if (
        unselected[0] != unselected[1]
        or not isinstance(first, list)
        or not isinstance(second, list)
    ):
        return False
    return first != second and sorted(map(str, first)) == sorted(map(str, second))


def _check_same_task(
    item: Located, own: Outline, further: Outline, test: int | None, problems: Problems
) -> None:
    """Add problems for a further data set on which a model of the target cannot be measured."""
    name = item.shown_text()
    properties: tuple[tuple[str, object, object, str], ...] = (
        ("labels of the kind", further.task, own.task, "name a data set of the same task"),
        ("classes:", further.outputs, own.outputs, "select the same ones by `classes`"),
        ("inputs of shape", further.shape, own.shape, "set `size` and `channels` of its entry"),
        ("inputs within", further.bounds, own.bounds, "name a data set with the same bounds"),
    )
    for noun, found, expected, next_step in properties:
        if None not in (found, expected) and found != expected:
            problems.add(
                item.location,
                found=f"{name} with {noun} {found}",
                expected=f"{expected}, as in the target's own data",
                next_step=next_step,
            )
    if own.names and further.names and class_names_differ(own.names, further.names):
        problems.add(
            item.location,
            found=f"{name} with the classes {join_names(further.names)}",
            expected=f"{join_names(own.names)}, as in the target's own data",
            next_step="name a data set of the same classes in the same order",
        )
    if test is not None and further.test is not None and test > further.test:
        problems.add(
            item.location,
            found=f"{name} with {further.test:,} test images",
            expected=f"at least {test:,}, the `test` of the target",
            next_step="lower `test`, or write all",
        )


def class_names_differ(own: Sequence[str], further: Sequence[str]) -> bool:
    """Return whether the classes of two data sets have other names; numbers in place of names say nothing."""
    is_numbered = are_numbered(own) or are_numbered(further)
    return not is_numbered and tuple(own) != tuple(further)


def are_numbered(names: Sequence[str] | None) -> bool:
    """Return whether classes have no names, or only numbers in their place."""
    return all(name.isdigit() for name in names or ())


def select_same_data(own: Node, further: Node) -> bool:
    """Return whether two nodes select the same classes of one data set, whose numbers mean the same in both.

    Other draws, sizes and portions of a data set are the same one, other options are not.
    """
    return _selected_origins(own) == _selected_origins(further)


def _selected_origins(node: Node, selected: tuple[Json, ...] = ()) -> frozenset[str]:
    """Return the data sets below a node, each with what is selected of its classes."""
    views = (node.options.get(name) for name in CLASS_OPTIONS)
    selected += tuple(view for view in views if view is not None)
    inputs = [
        each
        for value in node.inputs.values()
        for each in (value if isinstance(value, tuple) else (value,))
        if each.kind == "data"
    ]
    if inputs:
        return frozenset().union(*(_selected_origins(each, selected) for each in inputs))
    options: dict[str, Json] = {
        name: value
        for name, value in node.options.items()
        if name not in VIEW_OPTIONS and not name.endswith("seed")
    }
    return frozenset([canonical_json([node.use, node.version, options, list(selected)])])


def further_evaluations(
    evaluations: Iterable[GridEntry], further_data: Iterable[GridEntry]
) -> tuple[GridEntry, ...]:
    """Return the evaluations of fitted models on further data sets.

    What is measured without a fitted model, such as transferability before the transfer, asks
    nothing of a further test part.
    """
    data_by_label = {cell.label: cell for cell in further_data}
    # Data set by data set, in which order a job measures them: few fit into a worker's memory.
    return tuple(
        replace(
            cell,
            label=further_name(cell.label, data.label),
            row=further_name(cell.row, data.label),
            test_data=data,
        )
        for data, cell in product(data_by_label.values(), _of_fitted_models(evaluations))
    )


def is_measured_at(evaluation: GridEntry, target: Target) -> bool:
    """Return whether an evaluation is measured at a target; on further data where the target lists them."""
    data = evaluation.test_data
    return data is None or any(data.label == cell.label for cell in target.also)


def axis_with_further_names(
    axis: Axis,
    evaluations: Sequence[GridEntry],
    further_data: Sequence[GridEntry],
    *,
    complete: bool,
    location: Location | None,
    problems: Problems,
) -> Axis:
    """Return the axis of evaluations with the names of those on further data sets.

    Args:
        axis: The names of the evaluations that the suite writes.
        evaluations: Their cells.
        further_data: The further data sets of all targets.
        complete: Whether no mistake keeps a further data set unknown.
        location: Where the targets are written.
        problems: Collects the problems: a name that means two things or cannot be printed.
    """
    if complete and not further_data:
        return axis
    labels: dict[AxisName, set[AxisName]] = {name: set(group) for name, group in axis.names.items()}
    owners: dict[str, tuple[str, str]] = {}
    data_by_label: dict[str, GridEntry] = {}
    for data in further_data:
        if data_by_label.setdefault(data.label, data).node.id != data.node.id:
            problems.add(
                location,
                found=f"the label {quote_name(data.label)} of two further data sets",
                expected="a label of its own for each",
                next_step="rename one of the two",
            )
    for cell, data in product(_of_fitted_models(evaluations), data_by_label.values()):
        label = further_name(cell.label, data.label)
        owner = (cell.label, data.label)
        fault = label_fault(label)
        if label in axis.names or owners.setdefault(label, owner) != owner:
            fault = "another name, since two evaluations have this one"
        if fault is not None:
            problems.add(
                location,
                found=f"{quote_name(label)}, the evaluation {cell.label} on {data.label}",
                expected=fault,
                next_step="rename one of the two",
            )
        for name in product((cell.key, cell.row, cell.label), (data.key, data.label)):
            labels.setdefault(further_name(*name), set()).add(label)
    # A mistake in `also` or in an evaluation may hide some of these names, and is reported there.
    hidden = [pattern.pattern for pattern in axis.unresolved] if complete else [".*"]
    patterns = (re.compile(f"(?:{pattern}){SEPARATOR}.*") for pattern in hidden)
    names = {name: frozenset(group) for name, group in labels.items()}
    return Axis(names, (*axis.unresolved, *patterns))


def _of_fitted_models(evaluations: Iterable[GridEntry]) -> list[GridEntry]:
    return [cell for cell in evaluations if "model" in cell.facts.needs]


def further_name(name: str, data: str) -> str:
    """Return the name of an evaluation or target on a further data set: ``EVALUATION/DATA``."""
    return f"{name}{SEPARATOR}{data}"
