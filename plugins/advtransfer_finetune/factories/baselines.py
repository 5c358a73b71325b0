"""Baselines that carry nothing over: networks trained on the target's subset alone. Light: torch is imported late."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Gt

from advtransfer.precheck import precheck
from advtransfer.toolkit.adversary import Adversary, Norm
from advtransfer.toolkit.recipe import Augment, Optimiser, Schedule, Sgd
from advtransfer.types import Source, Transfer, component
from advtransfer_finetune import checks
from advtransfer_finetune.options import Count, Epochs

_OPTIMISER, _SCHEDULE = Sgd(), Schedule()


@precheck(check=checks.scratch)
@component(version=2, tasks=("classes", "attributes", "values"))
def scratch(
    *,
    network: Source,
    epochs: Count = 60,
    batch_size: Count = 32,
    optimiser: Optimiser = _OPTIMISER,
    schedule: Schedule = _SCHEDULE,
    augment: Augment = "none",
    snapshots: Epochs = (),
) -> Transfer:
    """A network trained on the target's subset alone: what a transfer has to beat.

    Args:
        network: What is trained, from its weights on: an untrained network made for the target's data, such as
            ``{use: vision/random_init, data: ...}``.
        epochs: How often each image is seen.
        batch_size: Images in a step.
        optimiser: The optimiser and its largest learning rate.
        schedule: The learning rate over the training.
        augment: Changes to each training image, as in `blocks`.
        snapshots: Epochs after which the weights are kept.
    """
    from advtransfer_finetune.baseline import Baseline
    from advtransfer_finetune.fitting import Recipe

    recipe = Recipe(
        epochs=epochs,
        batch_size=batch_size,
        optimiser=optimiser,
        schedule=schedule,
        augment=augment,
        snapshots=snapshots,
    )
    return Baseline(network=network, recipe=recipe)


@precheck(check=checks.adversarial)
@component(version=2, tasks=("classes", "attributes", "values"))
def adversarial(
    *,
    network: Source,
    norm: Norm = "linf",
    eps: Annotated[float, Gt(0)],
    steps: Count = 7,
    step_size: Annotated[float, Gt(0)] | None = None,
    random_start: bool = True,
    epochs: Count = 60,
    batch_size: Count = 32,
    optimiser: Optimiser = _OPTIMISER,
    schedule: Schedule = _SCHEDULE,
    augment: Augment = "none",
    snapshots: Epochs = (),
) -> Transfer:
    """A network trained on the target's subset alone, against PGD (Madry et al., 2018, equation 2.1).

    To start from a source instead, give `full` or `blocks` an adversary.

    Args:
        network: What is trained, from its weights on, as in `scratch`.
        norm: The norm of the ball around each image: ``linf`` or ``l2``.
        eps: Its radius, in [0, 1] pixel space.
        steps: Gradient steps for each batch.
        step_size: The length of one step; by default ``2.5 * eps / steps``.
        random_start: Start at a random point of the ball instead of its centre.
        epochs: How often each image is seen.
        batch_size: Images in a step.
        optimiser: The optimiser and its largest learning rate.
        schedule: The learning rate over the training.
        augment: Changes to each training image, as in `blocks`.
        snapshots: Epochs after which the weights are kept.
    """
    from advtransfer_finetune.baseline import Baseline
    from advtransfer_finetune.fitting import Recipe

    recipe = Recipe(
        epochs=epochs,
        batch_size=batch_size,
        optimiser=optimiser,
        schedule=schedule,
        augment=augment,
        adversary=Adversary(norm=norm, eps=eps, steps=steps, step_size=step_size, random_start=random_start),
        snapshots=snapshots,
    )
    return Baseline(network=network, recipe=recipe)
