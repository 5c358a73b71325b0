"""Full fine-tuning that stays near a starting point: the source, or a linear probe on it."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Gt, Interval

from advtransfer.precheck import precheck
from advtransfer.toolkit.adversary import AdversarialTraining
from advtransfer.toolkit.training_config import (
    Augment,
    Averaging,
    KeptEpoch,
    OptimizerConfig,
    Schedule,
    Sgd,
)
from advtransfer.types import Transfer, component
from advtransfer_finetune import options
from advtransfer_finetune.options import (
    BatchNorm,
    CacheActivations,
    FeatureNorm,
    HeadInit,
    PositiveInt,
    SnapshotEpochs,
)

_PROBED_OPTIMIZER = Sgd(lr=0.01)
_PENALIZED_OPTIMIZER = Sgd(lr=0.01, weight_decay=0.0)
_SCHEDULE = Schedule()


@precheck(check=options.full_misfits, ball=options.adversary_ball)
@component(needs=("source",), example={"epochs": 2, "batch_size": 16})
def lp_ft(
    *,
    C: Annotated[float, Gt(0)] = 1.0,
    max_iterations: PositiveInt = 10_000,
    tolerance: Annotated[float, Gt(0)] = 1e-6,
    epochs: PositiveInt = 60,
    batch_size: PositiveInt = 32,
    optimiser: OptimizerConfig = _PROBED_OPTIMIZER,
    schedule: Schedule = _SCHEDULE,
    batch_norm: BatchNorm = "adapt",
    augment: Augment = "none",
    adversary: AdversarialTraining | None = None,
    snapshots: SnapshotEpochs = (),
    cached: CacheActivations = True,
    checkpoint: KeptEpoch = "last",
    averaging: Averaging | None = None,
    cutmix: Annotated[float | None, Gt(0)] = None,
) -> Transfer:
    """Fit a linear probe, then fine-tune the whole source with the probe as its head (LP-FT).

    Kumar et al. (2022): a head that fits from the start leaves the features less distorted, which
    helps on data from elsewhere. The probe is that of `linear_probe`; its standardization is folded
    into the head, so that training begins at the probe's logits. An adversary takes part in the
    fine-tuning alone. A learned adapter is not applicable, since the probe is a convex problem.

    Args:
        C: Inverse strength of the probe's l2 penalty, as in `linear_probe`.
        max_iterations: Largest number of steps of the probe's solver, L-BFGS.
        tolerance: Largest entry of the gradient at which it stops.
        epochs: Number of times that each image is seen by the fine-tuning.
        batch_size: Images per step.
        optimiser: The optimizer and its largest learning rate.
        schedule: The learning rate over the fine-tuning.
        batch_norm: ``adapt``: batch normalisation uses and learns the target's statistics;
            ``freeze``: it keeps the source's, so that also the first step sees the probe's logits.
        augment: Changes to each training image of the fine-tuning, as in `blocks`.
        adversary: Fine-tune on adversarial examples, as in `blocks`.
        snapshots: Epochs after which the weights are recorded.
        cached: Share the probe's features with the other fits of this source, adapter and data set.
        checkpoint: Which epoch's weights are kept, as in `blocks`.
        averaging: Average of the weights, as in `blocks`.
        cutmix: Parameter of CutMix, as in `blocks`.
    """
    from advtransfer_finetune.linear_probes import LinearProbe
    from advtransfer_finetune.probe_then_tuning import ProbeThenTuning
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
    return ProbeThenTuning(
        probe=LinearProbe(C=C, max_iterations=max_iterations, tolerance=tolerance, cached=cached),
        tuning=BlockTuning(blocks="all", batch_norm=batch_norm, head_init="default", recipe=recipe),
    )


@precheck(check=options.l2_sp_misfits, ball=options.adversary_ball)
@component(
    needs=("source",),
    tasks=("classes", "attributes", "values"),
    example={"epochs": 2, "batch_size": 16},
)
def l2_sp(
    *,
    alpha: Annotated[float, Ge(0)] = 0.1,
    beta: Annotated[float, Ge(0)] = 0.01,
    epochs: PositiveInt = 60,
    batch_size: PositiveInt = 32,
    optimiser: OptimizerConfig = _PENALIZED_OPTIMIZER,
    schedule: Schedule = _SCHEDULE,
    batch_norm: BatchNorm = "adapt",
    head_init: HeadInit = "default",
    augment: Augment = "none",
    adversary: AdversarialTraining | None = None,
    snapshots: SnapshotEpochs = (),
    checkpoint: KeptEpoch = "last",
    averaging: Averaging | None = None,
    cutmix: Annotated[float | None, Gt(0)] = None,
) -> Transfer:
    """Fine-tune the whole source with a penalty on the distance from its own weights (L2-SP).

    Li et al. (2018), equation 3: the loss plus ``alpha / 2 ||w_S - w_S^0||^2 + beta / 2
    ||w_new||^2``, for the source's weights w_S, which start at w_S^0, and those of the new head and
    of a learned adapter. There is no other decay. The curves' ``train_loss`` includes the penalty.
    With both weights at 0 it is `full` without weight decay, to the bit.

    Args:
        alpha: Weight of the squared distance of the source's weights from their start.
        beta: Weight of the squared norm of the new weights.
        epochs: Number of times that each image is seen.
        batch_size: Images per step.
        optimiser: The optimizer and its largest learning rate; its `weight_decay` must be 0.
        schedule: The learning rate over the training.
        batch_norm: ``adapt``: batch normalisation uses and learns the target's statistics;
            ``freeze``: it keeps the source's.
        head_init: Initial weights of the head, as in `blocks`.
        augment: Changes to each training image, as in `blocks`.
        adversary: Train on adversarial examples, as in `blocks`; they do not depend on the penalty.
        snapshots: Epochs after which the weights are recorded.
        checkpoint: Which epoch's weights are kept, as in `blocks`.
        averaging: Average of the weights, as in `blocks`.
        cutmix: Parameter of CutMix, as in `blocks`.
    """
    from advtransfer_finetune.starting_point import StartingPointTuning
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
    return StartingPointTuning(alpha=alpha, beta=beta, tuning=tuning)


@precheck(check=options.lwf_misfits)
@component(
    needs=("source",),
    tasks=("classes", "attributes", "values"),
    example={"epochs": 2, "batch_size": 16},
)
def lwf(
    *,
    lambda_d: Annotated[float, Ge(0)] = 0.1,
    norm: FeatureNorm = "l2",
    warm_start: Annotated[float, Interval(ge=0, lt=1)] = 0.5,
    epochs: PositiveInt = 60,
    batch_size: PositiveInt = 32,
    optimiser: OptimizerConfig = _PROBED_OPTIMIZER,
    schedule: Schedule = _SCHEDULE,
    batch_norm: BatchNorm = "freeze",
    head_init: HeadInit = "default",
    augment: Augment = "none",
    snapshots: SnapshotEpochs = (),
    checkpoint: KeptEpoch = "last",
    averaging: Averaging | None = None,
) -> Transfer:
    """Fine-tune the whole source and keep its features near what they were (LwF).

    Robust transfer without adversarial training (Shafahi et al., 2020, section 5): the loss plus
    ``lambda_d`` times the mean distance of the head's inputs from those that the source gives for
    the same images. First the head alone is trained. A learned adapter is not applicable.

    Args:
        lambda_d: Weight of the distance.
        norm: Norm of the distance, ``l2``, or ``l1`` as in the paper's released code.
        warm_start: Share of the training in which only the head is trained; a half in that code.
        epochs: Number of times that each image is seen, those of the warm start included.
        batch_size: Images per step.
        optimiser: The optimizer and its largest learning rate.
        schedule: The learning rate over the whole training.
        batch_norm: ``freeze``, as in that code: batch normalisation keeps the source's statistics;
            ``adapt``: after the warm start it uses and learns the target's.
        head_init: Initial weights of the head, as in `blocks`.
        augment: Changes to each training image, as in `blocks`.
        snapshots: Epochs after which the weights are recorded.
        checkpoint: Which epoch's weights are kept, as in `blocks`.
        averaging: Average of the weights, as in `blocks`.
    """
    from advtransfer_finetune.feature_distance import FeatureDistanceTuning
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
    return FeatureDistanceTuning(
        weight=lambda_d,
        norm=norm,
        warm_start=warm_start,
        tuning=BlockTuning(blocks="all", batch_norm=batch_norm, head_init=head_init, recipe=recipe),
    )
