"""Factory of IGAM. It imports torch only when the transfer is built."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, Interval

from advtransfer.precheck import precheck
from advtransfer.toolkit.adversary import Adversary
from advtransfer.toolkit.training_config import Augment, OptimizerConfig, Schedule, Sgd
from advtransfer.types import NotInId, Since, Source, Transfer, component
from advtransfer_igam import options
from advtransfer_igam.options import (
    PRESETS,
    DiscriminatorConfig,
    GradientTarget,
    MatchTarget,
    Reduction,
    TeacherConfig,
)

_STUDENT_OPTIMIZER = Sgd(lr=0.05)
_STUDENT_SCHEDULE = Schedule()
_DEFAULT_TEACHER = TeacherConfig()
_DEFAULT_DISCRIMINATOR = DiscriminatorConfig()


@precheck(check=options.igam_misfits)
@component(
    version=4,
    needs=("source",),
    presets=PRESETS,
    second_derivatives=True,
    example={"epochs": 2, "batch_size": 16, "teacher": {"epochs": 1}},
)
def igam(
    *,
    student: Source | None = None,
    lambda_adv: Annotated[float, Ge(0)] = 0.1,
    lambda_diff: Annotated[float, Ge(0)] = 1.0,
    gradient_of: GradientTarget = "loss",
    reduction: Reduction = "sample_mean",
    match: MatchTarget = "teacher",
    warm_up: Annotated[float, Interval(ge=0, lt=1)] = 0.0,
    epochs: Annotated[int, Ge(1)] = 30,
    batch_size: Annotated[int, Ge(1)] = 32,
    optimiser: OptimizerConfig = _STUDENT_OPTIMIZER,
    schedule: Schedule = _STUDENT_SCHEDULE,
    augment: Augment = "none",
    kernel_decay: Annotated[float, Ge(0)] = 0.0,
    input_noise: Annotated[float, Interval(ge=0, le=1)] = 0.0,
    standardise: Literal["none", "l2"] = "none",
    teacher: TeacherConfig = _DEFAULT_TEACHER,
    discriminator: DiscriminatorConfig = _DEFAULT_DISCRIMINATOR,
    teacher_attack: Annotated[Adversary | None, Since(2)] = None,
    compare_gradients: Annotated[bool, Since(4)] = False,
    cache_gradients: Annotated[bool, NotInId()] = True,
    count_passes: Annotated[bool, Since(4)] = False,
) -> Transfer:
    """Train a student whose input gradients resemble those of the source, its teacher.

    Chan et al. (2020). First the teacher gets a new logit layer on natural target images, through
    the adapter, which is trained with it if it is a learned one. Then the student minimises
    ``cross-entropy - lambda_adv * D + lambda_diff * L`` (equation 14): L is the squared distance
    between its input gradients and the teacher's, D the cross-entropy of a discriminator that is
    trained to distinguish the two.

    Differs from the released code in two ways: the discriminator learns from the gradients of the
    student's step before it, not from gradients computed again; and the student is evaluated in
    eval mode, not with the statistics of each test batch. Two more are choices of options: the
    released code decays kernels alone (`kernel_decay`, also of the discriminator, as the presets
    do) and initialises the student as its architecture does, which holds here for networks of
    ``vision`` (others draw each layer as torch does). The facts ``teacher_clean_accuracy`` and
    ``teacher_robust_accuracy`` measure the tuned teacher on the validation part or, where there is
    none, on the images it was tuned on: gradients of a teacher that has learned little are worth
    little. On the test part the tuned teacher is ``finetune/blocks`` with 0 blocks.

    Args:
        student: The trained network and its initial weights, such as ``{use: vision/random_init,
            data: TARGET, network: small_cnn}``; by default the teacher's own architecture with new
            initial weights of its own, and a new logit layer.
        lambda_adv: Weight of the discriminator's cross-entropy, averaged over both kinds of
            gradients: the number of the paper's appendix A, which is twice that of its equation 10.
        lambda_diff: Weight of the squared distance, for images in [0, 1]. For gradients of the loss
            values around 1 work well, for those of the probability around 10; the paper's numbers
            are for pixels in [0, 255], sums and the probability.
        gradient_of: ``loss``: the cross-entropy, as in the paper; ``probability``: that of the true
            class, as in its released code.
        reduction: Squared differences are summed over each image and then averaged over the batch
            (``sample_mean``), summed over the batch too (``sum``, the released code), or averaged
            over everything (``mean``).
        match: ``zero`` is a control: the teacher's gradients are replaced by zeros, and no teacher
            is tuned. With a `lambda_adv` of 0 it is a plain penalty on the student's gradients.
            ``image`` is another: the images themselves, minus their mean and divided by their l2
            norm, as Jacobian adversarially regularized networks match them (Chan et al., ICLR 2020).
        warm_up: Share of the training before both terms begin; 0.875 in the released code.
        epochs: Number of times that each image is seen.
        batch_size: Images per step.
        optimiser: The student's optimizer and its largest learning rate.
        schedule: The learning rate over the training.
        augment: Changes to each training image, as in vision/trained; ``[pad_crop_2, flip]`` in the
            released code.
        kernel_decay: Weight of half the squared l2 norm of the student's convolution and linear
            kernels, as in the released code; the optimizer's `weight_decay` applies to all weights.
        input_noise: Largest uniform change of each pixel of training images, clipped to their
            bounds.
        standardise: ``l2`` replaces the student's normalisation by that of the released code: each
            image minus its mean, divided by its l2 norm.
        teacher: ``{epochs, batch_size, optimiser, batch_norm}`` of the teacher's new logit layer;
            `batch_norm` is ``running``, the statistics that came with the teacher, or ``batch``,
            those of each batch (released code).
        discriminator: ``{channels, every, optimiser, schedule, kernel_decay}``: one convolution for
            each of `channels`, and one step per `every` steps of the student; optimizer and
            schedule are by default the student's; `kernel_decay` is that of the discriminator.
        teacher_attack: ``{norm, eps, steps, ...}``, with eps for inputs in [0, 1]: the PGD that
            measures ``teacher_robust_accuracy``; None measures none.
        compare_gradients: Compare student and teacher on the validation part after the training, as
            section 6 of Chan et al. (2020) is about: the facts ``gradient_cosine``,
            ``alignment_student``, ``alignment_teacher``, ``alignment_difference`` (alpha of equation
            18) and ``discriminator_accuracy``, the share of input gradients that the discriminator
            assigns to the right model. It is 0.5 where the two distributions are equal, and where the
            discriminator is too weak to tell them apart. The weights stay the same to the bit.
        cache_gradients: Compute the teacher's gradients once for all epochs, where they stay the
            same: without `augment` and `input_noise`, with a teacher that neither draws nor depends
            on the batch, up to 1 GiB. The results are the same to the bit.
        count_passes: Record the fact ``gradient_passes``, for the columns of ``cost``: passes of an image through the
            teacher (its tuning included), the student and the discriminator.
    """
    from advtransfer_igam.options import LossTerms
    from advtransfer_igam.transfer import IgamTransfer

    terms = LossTerms(
        lambda_adv=lambda_adv,
        lambda_diff=lambda_diff,
        gradient_of=gradient_of,
        reduction=reduction,
        warm_up=warm_up,
        kernel_decay=kernel_decay,
        input_noise=input_noise,
    )
    return IgamTransfer(
        student=student,
        terms=terms,
        match=match,
        epochs=epochs,
        batch_size=batch_size,
        optimiser=optimiser,
        schedule=schedule,
        augment=augment,
        standardise=standardise,
        teacher_config=teacher,
        discriminator_config=discriminator,
        attack=teacher_attack,
        compares_gradients=compare_gradients,
        cached=cache_gradients,
        counts_passes=count_passes,
    )
