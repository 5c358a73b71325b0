"""Linear probing, then fine-tuning, `lp_ft/lp_ft` (Kumar et al., 2022)."""

from collections.abc import Iterable
from typing import Annotated

from annotated_types import Ge, Gt

from advtransfer.hookspecs import hookimpl
from advtransfer.types import Factory, Transfer, component


@component(needs=["source"], example={"probe_epochs": 3, "epochs": 3})
def lp_ft(
    *,
    probe_epochs: Annotated[int, Ge(1)] = 50,
    epochs: Annotated[int, Ge(0)] = 20,
    probe_lr: Annotated[float, Gt(0)] = 0.01,
    lr: Annotated[float, Gt(0)] = 0.0003,
    batch_size: Annotated[int, Ge(1)] = 32,
) -> Transfer:
    """Train a linear head on the frozen source, then all weights from there on (Kumar et al., 2022).

    Fine-tuning from a random head distorts features before the head has learned; from a fitted one it need not.

    Args:
        probe_epochs: Passes over the images while only the head is trained.
        epochs: Passes over the images while all weights are trained.
        probe_lr: Adam's learning rate of the first part.
        lr: Adam's largest learning rate of the second part, which falls by a cosine.
        batch_size: Images in a step.
    """
    from lp_ft.transfer import LinearProbeFineTune

    return LinearProbeFineTune(probe_epochs, epochs, probe_lr, lr, batch_size)


@hookimpl
def register_transfers() -> Iterable[Factory[Transfer]]:
    """Return the transfer methods of this plugin."""
    return [lp_ft]
