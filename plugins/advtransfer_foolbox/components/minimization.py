"""Accuracy under attacks that look for the nearest adversarial example: run once for all radii."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from annotated_types import Ge

from advtransfer.precheck import precheck
from advtransfer.types import Evaluation, Factory, component
from advtransfer_foolbox import options
from advtransfer_foolbox.options import (
    AtLeastOne,
    Boundary,
    BrendelBethge,
    CarliniWagner,
    DeepFool,
    Eps,
    EpsList,
    Norm,
    Positive,
    Seed,
)


@precheck(check=options.eps_misfits, metrics=options.minimization_metrics(DeepFool, "deepfool"))
@component(version=2, needs=("model",))
def deepfool(
    *,
    norm: Literal["linf", "l2"],
    eps: Eps | EpsList,
    steps: AtLeastOne = 50,
    candidates: Annotated[int, Ge(2)] = 10,
    overshoot: Annotated[float, Ge(0)] = 0.02,
    counts: bool = False,
) -> Evaluation:
    """Accuracy under DeepFool (Moosavi-Dezfooli, Fawzi and Frossard, 2016): steps to the nearest linearised boundary.

    A sample is broken at every radius that its example's distance is within. Outcome metrics ``robust_accuracy@<eps>``
    (``accuracy@<eps>`` with a single step, as in `fgsm`) and ``clean_accuracy``; the array ``distance`` has each
    sample's (0 for a wrong one, infinite where none was found), ``median_distance`` the median over those right without
    attack, unless it is infinite.

    Args:
        norm: How distance is measured.
        eps: The radius in [0, 1] pixel space, or several.
        steps: The most steps.
        candidates: How many classes are considered, by falling logit, the sample's own among them.
        overshoot: By which share each step goes beyond the boundary.
        counts: Also report ``forwards`` and ``gradients``: how often each was evaluated for a sample's batch of 64,
            and the means.
    """
    asked = DeepFool(kind="deepfool", steps=steps, candidates=candidates, overshoot=overshoot)
    from advtransfer_foolbox.assemble import build_evaluation

    return build_evaluation(asked, norm=norm, eps=eps, seed=0, counts=counts, nearest=True)


@precheck(
    check=options.eps_misfits, metrics=options.minimization_metrics(CarliniWagner, "carlini_wagner")
)
@component(version=2, needs=("model",))
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

    Outcomes, distances and metrics as in `deepfool`. Every search takes all its steps: to stop when the loss of a
    batch stalls would let samples change each other's outcomes.

    Args:
        norm: How distance is measured.
        eps: The radius in [0, 1] pixel space, or several.
        binary_search_steps: Searches, each with another weight of the margin.
        steps: Steps of each search.
        step_size: The learning rate.
        confidence: By how much another logit must lead.
        initial_const: The margin's weight in the first search.
        counts: Also report ``forwards`` and ``gradients``, as in `deepfool`.
    """
    asked = CarliniWagner(
        kind="carlini_wagner",
        binary_search_steps=binary_search_steps,
        steps=steps,
        step_size=step_size,
        confidence=confidence,
        initial_const=initial_const,
    )
    from advtransfer_foolbox.assemble import build_evaluation

    return build_evaluation(asked, norm=norm, eps=eps, seed=0, counts=counts, nearest=True)


@precheck(
    check=options.eps_misfits, metrics=options.minimization_metrics(BrendelBethge, "brendel_bethge")
)
@component(version=2, needs=("model",))
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
    """Accuracy under the attack of Brendel et al. (2019): along the decision boundary, with gradients, to the image.

    Outcomes, distances and metrics as in `deepfool`. Needs the library numba. It begins where a blend of the image with
    random noise is first misclassified; a sample for which a thousand draws gave none is unknown.

    Args:
        norm: How distance is measured.
        eps: The radius in [0, 1] pixel space, or several.
        steps: Steps along the boundary.
        lr: The trust region's size for one pixel.
        restarts: Runs from other noise, each on what still stands at the smallest radius.
        seed: Which noise is drawn; a sample's is the same for every model.
        counts: Also report ``forwards`` and ``gradients``, as in `deepfool`.
    """
    asked = BrendelBethge(kind="brendel_bethge", steps=steps, lr=lr, restarts=restarts)
    from advtransfer_foolbox.assemble import build_evaluation

    return build_evaluation(asked, norm=norm, eps=eps, seed=seed, counts=counts, nearest=True)


@precheck(check=options.eps_misfits, metrics=options.minimization_metrics(Boundary, "boundary"))
@component(version=2, needs=("model",))
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
    """Accuracy under the boundary attack (Brendel, Rauber and Bethge, 2018): a random walk that sees only decisions.

    Outcomes, distances and metrics as in `deepfool`. It begins as `brendel_bethge` does. The walk's directions are
    shared by all samples, as Foolbox shares them within a batch; they depend on the seed and the restart alone.

    Args:
        norm: How distance is measured.
        eps: The radius in [0, 1] pixel space, or several.
        steps: The most steps of the walk.
        spherical_step: Length of the first step at a constant distance, as a share of that distance.
        source_step: Length of the first step towards the image, as a share of the distance.
        restarts: Walks with other draws, each on what still stands at the smallest radius.
        seed: Which noise is drawn.
        counts: Also report ``forwards`` and ``gradients``, as in `deepfool`.
    """
    asked = Boundary(
        kind="boundary",
        steps=steps,
        spherical_step=spherical_step,
        source_step=source_step,
        restarts=restarts,
    )
    from advtransfer_foolbox.assemble import build_evaluation

    return build_evaluation(asked, norm=norm, eps=eps, seed=seed, counts=counts, nearest=True)


EVALUATIONS: Sequence[Factory[Evaluation]] = (deepfool, carlini_wagner, brendel_bethge, boundary)
