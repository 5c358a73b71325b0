"""Baselines: training without a source, and the source as it is."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Gt

from advtransfer.precheck import precheck
from advtransfer.toolkit.adversary import Adversary, TrainingNorm
from advtransfer.toolkit.training_config import (
    Augment,
    Averaging,
    KeptEpoch,
    OptimizerConfig,
    Schedule,
    Sgd,
)
from advtransfer.types import Since, Source, Transfer, component
from advtransfer_finetune import options
from advtransfer_finetune.options import PositiveInt, SnapshotEpochs

_BASELINE_OPTIMIZER = Sgd()
_BASELINE_SCHEDULE = Schedule()


@precheck(check=options.scratch_misfits)
@component(
    version=3, tasks=("classes", "attributes", "values"), example={"epochs": 2, "batch_size": 16}
)
def scratch(
    *,
    network: Source,
    epochs: PositiveInt = 60,
    batch_size: PositiveInt = 32,
    optimiser: OptimizerConfig = _BASELINE_OPTIMIZER,
    schedule: Schedule = _BASELINE_SCHEDULE,
    augment: Augment = "none",
    snapshots: SnapshotEpochs = (),
    checkpoint: Annotated[KeptEpoch, Since(2)] = "last",
    averaging: Annotated[Averaging | None, Since(2)] = None,
    cutmix: Annotated[float | None, Gt(0), Since(2)] = None,
) -> Transfer:
    """Train a network on the target's subset alone: the baseline that a transfer has to beat.

    Args:
        network: The network and its initial weights: an untrained network made for the target's
            data, such as ``{use: vision/random_init, data: ...}``.
        epochs: Number of times that each image is seen.
        batch_size: Images per step.
        optimiser: The optimizer and its largest learning rate.
        schedule: The learning rate over the training.
        augment: Changes to each training image, as in `blocks`.
        snapshots: Epochs after which the weights are recorded.
        checkpoint: Which epoch's weights are kept, as in `blocks`.
        averaging: Average of the weights, as in `blocks`.
        cutmix: Parameter of CutMix, as in `blocks`.
    """
    from advtransfer_finetune.training import TrainingRecipe
    from advtransfer_finetune.tuning import ScratchTraining

    recipe = TrainingRecipe(
        epochs=epochs,
        batch_size=batch_size,
        optimiser=optimiser,
        schedule=schedule,
        augment=augment,
        snapshots=snapshots,
        kept_epoch=checkpoint,
        averaging=averaging,
        cutmix=cutmix,
    )
    return ScratchTraining(network=network, recipe=recipe)


@precheck(check=options.adversarial_misfits, ball=options.own_ball)
@component(
    version=3,
    tasks=("classes", "attributes", "values"),
    example={"eps": 0.1, "steps": 1, "epochs": 2, "batch_size": 16},
)
def adversarial(
    *,
    network: Source,
    norm: TrainingNorm = "linf",
    eps: Annotated[float, Gt(0)],
    steps: PositiveInt = 7,
    step_size: Annotated[float, Gt(0)] | None = None,
    random_start: bool = True,
    epochs: PositiveInt = 60,
    batch_size: PositiveInt = 32,
    optimiser: OptimizerConfig = _BASELINE_OPTIMIZER,
    schedule: Schedule = _BASELINE_SCHEDULE,
    augment: Augment = "none",
    snapshots: SnapshotEpochs = (),
    checkpoint: Annotated[KeptEpoch, Since(2)] = "last",
    averaging: Annotated[Averaging | None, Since(2)] = None,
    cutmix: Annotated[float | None, Gt(0), Since(2)] = None,
) -> Transfer:
    """Train a network on the target's subset alone, against PGD (Madry et al., 2018, equation 2.1).

    To start from a source instead, give `full` or `blocks` an adversary.

    Args:
        network: The network and its initial weights, as in `scratch`.
        norm: Norm of the ball around each image: ``linf`` or ``l2``.
        eps: Radius of the ball, in [0, 1] pixel space.
        steps: Gradient steps per batch.
        step_size: Length of one step; by default ``2.5 * eps / steps``.
        random_start: Start at a random point of the ball instead of its centre.
        epochs: Number of times that each image is seen.
        batch_size: Images per step.
        optimiser: The optimizer and its largest learning rate.
        schedule: The learning rate over the training.
        augment: Changes to each training image, as in `blocks`.
        snapshots: Epochs after which the weights are recorded.
        checkpoint: Which epoch's weights are kept, as in `blocks`.
        averaging: Average of the weights, as in `blocks`.
        cutmix: Parameter of CutMix, as in `blocks`.
    """
    from advtransfer_finetune.training import TrainingRecipe
    from advtransfer_finetune.tuning import ScratchTraining

    recipe = TrainingRecipe(
        epochs=epochs,
        batch_size=batch_size,
        optimiser=optimiser,
        schedule=schedule,
        augment=augment,
        adversary=Adversary(
            norm=norm, eps=eps, steps=steps, step_size=step_size, random_start=random_start
        ),
        snapshots=snapshots,
        kept_epoch=checkpoint,
        averaging=averaging,
        cutmix=cutmix,
    )
    return ScratchTraining(network=network, recipe=recipe)


@component(needs=("source",), tasks=("classes", "attributes", "values"), deterministic=True)
def unchanged() -> Transfer:
    """Use the source itself: nothing is fitted, and its own logits are those of the target.

    For a model that was trained on the target's classes, in their order: its accuracies are then measured as those of
    any other row, beside transfers.
    """
    from advtransfer_finetune.unchanged_source import Unchanged

    return Unchanged()
