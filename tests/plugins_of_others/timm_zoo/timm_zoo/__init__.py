"""Architectures of timm with the weights of a file, `timm_zoo/model`."""

from collections.abc import Iterable
from typing import Annotated

from annotated_types import Ge

from advtransfer.hookspecs import hookimpl
from advtransfer.types import Factory, File, Source


def model(
    *,
    name: str,
    file: File,
    outputs: Annotated[int, Ge(2)] = 1000,
    images: tuple[int, int, int] = (3, 224, 224),
) -> Source:
    """A classifier of timm with the weights of a state dict, normalised as timm says.

    Args:
        name: The architecture, as ``timm.list_models()`` has it.
        file: The state dict, a torch file.
        outputs: Number of its logits.
        images: Channels, height and width of its images.
    """
    from timm_zoo.source import TimmModel

    return TimmModel(name, file.path, outputs, images)


@hookimpl
def register_sources() -> Iterable[Factory[Source]]:
    """Return the sources of this plugin."""
    return [model]
