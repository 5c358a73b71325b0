"""What is known of a suite's nodes before any of them is built, and what their components say against them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import cast

from advtransfer.host import Component, Host
from advtransfer.node import Node
from advtransfer.options import Content as ContentKind
from advtransfer.precheck import Chosen, Misfit, Outline, Surroundings, precheck_of
from advtransfer.suite.sections import VIEWS
from advtransfer.types import File, Folder, Json

NOTHING = Outline()


class Outlines:
    """Outlines and options by node, each made once."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._outlines: dict[str, Outline] = {}
        self._chosen: dict[str, Chosen] = {}

    def of(self, node: Node | None) -> Outline:
        """What is known of a data set, with its view, or of a source."""
        if node is None:
            return NOTHING
        if node.id not in self._outlines:
            self._outlines[node.id] = _seen(self._base(node), node.options)
        return self._outlines[node.id]

    def base(self, node: Node) -> Outline:
        """What is known of a data set below its view."""
        return self.of(replace(node, options={name: one for name, one in node.options.items() if name not in VIEWS}))

    def chosen(self, node: Node) -> Chosen:
        """The options of a node as its factory gets them, with outlines in place of data sets and sources."""
        if node.id not in self._chosen:
            self._chosen[node.id] = self._built(node, self._host.component(node.use))
        return self._chosen[node.id]

    def misfits(self, node: Node, surroundings: Surroundings) -> Iterator[Misfit]:
        """The options of a node that cannot work in these surroundings."""
        check = precheck_of(self._host.component(node.use).factory).check
        if check is not None:
            yield from check(self.chosen(node), surroundings)

    def metrics(self, node: Node) -> frozenset[str] | None:
        """The metrics that an evaluation can give; None where it does not say."""
        metrics = precheck_of(self._host.component(node.use).factory).metrics
        return None if metrics is None else frozenset(metrics(self.chosen(node)))

    def _base(self, node: Node) -> Outline:
        component = self._host.component(node.use)
        outline = precheck_of(component.factory).outline
        found = outline(self.chosen(node)) if outline is not None else NOTHING
        stated, tasks = component.facts.shape, component.facts.tasks
        if found.shape is None and isinstance(stated, str):
            below = node.inputs.get(stated)
            shape = self.of(below).shape if isinstance(below, Node) else None
            found = replace(found, shape=shape)
        elif found.shape is None and isinstance(stated, tuple):
            found = replace(found, shape=stated)
        if node.kind == "data" and found.task is None and len(tasks) == 1:
            found = replace(found, task=next(iter(tasks)))
        return found

    def _built(self, node: Node, component: Component) -> Chosen:
        fields = component.options.fields
        plain = {name for name, field in fields.items() if field.plain}
        values = {name: one for name, one in {**node.options, **node.how}.items() if name in plain}
        parts = {
            name: tuple(map(self.of, one)) if isinstance(one, tuple) else self.of(one)
            for name, one in node.inputs.items()
        }
        contents = {
            name: _content(field.file, node.options[name], node.files)
            for name, field in fields.items()
            if field.file and name in node.options and not field.many
        }
        return {**component.options.build(values), **parts, **contents}


def _content(kind: ContentKind, value: Json, files: Mapping[str, str]) -> File | Folder:
    """A file or folder option as the factory gets it."""
    sha256 = str(cast("Mapping[str, Json]", value)["sha256"])
    return (File if kind == "file" else Folder)(Path(files[sha256]), sha256)


def _picked(counts: tuple[int, ...] | None, classes: Sequence[Json]) -> tuple[int, ...] | None:
    if counts is None or not all(isinstance(one, int) and one < len(counts) for one in classes):
        return None
    return tuple(counts[one] for one in classes if isinstance(one, int))


def _seen(base: Outline, view: Mapping[str, Json]) -> Outline:
    """The outline of a data set through a view."""
    classes, channels, size = (view.get(name) for name in VIEWS)
    if isinstance(classes, list):
        train, test = (_picked(counts, classes) for counts in (base.train_counts, base.test_counts))
        base = replace(base, outputs=len(classes), train_counts=train, test_counts=test)
        base = replace(base, train=sum(train) if train else base.train, test=sum(test) if test else base.test)
    if base.shape is not None and len(base.shape) == 3:
        depth = channels if isinstance(channels, int) else base.shape[0]
        sides = (size, size) if isinstance(size, int) else base.shape[1:]
        base = replace(base, shape=(depth, *sides))
    return base
