"""The architectures by name. Light: a network's own module is imported when it is built.

To add one, write its module with a `build` like that of `small_cnn`, and name it in `NetworkName` and in `build`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

from advtransfer.types import DataCard

if TYPE_CHECKING:
    from advtransfer.toolkit.network import BlockNetwork

NetworkName: TypeAlias = Literal["small_cnn"]


def build(name: NetworkName, *, data: DataCard, width: int) -> BlockNetwork:
    """The named architecture for data of this shape and these outputs; its weights from torch's global random state.

    Raises:
        ValueError: The architecture does not take inputs of this shape.
    """
    from advtransfer_vision import small_cnn

    builders = {"small_cnn": small_cnn.build}
    return builders[name](shape=data.shape, outputs=data.outputs, width=width)
