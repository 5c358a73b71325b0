"""Hooks of the vision plugin.

Data sets of images, and source models trained on them or read from files.
"""

from __future__ import annotations

from collections.abc import Iterable

from advtransfer.hookspecs import hookimpl
from advtransfer.types import Dataset, Factory, Source
from advtransfer_vision.components import datasets, hub_sources, pretrained_sources, training


@hookimpl
def register_datasets() -> Iterable[Factory[Dataset]]:
    """Return the factories of this plugin's data sets."""
    return (*datasets.DATASETS, *datasets.PORTIONS)


@hookimpl
def register_sources() -> Iterable[Factory[Source]]:
    """Return the factories of this plugin's sources."""
    return (*training.SOURCES, *pretrained_sources.FILE_SOURCES, *hub_sources.HUB_SOURCES)
