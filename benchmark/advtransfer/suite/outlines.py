"""Outlines of a suite's nodes before any of them is built, and misfits of their options."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from advtransfer.host import Component, Host
from advtransfer.node import Node
from advtransfer.options import ContentKind
from advtransfer.precheck import CellOutline, Misfit, OptionValues, Outline, precheck_of
from advtransfer.suite.sections import VIEW_OPTIONS
from advtransfer.types import File, Folder, Json

UNKNOWN_OUTLINE = Outline()


class Outlines:
    """Outlines and factory options by node id, each made once."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._outlines: dict[str, Outline] = {}
        self._factory_options: dict[str, OptionValues] = {}

    def outline_of(self, node: Node | None) -> Outline:
        """Return the outline of a source, or of a data set with its view."""
        if node is None:
            return UNKNOWN_OUTLINE
        # Nodes of one id give the same data, so one outline serves all of them.
        if node.id not in self._outlines:
            self._outlines[node.id] = _outline_through_view(self._base_outline(node), node.options)
        return self._outlines[node.id]

    def outline_below_view(self, node: Node) -> Outline:
        """Return the outline of a data set without its view."""
        # Outside of a view, the node has another id and so its own outline.
        options = {name: value for name, value in node.options.items() if name not in VIEW_OPTIONS}
        return self.outline_of(replace(node, options=options))

    def factory_options(self, node: Node) -> OptionValues:
        """Return the options of a node as its factory gets them, outlines in place of nodes."""
        if node.id not in self._factory_options:
            self._factory_options[node.id] = self._build_options(
                node, self._host.component(node.use)
            )
        return self._factory_options[node.id]

    def node_misfits(self, node: Node, surroundings: CellOutline) -> Iterator[Misfit]:
        """Yield the options of a node that cannot work in these surroundings."""
        check = precheck_of(self._host.component(node.use).factory).check
        if check is not None:
            yield from check(self.factory_options(node), surroundings)

    def metric_names(self, node: Node) -> frozenset[str] | None:
        """Return the metrics that an evaluation can give, or None where it declares none."""
        metrics = precheck_of(self._host.component(node.use).factory).metrics
        return None if metrics is None else frozenset(metrics(self.factory_options(node)))

    def file_names(self, node: Node) -> frozenset[str] | None:
        """Return the files that an evaluation can write, or None where it declares none."""
        files = precheck_of(self._host.component(node.use).factory).files
        return None if files is None else frozenset(files(self.factory_options(node)))

    def _base_outline(self, node: Node) -> Outline:
        component = self._host.component(node.use)
        make_outline = precheck_of(component.factory).outline
        outline = UNKNOWN_OUTLINE
        if make_outline is not None:
            outline = make_outline(self.factory_options(node))
        # A component may declare a fixed shape, or name the input whose shape it keeps.
        declared = component.metadata.shape
        if outline.shape is None and isinstance(declared, str):
            below = node.inputs.get(declared)
            shape = self.outline_of(below).shape if isinstance(below, Node) else None
            outline = replace(outline, shape=shape)
        elif outline.shape is None and isinstance(declared, tuple):
            outline = replace(outline, shape=declared)
        tasks = component.metadata.tasks
        if node.kind == "data" and outline.task is None and len(tasks) == 1:
            outline = replace(outline, task=next(iter(tasks)))
        return outline

    def _build_options(self, node: Node, component: Component) -> OptionValues:
        fields = component.options.fields
        node_options = {**node.options, **node.options_not_in_id}
        plain = {
            name: value
            for name, value in node_options.items()
            if name in fields and fields[name].is_plain
        }
        parts: dict[str, Outline | tuple[Outline, ...]] = {}
        for name, part in node.inputs.items():
            if isinstance(part, tuple):
                parts[name] = tuple(map(self.outline_of, part))
            else:
                parts[name] = self.outline_of(part)
        contents = {
            name: _file_option(field.file, node.options[name], node.files)
            for name, field in fields.items()
            if field.file and name in node.options and not field.many
        }
        return {**component.options.python_values(plain), **parts, **contents}


def _file_option(kind: ContentKind, value: Json, files: Mapping[str, str]) -> File | Folder:
    """Return a file or folder option as the factory gets it."""
    sha256 = str(cast("Mapping[str, Json]", value)["sha256"])
    return (File if kind == "file" else Folder)(Path(files[sha256]), sha256)


def _selected_counts(
    counts: tuple[int, ...] | None, classes: Sequence[Json]
) -> tuple[int, ...] | None:
    """Return the images of each selected class, or None where they are unknown."""
    if counts is None:
        return None
    numbers = [number for number in classes if isinstance(number, int)]
    if len(numbers) < len(classes) or any(number >= len(counts) for number in numbers):
        return None
    return tuple(counts[number] for number in numbers)


def _selected_names(
    names: tuple[str, ...] | None, classes: Sequence[Json]
) -> tuple[str, ...] | None:
    numbers = [number for number in classes if isinstance(number, int)]
    if names is None or len(numbers) < len(classes) or any(each >= len(names) for each in numbers):
        return None
    return tuple(names[number] for number in numbers)


def _outline_through_view(outline: Outline, view: Mapping[str, Json]) -> Outline:
    """Return the outline of a data set through a view."""
    classes, channels, size, attribute = (view.get(name) for name in VIEW_OPTIONS)
    if attribute is not None:
        outline = replace(
            outline, task="classes", outputs=2, train_counts=None, test_counts=None, names=None
        )
    if isinstance(classes, list):
        train = _selected_counts(outline.train_counts, classes)
        test = _selected_counts(outline.test_counts, classes)
        outline = replace(
            outline,
            outputs=len(classes),
            names=_selected_names(outline.names, classes),
            train_counts=train,
            test_counts=test,
            train=sum(train) if train else outline.train,
            test=sum(test) if test else outline.test,
        )
    if outline.shape is not None and len(outline.shape) == 3:
        depth = channels if isinstance(channels, int) else outline.shape[0]
        sides = (size, size) if isinstance(size, int) else outline.shape[1:]
        outline = replace(outline, shape=(depth, *sides))
    return outline
