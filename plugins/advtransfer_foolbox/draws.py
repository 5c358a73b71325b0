"""Expectation over the draws of a randomised model, for attacks by gradients."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from advtransfer.errors import Inapplicable
from advtransfer_foolbox.protocols import Attack


def mean_over_draws(evaluate: Callable[[], tuple[Tensor, ...]], draws: int) -> tuple[Tensor, ...]:
    """Return the means of what several evaluations of a model return (expectation over transformation).

    The gradient of an expectation is the expectation of the gradients (Athalye, Engstrom, Ilyas and Kwok, 2018,
    section 2.1).

    Args:
        evaluate: Evaluates the model once, at a draw of its own if it is randomised.
        draws: Number of evaluations; of one, what it returns.
    """
    totals = evaluate()
    if draws == 1:
        return totals
    for _ in range(draws - 1):
        totals = tuple(total + more for total, more in zip(totals, evaluate(), strict=True))
    return tuple(total / draws for total in totals)


def require_expectation(attack: Attack) -> None:
    """Check that an attack knows what to do with a model that draws at random.

    An attack that stops at the first wrong answer would stop at one that is wrong by chance.

    Raises:
        Inapplicable: It does not.
    """
    if not getattr(attack, "attacks_randomized", False):
        raise Inapplicable(
            "the model is randomised, and an attack of this evaluation follows one draw; use foolbox/fgsm, pgd or "
            "apgd with `draws`, or foolbox/autoattack with `version: rand`"
        )
