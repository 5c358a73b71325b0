"""Clean accuracy, and accuracy under gradient attacks inside a ball of given radius."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Literal

from advtransfer.precheck import precheck
from advtransfer.toolkit.adversary import TrainingNorm
from advtransfer.toolkit.option_checks import Norm
from advtransfer.types import Evaluation, Factory, Since, Task, component
from advtransfer_foolbox import options
from advtransfer_foolbox.attack_settings import BasicIterative, Fgsm, JudgedExamples, Loss, Pgd
from advtransfer_foolbox.options import AtLeastOne, Eps, EpsList, ReportCounts, Seed, StepSize

_PGD_OPTIONS = (
    *("steps", "step_size", "restarts", "random_start", "loss", "targets", "examples", "draws"),
)
_LOSS_OPTIONS = ("steps", "step_size", "restarts", "random_start")
_ITERATIVE_OPTIONS = ("steps", "step_size", "loss", "targets")
_pgd_settings = partial(Pgd, kind="pgd")
_iterative_settings = partial(BasicIterative, kind="basic_iterative")


_CLASSIFICATION: tuple[Task, ...] = ("classes", "attributes")


@precheck(metrics=lambda _: ("accuracy", "attribute_accuracy"))
@component(version=2, needs=("model",), tasks=_CLASSIFICATION)
def clean_accuracy() -> Evaluation:
    """Share of the test images that the model classifies correctly without an attack.

    Outcome metric ``accuracy``. A sample with a logit that is not finite is unknown, that is,
    neither correct nor wrong. A sample with attributes is correct if all of them are;
    ``attribute_accuracy`` is the mean share of correct attributes, with its array by sample.
    """
    from advtransfer_foolbox.clean_accuracy import CleanAccuracy

    return CleanAccuracy()


@precheck(
    check=options.eps_misfits,
    metrics=options.attack_metrics(lambda: Fgsm(kind="fgsm"), clean=False),
)
@component(
    version=3,
    needs=("model",),
    tasks=_CLASSIFICATION,
    presets=options.FGSM_PRESETS,
    example={"norm": "linf", "eps": 0.1},
)
def fgsm(
    *,
    norm: Norm,
    eps: Eps | EpsList,
    random_start: bool = False,
    loss: Literal["cross_entropy", "margin"] = "cross_entropy",
    seed: Seed = 0,
    counts: ReportCounts = False,
    draws: Annotated[AtLeastOne, Since(3)] = 1,
) -> Evaluation:
    """Accuracy under one gradient step of size eps (Goodfellow, Shlens and Szegedy, 2015).

    Outcome metric ``accuracy@<eps>``. One step is a weak attack: it only bounds the robust accuracy
    from above.

    Args:
        norm: Norm of the ball around the image: ``linf`` steps along the sign of the gradient,
            ``l2`` and ``l1`` along the gradient itself.
        eps: Radius of the ball in [0, 1] pixel space, or a list of radii; each radius is tried on
            the samples that the smaller ones did not break.
        random_start: Start at a random point of the ball instead of at the image; a misclassified
            starting point counts as an example.
        loss: The quantity that the step increases; ``margin`` is the largest other logit minus the
            logit of the sample's class.
        seed: Seed of the random starts; a sample's starts are the same for every model.
        counts: Also report ``forwards`` and ``gradients``, the numbers of evaluations of the model
            and of its gradient per sample, and their means.
        draws: Draws of a randomised model over which each gradient is averaged, expectation over
            transformation (Athalye et al., 2018); without effect on other models.
    """
    settings = Fgsm(kind="fgsm", random_start=random_start, loss=loss, draws=draws)
    from advtransfer_foolbox.assemble import build_evaluation

    return build_evaluation(
        settings, norm=norm, eps=eps, seed=seed, report_queries=counts, report_clean=False
    )


@precheck(
    check=options.attack_check(_pgd_settings, *_PGD_OPTIONS),
    metrics=options.attack_metrics(_pgd_settings, *_PGD_OPTIONS),
)
@component(
    version=4,
    needs=("model",),
    tasks=_CLASSIFICATION,
    presets=options.PGD_PRESETS,
    example={"norm": "linf", "eps": 0.1, "steps": 2, "step_size": 0.05},
)
def pgd(
    *,
    norm: Norm,
    eps: Eps | EpsList,
    steps: AtLeastOne,
    step_size: StepSize,
    restarts: AtLeastOne = 1,
    random_start: bool = True,
    loss: Loss = "cross_entropy",
    seed: Seed = 0,
    targets: Annotated[AtLeastOne | None, Since(1)] = None,
    examples: Annotated[JudgedExamples, Since(3)] = "any",
    counts: ReportCounts = False,
    draws: Annotated[AtLeastOne, Since(4)] = 1,
) -> Evaluation:
    """Accuracy under projected gradient descent (Madry et al., 2018), worst case over steps and restarts.

    Outcome metrics ``robust_accuracy@<eps>`` (``accuracy@<eps>`` with a single step, as in `fgsm`)
    and ``clean_accuracy``. Unlike in the paper, a sample is broken when any iterate is
    misclassified, not only the last one (see `examples`).

    A list of radii is attacked from the smallest to the largest, at each radius with all steps from
    the start that this radius alone would have. A sample broken at one radius is broken at all larger
    ones and not attacked again. So a value is at most that of its radius alone, and depends on no
    larger radius. A sample on which an attempt failed (gradients that are not finite) stays unknown
    unless it is broken.

    A sample with attributes is broken when any of them flips: cross-entropy is then the sum of their
    binary ones, ``margin`` belongs to the attribute that is nearest to flipping, and
    ``targeted_margin`` targets the attributes one after the other. The host has no battery for them.

    Cross-entropy is increased along the gradient of the log-sum-exp of the other logits minus the
    logit of the sample's class: the same direction, which does not vanish where the model is
    confident.

    Args:
        norm: Norm of the ball around the image; in ``l1`` a step moves only the 1 % of the pixels
            with the largest gradients (sparse descent: Tramer and Boneh, 2019).
        eps: Radius of the ball in [0, 1] pixel space, or a list of radii.
        steps: Number of gradient steps of each restart.
        step_size: Length of one step in pixel space (usually 2.5 eps / steps), or
            ``{times_eps: ...}``, a multiple of the radius, so that each radius of a list has its
            own. There is no default, because a step size that is too small overstates robustness
            silently.
        restarts: Number of runs from different random starts; each attacks only the samples that
            are not broken yet.
        random_start: Start at a random point of the ball instead of at the image; in ``l1`` this
            moves every pixel and needs more steps for the same result.
        loss: The quantity that the steps increase; ``margin`` is the largest other logit minus the
            logit of the sample's class; ``targeted_margin`` targets the other classes one after the
            other, each with all steps and restarts.
        seed: Seed of the random starts; a sample's starts are the same for every model.
        targets: Number of other classes that ``targeted_margin`` tries, by decreasing logit; all by
            default.
        examples: The iterates that are judged: ``any``, at the first of which that is misclassified
            the attack stops, or the ``last`` one of each restart, as in the paper. With ``last`` the
            metrics are ``accuracy@<eps>``, as in `fgsm`.
        counts: Also report ``forwards`` and ``gradients``, the numbers of evaluations of the model
            and of its gradient per sample, and their means.
        draws: Draws of a randomised model over which each gradient is averaged, expectation over
            transformation (Athalye et al., 2018); without effect on other models. A
            randomised model is judged at the last iterate, by one more draw.
    """
    settings = Pgd(
        kind="pgd",
        steps=steps,
        step_size=step_size,
        restarts=restarts,
        random_start=random_start,
        loss=loss,
        targets=targets,
        examples=examples,
        draws=draws,
    )
    from advtransfer_foolbox.assemble import build_evaluation

    return build_evaluation(settings, norm=norm, eps=eps, seed=seed, report_queries=counts)


@precheck(
    check=options.attack_check(_iterative_settings, *_ITERATIVE_OPTIONS),
    metrics=options.attack_metrics(_iterative_settings, *_ITERATIVE_OPTIONS),
)
@component(
    version=4,
    needs=("model",),
    tasks=_CLASSIFICATION,
    example={"norm": "linf", "eps": 0.1, "steps": 2, "step_size": 0.05},
)
def basic_iterative(
    *,
    norm: Norm,
    eps: Eps | EpsList,
    steps: AtLeastOne,
    step_size: StepSize,
    loss: Loss = "cross_entropy",
    targets: AtLeastOne | None = None,
    counts: bool = False,
) -> Evaluation:
    """Accuracy under the basic iterative method (Kurakin, Goodfellow and Bengio, 2017): PGD from the image.

    Outcome metrics as in `pgd`. In ``l1`` a step moves all pixels in proportion to their gradients.

    Args:
        norm: Norm of the ball around the image.
        eps: Radius of the ball in [0, 1] pixel space, or a list of radii, as in `pgd`.
        steps: Number of gradient steps.
        step_size: Length of one step, as in `pgd`.
        loss: The quantity that the steps increase, as in `pgd`.
        targets: Number of other classes that ``targeted_margin`` tries, by decreasing logit; all by
            default.
        counts: Also report ``forwards`` and ``gradients``, the numbers of evaluations of the model
            and of its gradient per sample, and their means.
    """
    settings = BasicIterative(
        kind="basic_iterative", steps=steps, step_size=step_size, loss=loss, targets=targets
    )
    from advtransfer_foolbox.assemble import build_evaluation

    return build_evaluation(settings, norm=norm, eps=eps, seed=0, report_queries=counts)


@precheck(
    check=options.attack_check(_pgd_settings, *_LOSS_OPTIONS, bounds=None),
    metrics=lambda chosen: ["loss", *options.names_at_radii("attacked_loss", chosen)],
)
@component(
    needs=("model",),
    tasks=("classes", "attributes", "values"),
    example={"norm": "linf", "eps": 0.1, "steps": 2, "step_size": 0.05},
)
def attacked_loss(
    *,
    norm: TrainingNorm,
    eps: Eps | EpsList,
    steps: AtLeastOne,
    step_size: StepSize,
    restarts: AtLeastOne = 1,
    random_start: bool = True,
    seed: Seed = 0,
) -> Evaluation:
    """Loss under projected gradient ascent, for tasks without a right and a wrong, such as values.

    Metrics ``loss`` and ``attacked_loss@<eps>``, means over the test samples, with the samples'
    losses as arrays of these names: cross-entropy of classes, mean binary cross-entropy of
    attributes, squared distance of values. Each sample counts with the largest loss of all steps and
    restarts, also those in smaller balls of the list. It is no robust accuracy, and never checked.

    Args:
        norm: Norm of the ball around the input.
        eps: Radius of the ball in the unit of the inputs, or a list of radii.
        steps: Number of gradient steps of each restart.
        step_size: Length of one step, as in `pgd`.
        restarts: Number of runs from different random starts.
        random_start: Start at a random point of the ball instead of at the input.
        seed: Seed of the random starts; a sample's starts are the same for every model.
    """
    settings = _pgd_settings(
        steps=steps, step_size=step_size, restarts=restarts, random_start=random_start
    )
    from advtransfer_foolbox.attacked_loss import AttackedLoss

    radii = eps if isinstance(eps, tuple) else (eps,)
    return AttackedLoss(settings=settings, norm=norm, radii=radii, seed=seed)


EVALUATIONS: Sequence[Factory[Evaluation]] = (
    clean_accuracy,
    fgsm,
    pgd,
    basic_iterative,
    attacked_loss,
)
