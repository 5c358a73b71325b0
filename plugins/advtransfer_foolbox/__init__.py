"""Foolbox as evaluations: clean accuracy, and accuracy under FGSM and PGD with the worst case kept per sample.

Every eps is in [0, 1] pixel space. Light to import: torch and Foolbox are imported by the factories.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal, TypeAlias

from annotated_types import Ge, Gt, MinLen

from advtransfer.hookspecs import hookimpl
from advtransfer.types import Evaluation, Factory, component

Eps: TypeAlias = Annotated[float, Ge(0)]
Ladder: TypeAlias = Annotated[tuple[Eps, ...], MinLen(1)]


@component(needs=("model",))
def clean_accuracy() -> Evaluation:
    """Share of the test images that the model classifies correctly without an attack.

    Outcome metric ``accuracy``. A sample whose logits are not all finite is unknown, never right or wrong.
    """
    from advtransfer_foolbox.accuracy import CleanAccuracy

    return CleanAccuracy()


@component(needs=("model",))
def fgsm(
    *,
    norm: Literal["linf", "l2"],
    eps: Eps | Ladder,
    random_start: bool = False,
    loss: Literal["cross_entropy"] = "cross_entropy",
    seed: Annotated[int, Ge(0)] = 0,
) -> Evaluation:
    """Accuracy under one gradient step of size eps (Goodfellow, Shlens and Szegedy, 2015).

    Outcome metric ``accuracy@<eps>``. One step is a weak attack: it bounds the robust accuracy from above only.

    Args:
        norm: The ball that the perturbation stays in: ``linf`` takes the sign of the gradient, ``l2`` its direction.
        eps: The ball's radius in [0, 1] pixel space; a list measures each one by itself.
        random_start: Start at a random point of the ball instead of at the image; a misclassified start counts too.
        loss: What the step increases.
        seed: Which random starts are drawn; a sample's are the same for every model.
    """
    from advtransfer_foolbox.attacks import fast_gradient
    from advtransfer_foolbox.budget import Budget
    from advtransfer_foolbox.robustness import AttackAccuracy

    del loss  # there is one so far; it is an option so that the record says it
    attack = fast_gradient(norm, random_start=random_start)
    return AttackAccuracy(attack=attack, metric="accuracy", budget=Budget.of(norm, eps), seed=seed)


@component(needs=("model",))
def pgd(
    *,
    norm: Literal["linf", "l2"],
    eps: Eps | Ladder,
    steps: Annotated[int, Ge(1)],
    step_size: Annotated[float, Gt(0)],
    restarts: Annotated[int, Ge(1)] = 1,
    random_start: bool = True,
    loss: Literal["cross_entropy"] = "cross_entropy",
    seed: Annotated[int, Ge(0)] = 0,
) -> Evaluation:
    """Accuracy under projected gradient descent (Madry et al., 2018), the worst over steps and restarts per sample.

    Outcome metrics ``robust_accuracy@<eps>`` and ``clean_accuracy``. Differs from the paper in that a sample is broken
    when any iterate is misclassified, not only the last one.

    Args:
        norm: The ball that the perturbation stays in.
        eps: The ball's radius in [0, 1] pixel space; a list measures each one by itself.
        steps: Gradient steps of each restart.
        step_size: Length of one step in pixel space (2.5 eps / steps is usual). It has no default, because one that is
            too small overstates robustness without a sign of it.
        restarts: Independent runs from other random starts; each attacks only what still stands.
        random_start: Start at a random point of the ball instead of at the image.
        loss: What the steps increase.
        seed: Which random starts are drawn; a sample's are the same for every model.
    """
    if restarts > 1 and not random_start:
        expected = "1 without a random start, since all would be the same"
        raise ValueError(f"found restarts {restarts}; expected {expected}; leave restarts out or random_start true")

    from advtransfer_foolbox.attacks import projected_gradient
    from advtransfer_foolbox.budget import Budget
    from advtransfer_foolbox.robustness import AttackAccuracy

    del loss  # there is one so far; it is an option so that the record says it
    attack = projected_gradient(norm, steps=steps, step_size=step_size, random_start=random_start)
    budget = Budget.of(norm, eps)
    return AttackAccuracy(
        attack=attack, metric="robust_accuracy", clean="clean_accuracy", budget=budget, restarts=restarts, seed=seed
    )


@hookimpl
def register_evaluations() -> Iterable[Factory[Evaluation]]:
    """Clean accuracy, FGSM, PGD."""
    return [clean_accuracy, fgsm, pgd]
