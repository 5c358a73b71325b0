"""Fine-tuning that keeps near the source's weights, `l2_sp/l2_sp` (Li et al., 2018)."""

from collections.abc import Iterable
from typing import Annotated

from annotated_types import Ge, Gt

from advtransfer.hookspecs import hookimpl
from advtransfer.types import Factory, Transfer, component


@component(needs=["source"], example={"epochs": 3})
def l2_sp(
    *,
    alpha: Annotated[float, Ge(0)] = 0.1,
    beta: Annotated[float, Ge(0)] = 0.01,
    epochs: Annotated[int, Ge(1)] = 50,
    lr: Annotated[float, Gt(0)] = 0.01,
    batch_size: Annotated[int, Ge(1)] = 32,
) -> Transfer:
    """Fine-tune all weights with the source's as the starting point of weight decay (Li et al., 2018).

    The loss has ``alpha / 2 |w - w0|^2 + beta / 2 |head|^2`` beside cross-entropy.

    Args:
        alpha: Weight of the squared distance from the source's weights w0.
        beta: Weight of the squared norm of the new head.
        epochs: Passes over the images.
        lr: Largest learning rate of SGD with momentum 0.9, which falls by a cosine.
        batch_size: Images in a step.
    """
    from l2_sp.transfer import StartingPointTuning

    return StartingPointTuning(alpha, beta, epochs, lr, batch_size)


@hookimpl
def register_transfers() -> Iterable[Factory[Transfer]]:
    """Return the transfer methods of this plugin."""
    return [l2_sp]
