"""Fine-tuning that controls how adversarial examples transfer to a reference."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge

from advtransfer.precheck import precheck
from advtransfer.toolkit.training_config import (
    Augment,
    Averaging,
    KeptEpoch,
    OptimizerConfig,
    Schedule,
    Sgd,
)
from advtransfer.types import Source, Transfer, component
from advtransfer_finetune import options
from advtransfer_finetune.options import BatchNorm, HeadInit, PositiveInt, SnapshotEpochs

_OPTIMIZER = Sgd(lr=0.01)
_SCHEDULE = Schedule()


@precheck(check=options.controlled_misfits)
@component(
    second_derivatives=True,
    needs=("source",),
    tasks=("classes", "attributes", "values"),
    example={"epochs": 2, "batch_size": 16},
)
def controlled_transferability(
    *,
    reference: Source,
    rho: float = 5.0,
    smoothness: Annotated[float, Ge(0)] = 0.2,
    epochs: PositiveInt = 50,
    batch_size: PositiveInt = 128,
    optimiser: OptimizerConfig = _OPTIMIZER,
    schedule: Schedule = _SCHEDULE,
    batch_norm: BatchNorm = "freeze",
    head_init: HeadInit = "default",
    augment: Augment = "none",
    snapshots: SnapshotEpochs = (),
    checkpoint: KeptEpoch = "last",
    averaging: Averaging | None = None,
) -> Transfer:
    """Fine-tune the whole source with input gradients turned from, or to, those of a reference.

    "Controlling adversarial transferability" in the code of Liang et al. (2021): the loss plus
    ``rho * mean |cos(g, g_T)|``, for the gradients of each image's loss of the trained model and of
    the reference f_T. A `rho` above 0 makes adversarial examples transfer less, one below 0 more;
    with 0 it is `full` to the bit. Measure the effect by ``alignment/alignment``.

    Differs from that code, whose loop takes both gradients from one model and detaches the penalty:
    this is its formula. The gradients' squared norm is added with the weight ``|rho| *
    smoothness``, so that it is kept small for either sign; that of the reference, which is not
    trained, is left out. A step also takes the reference's gradients, and differentiates those of
    the model once more.

    Args:
        reference: The model whose gradients count: a source entry trained on the target's data,
            such as the target's own `reference`.
        rho: Weight of the alignment.
        smoothness: Weight of the squared norm of the gradients, in units of rho's size.
        epochs: Number of times that each image is seen.
        batch_size: Images per step.
        optimiser: The optimizer and its largest learning rate.
        schedule: The learning rate over the training.
        batch_norm: ``freeze``: batch normalisation keeps the source's statistics, so that an
            image's gradient does not depend on its batch; ``adapt``: it uses and learns the
            target's.
        head_init: Initial weights of the head, as in `blocks`.
        augment: Changes to each training image, as in `blocks`.
        snapshots: Epochs after which the weights are recorded.
        checkpoint: Which epoch's weights are kept, as in `blocks`.
        averaging: Average of the weights, as in `blocks`.
    """
    from advtransfer_finetune.reference_alignment import ControlledTransferability
    from advtransfer_finetune.training import TrainingRecipe
    from advtransfer_finetune.tuning import BlockTuning

    recipe = TrainingRecipe(
        epochs=epochs,
        batch_size=batch_size,
        optimiser=optimiser,
        schedule=schedule,
        augment=augment,
        snapshots=snapshots,
        kept_epoch=checkpoint,
        averaging=averaging,
    )
    return ControlledTransferability(
        reference=reference,
        rho=rho,
        smoothness=smoothness,
        tuning=BlockTuning(blocks="all", batch_norm=batch_norm, head_init=head_init, recipe=recipe),
    )
