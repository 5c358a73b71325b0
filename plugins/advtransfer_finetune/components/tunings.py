"""Fine-tuning of the source's last blocks, or of all of it."""

from __future__ import annotations

from typing import Annotated, Literal

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
    Sgd,
)
from advtransfer.types import Since, Transfer, component
from advtransfer_finetune import options
from advtransfer_finetune.options import (
    BatchNorm,
    CacheActivations,
    HeadInit,
    PositiveInt,
    SnapshotEpochs,
)
from advtransfer_finetune.presets import (
    FULL_PRESETS,
    HEAD_PRESETS,
    UTRERA2021_AUGMENT,
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
    presets={
        **utrera2021_presets({**UTRERA2021_AUGMENT, "batch_norm": "adapt"}),
        **HEAD_PRESETS,
    },
    example={"blocks": 1, "epochs": 2, "batch_size": 16},
)
def blocks(
    *,
    blocks: Annotated[int, Ge(0)],
    epochs: Annotated[int, Ge(1)] = 60,
    batch_size: Annotated[int, Ge(1)] = 32,
    optimiser: OptimizerConfig = _BLOCKS_OPTIMIZER,
    schedule: Schedule = _TUNING_SCHEDULE,
    batch_norm: BatchNorm = "freeze",
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
    (2020), with an adversary the adversarially trained head. A learned adapter is trained with the
    head. The preset ``salman2020_fixed`` has the fixed features of Salman et al. (2020),
    ``robustgenbench_lp50`` the linear probing of Heuillet et al. (2025), which is adversarial.

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
            adapter: ``pad_crop``, ``pad_crop_2``, ``random_resized_crop``, ``flip``,
            ``colour_jitter``, ``rotation``. The paper makes them at 224 x 224 pixels: give the
            target's data set this `size`.
        adversary: Train on adversarial examples of the target's images, as in ``vision/trained``:
            None, or ``{norm, eps, steps, ...}`` with eps for inputs in [0, 1].
        snapshots: Epochs after which the weights are recorded; Figure 3 of the paper has 11, 21,
            41, 81 and 150.
        activations: When the frozen blocks' activations are computed: ``once``, where they are the
            same in every epoch (no augmentation, no adversary, frozen batch normalisation, a fixed
            adapter) and fit in memory; or in ``every_epoch``. The results agree up to rounding,
            but not where the trained blocks apply dropout to images: it draws in the order of
            memory, which differs.
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
    presets={**utrera2021_presets(UTRERA2021_AUGMENT), **FULL_PRESETS},
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
    batch_norm: Annotated[BatchNorm, Since(1)] = "adapt",
) -> Transfer:
    """Fine-tune the whole source, from its own weights on, with a new head.

    With an adversary it is adversarial training that starts from the source. A learned adapter is
    trained as well. The preset ``salman2020_full`` has the settings of Salman et al. (2020);
    ``robustgenbench_fft50`` and ``robustgenbench_fft5`` are the protocols of Heuillet et al.
    (2025), whose learning rates are to be chosen by validation.

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
        batch_norm: ``adapt``: batch normalisation uses and learns the target's statistics;
            ``freeze``: it keeps the source's.
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
    return BlockTuning(blocks="all", batch_norm=batch_norm, head_init=head_init, recipe=recipe)
