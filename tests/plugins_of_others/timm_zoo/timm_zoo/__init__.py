"""Architectures of timm with the weights of a file, `timm_zoo/model`."""

from collections.abc import Iterable
from typing import Annotated

from advtransfer.hookspecs import hookimpl
from advtransfer.types import Factory, File, Source, component
from annotated_types import Ge


@component(shape=None)
def model(
    *,
    name: str,
    file: File,
    classes: Annotated[int, Ge(2)] = 1000,
    channels: Annotated[int, Ge(1)] = 3,
    size: Annotated[int, Ge(8)] = 224,
) -> Source:
    """A classifier of timm with the weights of a state dict, normalised as timm says.

    Args:
        name: The architecture, as ``timm.list_models()`` has it.
        file: The state dict, a torch file.
        classes: Number of its logits.
        channels: Channels of its images.
        size: Height and width of its images.
    """
    from timm_zoo.source import TimmModel

    return TimmModel(name, file.path, classes, (channels, size, size))


@hookimpl
def register_sources() -> Iterable[Factory[Source]]:
    """Return the sources of this plugin."""
    return [model]
