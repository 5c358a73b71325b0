"""A zoo of robust models by name, `robust_zoo/model`: architectures, checkpoint files and threat models."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from advtransfer.hookspecs import hookimpl
from advtransfer.types import Factory, Folder, Source, component


@dataclass(frozen=True)
class Entry:
    """A model of the zoo: a network of `robust_zoo.networks`, and the threat model that it was trained against."""

    network: str
    constraint: str
    width: int


ZOO = {
    "Standard": Entry("plain", "none", 16),
    "Madry2018Towards_Linf": Entry("plain", "linf 0.1", 16),
    "Madry2018Towards_L2": Entry("plain", "l2 0.5", 16),
    "Residual_Linf": Entry("residual", "linf 0.1", 8),
}
Name = Literal["Standard", "Madry2018Towards_Linf", "Madry2018Towards_L2", "Residual_Linf"]


@component(shape=(1, 8, 8))
def model(*, name: Name, folder: Folder) -> Source:
    """A model of the zoo: grey images of 8 x 8 pixels, ten classes.

    Args:
        name: The model's name in the zoo.
        folder: The folder of the checkpoints, each ``<name>.pt`` with a state dict.
    """
    from robust_zoo.networks import ZooModel

    return ZooModel(name, ZOO[name], folder.path / f"{name}.pt")


@hookimpl
def register_sources() -> Iterable[Factory[Source]]:
    """Return the sources of this plugin."""
    return [model]
