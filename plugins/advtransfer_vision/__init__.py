"""Data sets of images, and source models trained on them."""

from __future__ import annotations

from collections.abc import Iterable

from advtransfer.hookspecs import hookimpl
from advtransfer.types import Dataset, Factory, Source
from advtransfer_vision.factories import data, hub, portions, training, weights


@hookimpl
def register_datasets() -> Iterable[Factory[Dataset]]:
    """The data sets of this plugin."""
    return (*data.DATASETS, *portions.DATASETS)


@hookimpl
def register_sources() -> Iterable[Factory[Source]]:
    """The sources of this plugin."""
    return (*training.SOURCES, *weights.SOURCES, *hub.SOURCES)
