"""Sources that are trained here, and their untrained control. Light: torch is imported when one is built."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge

from advtransfer.toolkit.recipe import Adam, Adversary, Schedule, Sgd
from advtransfer.types import Dataset, Factory, Source, component
from advtransfer_vision.networks import NetworkName


@component(shape="data")
def trained(
    *,
    data: Dataset,
    network: NetworkName = "small_cnn",
    width: Annotated[int, Ge(1)] = 16,
    adversary: Adversary | None = None,
    epochs: Annotated[int, Ge(1)] = 30,
    batch_size: Annotated[int, Ge(1)] = 32,
    optimiser: Sgd | Adam = Sgd(),  # noqa: B008  # frozen: sharing the default is safe
    schedule: Schedule = Schedule(),  # noqa: B008  # frozen: sharing the default is safe
    seed: Annotated[int, Ge(0)] = 0,
) -> Source:
    """A network trained on the train part of a data set, naturally or against an adversary.

    Adversarial training replaces every batch by what PGD makes of it (Madry et al., 2018, equation 2.1).

    Args:
        data: The data set to train on.
        network: The architecture.
        width: Channels of its first block; the others are multiples of it.
        adversary: None for natural training, or ``{norm, eps, steps, step_size, random_start}`` with eps for inputs in
            [0, 1]; `step_size` is 2.5 * eps / steps when left out.
        epochs: How often each image is seen.
        batch_size: Images in a step.
        optimiser: ``{kind: sgd, lr, momentum, weight_decay, nesterov}`` or ``{kind: adam, lr, weight_decay}``.
        schedule: The learning rate over the training: ``{kind, milestones, gamma, warmup}``.
        seed: What initial weights, batch order and random starts are drawn from; replicates differ in it alone.
    """
    from advtransfer_vision.sources import Architecture, Trained

    return Trained(
        architecture=Architecture(network, width, data.card()),
        data=data,
        adversary=adversary,
        epochs=epochs,
        batch_size=batch_size,
        optimiser=optimiser,
        schedule=schedule,
    )


@component(shape="data")
def random_init(
    *,
    data: Dataset,
    network: NetworkName = "small_cnn",
    width: Annotated[int, Ge(1)] = 16,
    seed: Annotated[int, Ge(0)] = 0,
) -> Source:
    """The untrained control: the network that `trained` starts from with the same seed.

    Args:
        data: The data set whose shape and classes the network has; none of its images is used.
        network: The architecture.
        width: Channels of its first block; the others are multiples of it.
        seed: What the weights are drawn from.
    """
    from advtransfer_vision.sources import Architecture, RandomInit

    return RandomInit(architecture=Architecture(network, width, data.card()))


SOURCES: tuple[Factory[Source], ...] = (trained, random_init)
