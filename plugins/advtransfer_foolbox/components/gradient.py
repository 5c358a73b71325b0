"""Clean accuracy, and accuracy under attacks that follow the gradient inside a ball of given size."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Literal

from advtransfer.precheck import precheck
from advtransfer.types import Evaluation, Factory, Since, component
from advtransfer_foolbox import options
from advtransfer_foolbox.options import (
    AtLeastOne,
    BasicIterative,
    Eps,
    EpsList,
    Fgsm,
    Loss,
    Norm,
    Pgd,
    ReportCounts,
    Seed,
    StepSize,
)

_PGD_OPTIONS = ("steps", "step_size", "restarts", "random_start", "loss", "targets")
_ITERATIVE_OPTIONS = ("steps", "step_size", "loss", "targets")
_pgd_settings = partial(Pgd, kind="pgd")
_iterative_settings = partial(BasicIterative, kind="basic_iterative")


@precheck(metrics=lambda _: ("accuracy",))
@component(needs=("model",))
def clean_accuracy() -> Evaluation:
    """Share of the test images that the model classifies correctly without an attack.

    Outcome metric ``accuracy``. A sample whose logits are not all finite is unknown, never right or wrong.
    """
    from advtransfer_foolbox.clean_accuracy import CleanAccuracy

    return CleanAccuracy()


@precheck(
    check=options.eps_misfits,
    metrics=options.attack_metrics(lambda: Fgsm(kind="fgsm"), clean=False),
)
@component(needs=("model",), presets=options.FGSM_PRESETS)
def fgsm(
    *,
    norm: Norm,
    eps: Eps | EpsList,
    random_start: bool = False,
    loss: Literal["cross_entropy", "margin"] = "cross_entropy",
    seed: Seed = 0,
    counts: ReportCounts = False,
) -> Evaluation:
    """Accuracy under one gradient step of size eps (Goodfellow, Shlens and Szegedy, 2015).

    Outcome metric ``accuracy@<eps>``. One step is a weak attack: it bounds the robust accuracy from above only.

    Args:
        norm: The ball that the perturbation stays in: ``linf`` takes the sign of the gradient, ``l2`` and ``l1`` its
            direction (all pixels in proportion to their gradients).
        eps: The ball's radius in [0, 1] pixel space; of a list, each is tried on what smaller ones left standing.
        random_start: Start at a random point of the ball instead of at the image; a misclassified start counts too.
        loss: What the step increases; ``margin`` is the best other logit less that of the sample's class.
        seed: Which random starts are drawn; a sample's are the same for every model.
        counts: Also report ``forwards`` and ``gradients``: how often each was evaluated for a sample, and the means.
    """
    asked = Fgsm(kind="fgsm", random_start=random_start, loss=loss)
    from advtransfer_foolbox.assemble import build_evaluation

    return build_evaluation(asked, norm=norm, eps=eps, seed=seed, counts=counts, clean=False)


@precheck(
    check=options.attack_check(_pgd_settings, *_PGD_OPTIONS),
    metrics=options.attack_metrics(_pgd_settings, *_PGD_OPTIONS),
)
@component(version=2, needs=("model",), presets=options.PGD_PRESETS)
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
    counts: ReportCounts = False,
) -> Evaluation:
    """Accuracy under projected gradient descent (Madry et al., 2018), the worst over steps and restarts per sample.

    Outcome metrics ``robust_accuracy@<eps>`` (``accuracy@<eps>`` with a single step, as in `fgsm`) and
    ``clean_accuracy``. Differs from the paper in that a sample is broken when any iterate is misclassified, not only
    the last one. A list of radii is climbed from the smallest: what is broken at one is broken at the next, what an
    attempt failed on (gradients that are not finite) stays unknown unless it is broken, and the rest go on from where
    they ended there, stretched to the larger ball, for ``(eps / largest eps) ** 3`` of the steps. So a value depends on
    the list, and may be a point or two above that of its radius alone.

    Args:
        norm: The ball that the perturbation stays in; in ``l1`` only the pixels with the largest gradients are moved,
            the hundredth part of them (sparse descent: Tramer and Boneh, 2019).
        eps: The ball's radius in [0, 1] pixel space, or a list of radii to climb.
        steps: Gradient steps of each restart.
        step_size: Length of one step in pixel space (2.5 eps / steps is usual), or ``{times_eps: ...}``, a multiple of
            the radius, so that each of a list has its own. It has no default, because one that is too small overstates
            robustness without a sign of it.
        restarts: Independent runs from other random starts; each attacks only what still stands.
        random_start: Start at a random point of the ball instead of at the image; in ``l1`` that moves every pixel, and
            takes more steps to find as much.
        loss: What the steps increase; ``margin`` is the best other logit less that of the sample's class;
            ``targeted_margin`` takes the other classes in turn, each with all its steps and restarts.
        seed: Which random starts are drawn; a sample's are the same for every model.
        targets: How many other classes ``targeted_margin`` tries, by falling logit; all when left out.
        counts: Also report ``forwards`` and ``gradients``: how often each was evaluated for a sample, and the means.
    """
    asked = Pgd(
        kind="pgd",
        steps=steps,
        step_size=step_size,
        restarts=restarts,
        random_start=random_start,
        loss=loss,
        targets=targets,
    )
    from advtransfer_foolbox.assemble import build_evaluation

    return build_evaluation(asked, norm=norm, eps=eps, seed=seed, counts=counts)


@precheck(
    check=options.attack_check(_iterative_settings, *_ITERATIVE_OPTIONS),
    metrics=options.attack_metrics(_iterative_settings, *_ITERATIVE_OPTIONS),
)
@component(version=2, needs=("model",))
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
    """Accuracy under the basic iterative method (Kurakin, Goodfellow and Bengio, 2017): PGD from the image itself.

    Outcome metrics as in `pgd`. In ``l1`` all pixels are moved, in proportion to their gradients.

    Args:
        norm: The ball that the perturbation stays in.
        eps: The ball's radius in [0, 1] pixel space, or a list of radii to climb, as in `pgd`.
        steps: Gradient steps.
        step_size: Length of one step, as in `pgd`.
        loss: What the steps increase, as in `pgd`.
        targets: How many other classes ``targeted_margin`` tries, by falling logit; all when left out.
        counts: Also report ``forwards`` and ``gradients``: how often each was evaluated for a sample, and the means.
    """
    asked = BasicIterative(
        kind="basic_iterative", steps=steps, step_size=step_size, loss=loss, targets=targets
    )
    from advtransfer_foolbox.assemble import build_evaluation

    return build_evaluation(asked, norm=norm, eps=eps, seed=0, counts=counts)


EVALUATIONS: Sequence[Factory[Evaluation]] = (clean_accuracy, fgsm, pgd, basic_iterative)
