"""Fine-tuning of few weights in all depths of the source."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Gt

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
