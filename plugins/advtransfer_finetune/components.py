"""Factories of the probes, the fine-tunings and the baselines without a source.

They import torch only when a component is built.
"""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Interval

from advtransfer.precheck import precheck
from advtransfer.toolkit.adversary import AdversarialTraining, Adversary, TrainingNorm
from advtransfer.toolkit.training_config import (
    Adam,
    Augment,
    Averaging,
    KeptEpoch,
    OptimizerConfig,
    Schedule,
    Sgd,
)
from advtransfer.types import Since, Source, Transfer, component
from advtransfer_finetune import options
from advtransfer_finetune.options import (
    STEP_AFTER_EACH_THIRD,
    UTRERA2021_AUGMENT,
    CacheActivations,
    HeadInit,
    PositiveInt,
    SnapshotEpochs,
    utrera2021_presets,
)

_BLOCKS_OPTIMIZER = Adam(lr=3e-3)
_FULL_OPTIMIZER = Sgd(lr=0.01)
_TUNING_SCHEDULE = Schedule()


@precheck(check=options.blocks_misfits, ball=options.adversary_ball)
@component(
    version=2,
    needs=("source",),
    tasks=("classes", "attributes", "values"),
    presets=utrera2021_presets({**UTRERA2021_AUGMENT, "batch_norm": "adapt"}),
    example={"blocks": 1, "epochs": 2, "batch_size": 16},
)
def blocks(
    *,
    blocks: Annotated[int, Ge(0)],
    epochs: Annotated[int, Ge(1)] = 60,
    batch_size: Annotated[int, Ge(1)] = 32,
    optimiser: OptimizerConfig = _BLOCKS_OPTIMIZER,
    schedule: Schedule = _TUNING_SCHEDULE,
    batch_norm: Literal["adapt", "freeze"] = "freeze",
    head_init: Annotated[HeadInit, Since(2)] = "default",
    augment: Annotated[Augment, Since(2)] = "none",
    adversary: Annotated[AdversarialTraining | None, Since(2)] = None,
    snapshots: Annotated[SnapshotEpochs, Since(2)] = (),
    activations: Annotated[Literal["once", "every_epoch"], Since(1)] = "once",
    cached: CacheActivations = True,
    checkpoint: Annotated[KeptEpoch, Since(1)] = "last",
    averaging: Annotated[Averaging | None, Since(1)] = None,
    cutmix: Annotated[float | None, Gt(0), Since(1)] = None,
) -> Transfer:
    """Fine-tune the source's last blocks together with a new head; earlier blocks stay.

    As in Utrera et al. (2021), section 4. The presets ``utrera2021`` (from 3,200 images on) and
    ``utrera2021_few`` (up to 1,600) have their settings, including those found only in their code.
    With 0 blocks and frozen batch normalisation it is the fine-tuned teacher ("FT") of Chan et al.
    (2020). A learned adapter is trained with the head.

    Args:
        blocks: Number of the source's last blocks that are trained besides the head; 0 trains the
            head alone.
        epochs: Number of times that each image is seen.
        batch_size: Images per step.
        optimiser: The optimizer and its largest learning rate.
        schedule: The learning rate over the training.
        batch_norm: ``freeze`` runs the frozen blocks as in evaluation; ``adapt``, as in the paper's
            released code, lets their batch normalisation use and learn the target's statistics.
        head_init: Initial weights of the head: torch's ``default``, or ``normal``, which is N(0, 1)
            and zero biases.
        augment: ``none``, or a list of changes to each training image, in their order, before any
            adapter: ``pad_crop``, ``pad_crop_2``, ``flip``, ``colour_jitter``, ``rotation``. The
            paper makes them at 224 x 224 pixels: give the target's data set this `size`.
        adversary: Train on adversarial examples of the target's images, as in ``vision/trained``:
            None, or ``{norm, eps, steps, ...}`` with eps for inputs in [0, 1].
        snapshots: Epochs after which the weights are recorded; Figure 3 of the paper has 11, 21,
            41, 81 and 150.
        activations: When the frozen blocks' activations are computed: ``once``, where they are the
            same in every epoch (no augmentation, no adversary, frozen batch normalisation, a fixed
            adapter) and fit in memory; or in ``every_epoch``. The results agree up to rounding.
        cached: Share activations that are computed once with the other fits of this source, adapter
            and data set.
        checkpoint: ``last``, the weights after the last epoch, or ``best``: those after the epoch
            with the highest accuracy on the validation part, under an `adversary` the highest
            robust accuracy (Rice et al., 2020). It needs a validation part.
        averaging: Weights that take the place of the last ones: ``{kind: ema, decay}`` or ``{kind:
            swa, start}``, as in ``vision/trained``.
        cutmix: Parameter of CutMix (1 in Yun et al., 2019), as in ``vision/trained``.
    """
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
    return BlockTuning(
        blocks=blocks,
        batch_norm=batch_norm,
        head_init=head_init,
        recipe=recipe,
        extract_once=activations == "once",
        cached=cached,
    )


@precheck(check=options.full_misfits, ball=options.adversary_ball)
@component(
    version=2,
    needs=("source",),
    tasks=("classes", "attributes", "values"),
    presets=utrera2021_presets(UTRERA2021_AUGMENT),
    example={"epochs": 2, "batch_size": 16},
)
def full(
    *,
    epochs: PositiveInt = 60,
    batch_size: PositiveInt = 32,
    optimiser: OptimizerConfig = _FULL_OPTIMIZER,
    schedule: Schedule = _TUNING_SCHEDULE,
    head_init: HeadInit = "default",
    augment: Augment = "none",
    adversary: AdversarialTraining | None = None,
    snapshots: SnapshotEpochs = (),
    checkpoint: Annotated[KeptEpoch, Since(1)] = "last",
    averaging: Annotated[Averaging | None, Since(1)] = None,
    cutmix: Annotated[float | None, Gt(0), Since(1)] = None,
) -> Transfer:
    """Fine-tune the whole source, from its own weights on, with a new head.

    Batch normalisation uses and learns the target's statistics. With an adversary it is adversarial
    training that starts from the source. A learned adapter is trained as well.

    Args:
        epochs: Number of times that each image is seen.
        batch_size: Images per step.
        optimiser: The optimizer and its largest learning rate.
        schedule: The learning rate over the training.
        head_init: Initial weights of the head, as in `blocks`.
        augment: Changes to each training image, as in `blocks`.
        adversary: Train on adversarial examples, as in `blocks`.
        snapshots: Epochs after which the weights are recorded.
        checkpoint: Which epoch's weights are kept, as in `blocks`.
        averaging: Average of the weights, as in `blocks`.
        cutmix: Parameter of CutMix, as in `blocks`.
    """
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
    return BlockTuning(blocks="all", batch_norm="adapt", head_init=head_init, recipe=recipe)


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


_PROBE_OPTIMIZER = Sgd()


@precheck(check=options.probe_misfits)
@component(
    version=2,
    needs=("source",),
    presets=utrera2021_presets({"solver": "sgd"}),
    deterministic={"solver": "lbfgs"},
)
def linear_probe(
    *,
    C: Annotated[float, Gt(0)] = 1.0,
    max_iterations: Annotated[int, Ge(1)] = 10_000,
    tolerance: Annotated[float, Gt(0)] = 1e-6,
    solver: Annotated[Literal["lbfgs", "sgd"], Since(2)] = "lbfgs",
    epochs: Annotated[PositiveInt, Since(2)] = 150,
    batch_size: Annotated[PositiveInt, Since(2)] = 128,
    optimiser: Annotated[OptimizerConfig, Since(2)] = _PROBE_OPTIMIZER,
    schedule: Annotated[Schedule, Since(2)] = STEP_AFTER_EACH_THIRD,
    head_init: Annotated[HeadInit, Since(2)] = "default",
    snapshots: Annotated[SnapshotEpochs, Since(2)] = (),
    cached: CacheActivations = True,
) -> Transfer:
    """Fit multinomial logistic regression on the source's frozen, standardized features.

    The features are the inputs of the source's head. The problem is convex, so that the result
    depends on no random number; the fact ``converged`` is 0 where the solver
    stopped before it met the tolerance. With ``solver: sgd`` the same model is trained for a fixed
    time instead, by the recipe of Utrera et al. (2021): its distance from the optimum is then part
    of the result, and so are the random numbers. They train on augmented images and on features
    without standardization; for that, take `blocks` with 0 blocks. A learned adapter is trained by
    ``sgd`` only.

    Args:
        C: Inverse strength of the l2 penalty on the weights, as in scikit-learn. To choose it for
            each fit, write ``choose: {by: validation.accuracy, among: {C: [0.01, 0.1, 1, 10]},
            folds: 5}`` beside it in the suite.
        max_iterations: Largest number of steps of the solver, L-BFGS.
        tolerance: Largest entry of the gradient at which the solver stops.
        solver: ``lbfgs``, which goes to the optimum, or ``sgd``. The options above are for lbfgs,
            those below for sgd.
        epochs: Number of times that each image is seen.
        batch_size: Images per step.
        optimiser: The optimizer and its largest learning rate; the penalty is its `weight_decay`.
        schedule: The learning rate over the training.
        head_init: Initial weights: torch's ``default``, or ``normal``, which is N(0, 1) and zero
            biases.
        snapshots: Epochs after which the weights are recorded.
        cached: Share the features with the other fits of this source, adapter and data set.
    """
    if solver == "sgd":
        from advtransfer_finetune.linear_probes import SgdProbe
        from advtransfer_finetune.training import TrainingRecipe

        if C != 1.0:
            raise ValueError(
                f"found C {C} beside solver 'sgd'; expected none; "
                "set weight_decay in optimiser instead"
            )
        recipe = TrainingRecipe(
            epochs=epochs,
            batch_size=batch_size,
            optimiser=optimiser,
            schedule=schedule,
            snapshots=snapshots,
        )
        return SgdProbe(recipe=recipe, head_init=head_init, cached=cached)
    from advtransfer_finetune.linear_probes import LinearProbe

    return LinearProbe(C=C, max_iterations=max_iterations, tolerance=tolerance, cached=cached)


@component(needs=("source",), tasks=("classes", "attributes", "values"), deterministic=True)
def logit_affine(
    *, cutoff: Annotated[float, Interval(ge=0, lt=1)] = 1e-6, cached: CacheActivations = True
) -> Transfer:
    """Fit the affine map of the source's logits that is nearest to the labels, in closed form.

    The map g of g o f_S in the theory of Liang et al. (2021): W = Cov(y, z) Cov(z, z)^+ and b = E y
    - W E z, for logits z and for labels y that are one-hot classes, -1/2 or 1/2 by attribute (an
    attribute is predicted where the output is above 0), or values. Where the logits are linearly
    dependent, W is the smallest of all equally good maps.

    Args:
        cutoff: Singular values of the centred logits below this share of the largest count as zero.
            Logits have about 7 digits.
        cached: Share the logits with the other fits of this source, adapter and data set.
    """
    from advtransfer_finetune.logit_probe import LogitAffine

    return LogitAffine(cutoff=cutoff, cached=cached)


@component(needs=("source",), tasks=("classes", "attributes", "values"), deterministic=True)
def unchanged() -> Transfer:
    """Use the source itself: nothing is fitted, and its own logits are those of the target.

    For a model that was trained on the target's classes, in their order: its accuracies are then measured as those of
    any other row, beside transfers.
    """
    from advtransfer_finetune.unchanged_source import Unchanged

    return Unchanged()
