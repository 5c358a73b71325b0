"""Fine-tunings: weights of a source are trained further. Light: torch is imported when one is built."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge

from advtransfer.precheck import precheck
from advtransfer.toolkit.adversary import AdversarialTraining
from advtransfer.toolkit.recipe import Adam, Augment, Optimiser, Schedule, Sgd
from advtransfer.types import Since, Transfer, component
from advtransfer_finetune import checks
from advtransfer_finetune.options import AUGMENTED, Cached, Count, Epochs, HeadInit, utrera2021

_ADAM, _SGD, _SCHEDULE = Adam(lr=3e-3), Sgd(lr=0.01), Schedule()


@precheck(check=checks.blocks)
@component(
    needs=("source",),
    tasks=("classes", "attributes", "values"),
    presets=utrera2021({**AUGMENTED, "batch_norm": "adapt"}),
)
def blocks(
    *,
    blocks: Annotated[int, Ge(0)],
    epochs: Annotated[int, Ge(1)] = 60,
    batch_size: Annotated[int, Ge(1)] = 32,
    optimiser: Optimiser = _ADAM,
    schedule: Schedule = _SCHEDULE,
    batch_norm: Literal["adapt", "freeze"] = "freeze",
    head_init: Annotated[HeadInit, Since(2)] = "default",
    augment: Annotated[Augment, Since(2)] = "none",
    adversary: Annotated[AdversarialTraining | None, Since(2)] = None,
    snapshots: Annotated[Epochs, Since(2)] = (),
    activations: Annotated[Literal["once", "every_epoch"], Since(1)] = "once",
    cached: Cached = True,
) -> Transfer:
    """The source's last blocks fine-tuned together with a new head; everything before them keeps its weights.

    As in Utrera et al. (2021), section 4. Their settings, and those that only their code tells, are the presets
    ``utrera2021`` (from 3,200 images on) and ``utrera2021_few`` (up to 1,600). With 0 blocks and frozen batch
    normalisation it is the fine-tuned teacher ("FT") of Chan et al. (2020). A learned adapter is trained with the head.

    Args:
        blocks: How many of the source's last blocks are trained besides the head; 0 trains the head alone.
        epochs: How often each image is seen.
        batch_size: Images in a step.
        optimiser: The optimiser and its largest learning rate.
        schedule: The learning rate over the training.
        batch_norm: ``freeze`` runs the frozen blocks as in evaluation; ``adapt``, as in the paper's released code, lets
            their batch normalisation use and learn the target's statistics.
        head_init: Where the head starts: torch's ``default``, or ``normal``, which is N(0, 1) and zero biases.
        augment: ``none``, or a list of changes to each training image, in their order, before any adapter:
            ``pad_crop``, ``pad_crop_2``, ``flip``, ``colour_jitter``, ``rotation``. The paper makes them at 224 x 224
            pixels: give the target's data set this `size`.
        adversary: Train on adversarial examples, of the target's images, as in ``vision/trained``: None, or
            ``{norm, eps, steps, ...}`` with eps for inputs in [0, 1].
        snapshots: Epochs after which the weights are kept; Figure 3 of the paper has 11, 21, 41, 81 and 150.
        activations: When what the frozen blocks give is computed: ``once``, where they give the same in every epoch (no
            augmentation, no adversary, frozen batch normalisation, a fixed adapter) and it fits in memory; or in
            ``every_epoch``. The numbers agree but for rounding.
        cached: Share activations that are computed once with the other fits of this source, adapter and data set.
    """
    from advtransfer_finetune.fitting import Recipe
    from advtransfer_finetune.tuning import BlockTuning

    recipe = Recipe(
        epochs=epochs,
        batch_size=batch_size,
        optimiser=optimiser,
        schedule=schedule,
        augment=augment,
        adversary=adversary,
        snapshots=snapshots,
    )
    once = activations == "once"
    return BlockTuning(
        blocks=blocks, batch_norm=batch_norm, head_init=head_init, recipe=recipe, once=once, cached=cached
    )


@precheck(check=checks.full)
@component(needs=("source",), tasks=("classes", "attributes", "values"), presets=utrera2021(AUGMENTED))
def full(
    *,
    epochs: Count = 60,
    batch_size: Count = 32,
    optimiser: Optimiser = _SGD,
    schedule: Schedule = _SCHEDULE,
    head_init: HeadInit = "default",
    augment: Augment = "none",
    adversary: AdversarialTraining | None = None,
    snapshots: Epochs = (),
) -> Transfer:
    """The whole source fine-tuned, from its own weights on, with a new head.

    Batch normalisation uses and learns the target's statistics. With an adversary it is adversarial training that
    starts from the source. A learned adapter is trained as well.

    Args:
        epochs: How often each image is seen.
        batch_size: Images in a step.
        optimiser: The optimiser and its largest learning rate.
        schedule: The learning rate over the training.
        head_init: Where the head starts, as in `blocks`.
        augment: Changes to each training image, as in `blocks`.
        adversary: Train on adversarial examples, as in `blocks`.
        snapshots: Epochs after which the weights are kept.
    """
    from advtransfer_finetune.fitting import Recipe
    from advtransfer_finetune.tuning import BlockTuning

    recipe = Recipe(
        epochs=epochs,
        batch_size=batch_size,
        optimiser=optimiser,
        schedule=schedule,
        augment=augment,
        adversary=adversary,
        snapshots=snapshots,
    )
    return BlockTuning(blocks="all", batch_norm="adapt", head_init=head_init, recipe=recipe)
