"""Accuracy under the two attacks of AutoAttack that do not ascend a loss: FAB and Square."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated

from annotated_types import Ge, Gt, Le, Lt

from advtransfer.precheck import precheck
from advtransfer.toolkit.option_checks import Norm
from advtransfer.types import Evaluation, Factory, component
from advtransfer_foolbox import options
from advtransfer_foolbox.attack_settings import Fab, Square
from advtransfer_foolbox.options import AtLeastOne, Eps, EpsList, Seed

_SQUARE_OPTIONS = ("queries", "p_init", "restarts")
_square_settings = partial(Square, kind="square")


@precheck(check=options.eps_misfits, metrics=options.minimization_metrics(Fab, "fab"))
@component(
    version=2, needs=("model",), example={"norm": "linf", "eps": 0.1, "steps": 2, "targets": 1}
)
def fab(
    *,
    norm: Norm,
    eps: Eps | EpsList,
    steps: AtLeastOne = 100,
    targets: AtLeastOne = 9,
    alpha_max: Annotated[float, Ge(0), Le(1)] = 0.1,
    eta: Annotated[float, Ge(1)] = 1.05,
    beta: Annotated[float, Ge(0), Lt(1)] = 0.9,
    counts: bool = False,
) -> Evaluation:
    """Accuracy under the targeted fast adaptive boundary attack (Croce and Hein, 2020): FAB-T.

    Each step projects point and image onto the boundary to the target class, linearised at the
    point, within the box, and goes to a mean of the two. From an example the search goes back
    towards the image. Outcomes, distances and metrics as in `deepfool`. Nothing is random.

    Args:
        norm: Norm of the distance.
        eps: Radius in [0, 1] pixel space, or a list of radii.
        steps: Number of steps towards each target class.
        targets: Number of other classes to target, by decreasing logit; the second and later ones
            are tried on the samples that are not broken at the smallest radius.
        alpha_max: Largest share of the image's own projection in a step.
        eta: Length of a step relative to the distance from the boundary.
        beta: Share of the perturbation that is left after going back from an example.
        counts: Also report ``forwards`` and ``gradients``, the numbers of evaluations of the model
            and of its gradient per sample, and their means.
    """
    settings = Fab(
        kind="fab", steps=steps, targets=targets, alpha_max=alpha_max, eta=eta, beta=beta
    )
    from advtransfer_foolbox.assemble import build_evaluation

    return build_evaluation(
        settings, norm=norm, eps=eps, seed=0, report_queries=counts, report_distances=True
    )


@precheck(
    check=options.eps_misfits,
    metrics=options.attack_metrics(_square_settings, *_SQUARE_OPTIONS),
)
@component(version=2, needs=("model",), example={"norm": "linf", "eps": 0.1, "queries": 3})
def square(
    *,
    norm: Norm,
    eps: Eps | EpsList,
    queries: Annotated[int, Ge(2)] = 5000,
    p_init: Annotated[float, Gt(0), Le(1)] = 0.8,
    restarts: AtLeastOne = 1,
    seed: Seed = 0,
    counts: bool = False,
) -> Evaluation:
    """Accuracy under the square attack (Andriushchenko et al., 2020): random search by the logits alone.

    Outcome metrics ``robust_accuracy@<eps>`` and ``clean_accuracy``. Each proposal changes a square
    window of the image and is kept if it lowers the margin of the sample's class. No gradient is
    used, so a model that hides its gradients gains nothing; on other models attacks by gradients are
    stronger and cheaper. In ``l1`` the search is that of Croce and Hein (2021).

    Args:
        norm: Norm of the ball around the image.
        eps: Radius of the ball in [0, 1] pixel space, or a list of radii; each radius is tried on
            the samples that the smaller ones did not break.
        queries: Largest number of evaluations of the model per sample and restart.
        p_init: Share of the image that the first windows cover; it is halved after 10, 50, 200, 500,
            1000, 2000, 4000, 6000 and 8000 proposals.
        restarts: Number of searches with different draws.
        seed: Seed of all draws; a sample's draws are the same for every model.
        counts: Also report ``forwards`` and ``gradients``, the numbers of evaluations of the model
            and of its gradient per sample, and their means.
    """
    settings = Square(kind="square", queries=queries, p_init=p_init, restarts=restarts)
    from advtransfer_foolbox.assemble import build_evaluation

    return build_evaluation(settings, norm=norm, eps=eps, seed=seed, report_queries=counts)


EVALUATIONS: Sequence[Factory[Evaluation]] = (fab, square)
