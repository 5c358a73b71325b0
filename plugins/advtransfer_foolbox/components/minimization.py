"""Accuracy under attacks that search for the nearest adversarial example, run once for all radii."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from annotated_types import Ge

from advtransfer.precheck import precheck
from advtransfer.toolkit.option_checks import Norm
from advtransfer.types import Evaluation, Factory, component
from advtransfer_foolbox import options
from advtransfer_foolbox.attack_settings import Boundary, BrendelBethge, CarliniWagner, DeepFool
from advtransfer_foolbox.options import AtLeastOne, Eps, EpsList, Positive, Seed


@precheck(check=options.eps_misfits, metrics=options.minimization_metrics(DeepFool, "deepfool"))
@component(version=3, needs=("model",), example={"norm": "linf", "eps": 0.1, "steps": 3})
def deepfool(
    *,
    norm: Literal["linf", "l2"],
    eps: Eps | EpsList,
    steps: AtLeastOne = 50,
    candidates: Annotated[int, Ge(2)] = 10,
    overshoot: Annotated[float, Ge(0)] = 0.02,
    counts: bool = False,
) -> Evaluation:
    """Accuracy under DeepFool (Moosavi-Dezfooli, Fawzi and Frossard, 2016): steps to linearised boundaries.

    A sample is broken at every radius from the distance of its example on. Outcome metrics
    ``robust_accuracy@<eps>`` (``accuracy@<eps>`` with a single step, as in `fgsm`) and
    ``clean_accuracy``. The array ``distance`` holds the distance of each sample's example: 0 for a
    sample that is wrong without attack, infinite if none was found. ``median_distance`` is its
    median over the samples that are correct without attack, left out if it is infinite.

    Args:
        norm: Norm of the distance.
        eps: Radius in [0, 1] pixel space, or a list of radii.
        steps: Largest number of steps.
        candidates: Number of classes to consider, by decreasing logit, including the sample's own.
        overshoot: Fraction by which each step goes beyond the boundary.
        counts: Also report ``forwards`` and ``gradients``, the numbers of evaluations of the model
            and of its gradient for the sample's batch of 64, and their means.
    """
    settings = DeepFool(kind="deepfool", steps=steps, candidates=candidates, overshoot=overshoot)
    from advtransfer_foolbox.assemble import build_evaluation

    return build_evaluation(
        settings, norm=norm, eps=eps, seed=0, report_queries=counts, report_distances=True
    )


@precheck(
    check=options.eps_misfits, metrics=options.minimization_metrics(CarliniWagner, "carlini_wagner")
)
@component(version=3, needs=("model",), example={"eps": 0.5, "binary_search_steps": 1, "steps": 3})
def carlini_wagner(
    *,
    norm: Literal["l2"] = "l2",
    eps: Eps | EpsList,
    binary_search_steps: AtLeastOne = 9,
    steps: AtLeastOne = 1000,
    step_size: Positive = 0.01,
    confidence: Annotated[float, Ge(0)] = 0.0,
    initial_const: Positive = 1e-3,
    counts: bool = False,
) -> Evaluation:
    """Accuracy under the l_2 attack of Carlini and Wagner (2017): Adam on squared distance and logit margin.

    Outcomes, distances and metrics as in `deepfool`. Every search takes all its steps, because
    stopping when the loss of a batch stalls would make a sample's outcome depend on other samples.

    Args:
        norm: Norm of the distance.
        eps: Radius in [0, 1] pixel space, or a list of radii.
        binary_search_steps: Number of searches, each with a different weight of the margin.
        steps: Number of steps of each search.
        step_size: The learning rate.
        confidence: Margin by which another logit must exceed that of the sample's class.
        initial_const: Weight of the margin in the first search.
        counts: Also report ``forwards`` and ``gradients``, as in `deepfool`.
    """
    settings = CarliniWagner(
        kind="carlini_wagner",
        binary_search_steps=binary_search_steps,
        steps=steps,
        step_size=step_size,
        confidence=confidence,
        initial_const=initial_const,
    )
    from advtransfer_foolbox.assemble import build_evaluation

    return build_evaluation(
        settings, norm=norm, eps=eps, seed=0, report_queries=counts, report_distances=True
    )


@precheck(
    check=options.eps_misfits, metrics=options.minimization_metrics(BrendelBethge, "brendel_bethge")
)
@component(version=4, needs=("model",), example={"norm": "linf", "eps": 0.1, "steps": 3})
def brendel_bethge(
    *,
    norm: Norm,
    eps: Eps | EpsList,
    steps: AtLeastOne = 1000,
    lr: Positive = 0.01,
    restarts: AtLeastOne = 1,
    seed: Seed = 0,
    counts: bool = False,
) -> Evaluation:
    """Accuracy under the attack of Brendel et al. (2019): a gradient-based walk along the decision boundary.

    Outcomes, distances and metrics as in `deepfool`. Needs the library numba. The walk starts at the
    first misclassified blend of the image with random noise. If a thousand draws give no such blend,
    the sample is unknown.

    Args:
        norm: Norm of the distance.
        eps: Radius in [0, 1] pixel space, or a list of radii.
        steps: Number of steps along the boundary.
        lr: Size of the trust region for one pixel.
        restarts: Number of runs from different noise; each attacks the samples that are not broken
            at the smallest radius.
        seed: Seed of the noise; a sample's noise is the same for every model.
        counts: Also report ``forwards`` and ``gradients``, as in `deepfool`.
    """
    settings = BrendelBethge(kind="brendel_bethge", steps=steps, lr=lr, restarts=restarts)
    from advtransfer_foolbox.assemble import build_evaluation

    return build_evaluation(
        settings, norm=norm, eps=eps, seed=seed, report_queries=counts, report_distances=True
    )


@precheck(check=options.eps_misfits, metrics=options.minimization_metrics(Boundary, "boundary"))
@component(version=4, needs=("model",), example={"eps": 0.5, "steps": 3})
def boundary(
    *,
    norm: Literal["l2"] = "l2",
    eps: Eps | EpsList,
    steps: AtLeastOne = 25_000,
    spherical_step: Positive = 0.01,
    source_step: Positive = 0.01,
    restarts: AtLeastOne = 1,
    seed: Seed = 0,
    counts: bool = False,
) -> Evaluation:
    """Accuracy under the boundary attack (Brendel, Rauber and Bethge, 2018): a walk that uses decisions only.

    Outcomes, distances and metrics as in `deepfool`. The random walk starts as in `brendel_bethge`.
    Its directions are the same for all samples, because Foolbox shares them within a batch; they
    depend on the seed and the restart only.

    Args:
        norm: Norm of the distance.
        eps: Radius in [0, 1] pixel space, or a list of radii.
        steps: Largest number of steps of the walk.
        spherical_step: Length of the first step at constant distance, as a fraction of that distance.
        source_step: Length of the first step towards the image, as a fraction of the distance.
        restarts: Number of walks with different draws; each attacks the samples that are not broken
            at the smallest radius.
        seed: Seed of the noise and the walks.
        counts: Also report ``forwards`` and ``gradients``, as in `deepfool`.
    """
    settings = Boundary(
        kind="boundary",
        steps=steps,
        spherical_step=spherical_step,
        source_step=source_step,
        restarts=restarts,
    )
    from advtransfer_foolbox.assemble import build_evaluation

    return build_evaluation(
        settings, norm=norm, eps=eps, seed=seed, report_queries=counts, report_distances=True
    )


EVALUATIONS: Sequence[Factory[Evaluation]] = (deepfool, carlini_wagner, brendel_bethge, boundary)
