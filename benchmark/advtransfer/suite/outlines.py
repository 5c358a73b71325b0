"""What is known of a suite's nodes before any of them is built, and what their components say against them."""

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
    """Outlines and options by node, each made once."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._outlines: dict[str, Outline] = {}
        self._chosen: dict[str, OptionValues] = {}

    def outline_of(self, node: Node | None) -> Outline:
        """What is known of a data set, with its view, or of a source."""
        if node is None:
            return UNKNOWN_OUTLINE
        if node.id not in self._outlines:
            self._outlines[node.id] = _outline_through_view(self._base_outline(node), node.options)
        return self._outlines[node.id]

    def outline_below_view(self, node: Node) -> Outline:
        """What is known of a data set below its view."""
        return self.outline_of(
            replace(
                node,
                options={
                    name: one for name, one in node.options.items() if name not in VIEW_OPTIONS
                },
            )
        )

    def factory_options(self, node: Node) -> OptionValues:
        """The options of a node as its factory gets them, with outlines in place of data sets and sources."""
        if node.id not in self._chosen:
            self._chosen[node.id] = self._build_options(node, self._host.component(node.use))
        return self._chosen[node.id]

    def node_misfits(self, node: Node, surroundings: CellOutline) -> Iterator[Misfit]:
        """The options of a node that cannot work in these surroundings."""
        check = precheck_of(self._host.component(node.use).factory).check
        if check is not None:
            yield from check(self.factory_options(node), surroundings)

    def metric_names(self, node: Node) -> frozenset[str] | None:
        """The metrics that an evaluation can give; None where it does not say."""
        metrics = precheck_of(self._host.component(node.use).factory).metrics
        return None if metrics is None else frozenset(metrics(self.factory_options(node)))

    def _base_outline(self, node: Node) -> Outline:
        component = self._host.component(node.use)
        outline = precheck_of(component.factory).outline
        found = outline(self.factory_options(node)) if outline is not None else UNKNOWN_OUTLINE
        stated, tasks = component.metadata.shape, component.metadata.tasks
        if found.shape is None and isinstance(stated, str):
            below = node.inputs.get(stated)
            shape = self.outline_of(below).shape if isinstance(below, Node) else None
            found = replace(found, shape=shape)
        elif found.shape is None and isinstance(stated, tuple):
            found = replace(found, shape=stated)
        if node.kind == "data" and found.task is None and len(tasks) == 1:
            found = replace(found, task=next(iter(tasks)))
        return found

    def _build_options(self, node: Node, component: Component) -> OptionValues:
        fields = component.options.fields
        plain = {name for name, field in fields.items() if field.is_plain}
        values = {
            name: one
            for name, one in {**node.options, **node.options_not_in_id}.items()
            if name in plain
        }
        parts = {
            name: tuple(map(self.outline_of, one))
            if isinstance(one, tuple)
            else self.outline_of(one)
            for name, one in node.inputs.items()
        }
        contents = {
            name: _file_option(field.file, node.options[name], node.files)
            for name, field in fields.items()
            if field.file and name in node.options and not field.many
        }
        return {**component.options.python_values(values), **parts, **contents}


def _file_option(kind: ContentKind, value: Json, files: Mapping[str, str]) -> File | Folder:
    """A file or folder option as the factory gets it."""
    sha256 = str(cast("Mapping[str, Json]", value)["sha256"])
    return (File if kind == "file" else Folder)(Path(files[sha256]), sha256)


def _selected_counts(
    counts: tuple[int, ...] | None, classes: Sequence[Json]
) -> tuple[int, ...] | None:
    if counts is None or not all(isinstance(one, int) and one < len(counts) for one in classes):
        return None
    return tuple(counts[one] for one in classes if isinstance(one, int))


def _outline_through_view(base: Outline, view: Mapping[str, Json]) -> Outline:
    """The outline of a data set through a view."""
    classes, channels, size = (view.get(name) for name in VIEW_OPTIONS)
    if isinstance(classes, list):
        train, test = (
            _selected_counts(counts, classes) for counts in (base.train_counts, base.test_counts)
        )
        base = replace(base, outputs=len(classes), train_counts=train, test_counts=test)
        base = replace(
            base, train=sum(train) if train else base.train, test=sum(test) if test else base.test
        )
    if base.shape is not None and len(base.shape) == 3:
        depth = channels if isinstance(channels, int) else base.shape[0]
        sides = (size, size) if isinstance(size, int) else base.shape[1:]
        base = replace(base, shape=(depth, *sides))
    return base
