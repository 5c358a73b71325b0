"""Fine-tuning of few weights in all depths of the source."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Gt

from advtransfer.precheck import precheck
from advtransfer.toolkit.adversary import AdversarialTraining
from advtransfer.toolkit.training_config import (
    Adam,
    Augment,
    Averaging,
    KeptEpoch,
    OptimizerConfig,
    Schedule,
)
from advtransfer.types import Transfer, component
from advtransfer_finetune import options
from advtransfer_finetune.options import BatchNorm, HeadInit, PositiveInt, SnapshotEpochs

_OPTIMIZER = Adam(lr=3e-3)
_SCHEDULE = Schedule()


@precheck(check=options.full_misfits, ball=options.adversary_ball)
@component(
    needs=("source",),
    tasks=("classes", "attributes", "values"),
    example={"epochs": 2, "batch_size": 16},
)
def bitfit(
    *,
    epochs: PositiveInt = 60,
    batch_size: PositiveInt = 32,
    optimiser: OptimizerConfig = _OPTIMIZER,
    schedule: Schedule = _SCHEDULE,
    batch_norm: BatchNorm = "freeze",
    head_init: HeadInit = "default",
    augment: Augment = "none",
    adversary: AdversarialTraining | None = None,
    snapshots: SnapshotEpochs = (),
    checkpoint: KeptEpoch = "last",
    averaging: Averaging | None = None,
    cutmix: Annotated[float | None, Gt(0)] = None,
) -> Transfer:
    """Train all biases of the source and a new head; its other weights stay (BitFit).

    Ben Zaken et al. (2022), for images: the biases of convolutions, linear layers and attention,
    and beta of normalisations. A learned adapter is trained as well. The fact
    ``trained_parameters`` is the number of trained weights, those of the head included.

    Args:
        epochs: Number of times that each image is seen.
        batch_size: Images per step.
        optimiser: The optimizer and its largest learning rate.
        schedule: The learning rate over the training.
        batch_norm: ``freeze``: batch normalisation keeps the source's statistics; ``adapt``: it
            uses and learns the target's. Its beta is trained either way.
        head_init: Initial weights of the head, as in `blocks`.
        augment: Changes to each training image, as in `blocks`.
        adversary: Train on adversarial examples, as in `blocks`.
        snapshots: Epochs after which the weights are recorded.
        checkpoint: Which epoch's weights are kept, as in `blocks`.
        averaging: Average of the weights, as in `blocks`.
        cutmix: Parameter of CutMix, as in `blocks`.
    """
    from advtransfer_finetune.bias_tuning import BiasTuning
    from advtransfer_finetune.training import TrainingRecipe
    from advtransfer_finetune.tuning import BlockTuning

    recipe = TrainingRecipe(
        epochs=epochs,
        batch_size=batch_size,
        optimiser=optimiser,
        schedule=schedule,
        augment=augment,
        adversary=adversary,
        snapshots=snapshots,
        kept_epoch=checkpoint,
        averaging=averaging,
        cutmix=cutmix,
    )
    tuning = BlockTuning(blocks="all", batch_norm=batch_norm, head_init=head_init, recipe=recipe)
    return BiasTuning(tuning=tuning)


@precheck(check=options.full_misfits, ball=options.adversary_ball)
@component(
    needs=("source",),
    tasks=("classes", "attributes", "values"),
    example={"epochs": 2, "batch_size": 16},
)
def lora(
    *,
    rank: Annotated[int, Ge(0)] = 8,
    alpha: Annotated[float, Gt(0)] = 8.0,
    epochs: PositiveInt = 60,
    batch_size: PositiveInt = 32,
    optimiser: OptimizerConfig = _OPTIMIZER,
    schedule: Schedule = _SCHEDULE,
    batch_norm: BatchNorm = "freeze",
    head_init: HeadInit = "default",
    augment: Augment = "none",
    adversary: AdversarialTraining | None = None,
    snapshots: SnapshotEpochs = (),
    checkpoint: KeptEpoch = "last",
    averaging: Averaging | None = None,
    cutmix: Annotated[float | None, Gt(0)] = None,
) -> Transfer:
    """Train a low-rank update of each of the source's weight matrices, and a new head (LoRA).

    Hu et al. (2022), section 4.1: W becomes ``W + (alpha / rank) B A``, with A drawn and B zero at
    the start. Updated are convolutions (a kernel counts as a matrix of one row per output), linear
    layers and attention; the source's other weights stay. The update of a weight is computed before
    each pass, and a step takes the gradients of whole weights, as one of `full` does. The fitted
    model has the updates merged into its weights. A learned adapter is trained as well. The fact ``trained_parameters``
    is the number of trained weights, those of the head included.

    Args:
        rank: Rank of each update; 0 trains the head alone, as `blocks` with 0 blocks.
        alpha: Scale of the updates, times `rank`.
        epochs: Number of times that each image is seen.
        batch_size: Images per step.
        optimiser: The optimizer and its largest learning rate; weight decay applies to A, B and the
            head.
        schedule: The learning rate over the training.
        batch_norm: ``freeze`` runs the source as in evaluation; ``adapt`` lets its batch
            normalisation use and learn the target's statistics, as in `blocks`.
        head_init: Initial weights of the head, as in `blocks`.
        augment: Changes to each training image, as in `blocks`.
        adversary: Train on adversarial examples, as in `blocks`.
        snapshots: Epochs after which the merged weights are recorded.
        checkpoint: Which epoch's weights are kept, as in `blocks`.
        averaging: Average of A, B and the head, as in `blocks`.
        cutmix: Parameter of CutMix, as in `blocks`.
    """
    from advtransfer_finetune.low_rank_tuning import LowRankTuning
    from advtransfer_finetune.training import TrainingRecipe
    from advtransfer_finetune.tuning import BlockTuning

    recipe = TrainingRecipe(
        epochs=epochs,
        batch_size=batch_size,
        optimiser=optimiser,
        schedule=schedule,
        augment=augment,
        adversary=adversary,
        snapshots=snapshots,
        kept_epoch=checkpoint,
        averaging=averaging,
        cutmix=cutmix,
    )
    tuning = BlockTuning(blocks=0, batch_norm=batch_norm, head_init=head_init, recipe=recipe)
    return LowRankTuning(rank=rank, alpha=alpha, tuning=tuning)
