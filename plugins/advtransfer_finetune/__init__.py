"""Fine-tuning: a linear probe on frozen features, and the last blocks of a source with a new head.

Light to import: torch and scikit-learn are imported by the factories.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal, TypeAlias

from annotated_types import Ge, Gt, MinLen

from advtransfer.hookspecs import hookimpl
from advtransfer.toolkit.recipe import Adam, Optimiser, Schedule
from advtransfer.types import Factory, Transfer, component

Strength: TypeAlias = Annotated[float, Gt(0)]
Strengths: TypeAlias = Annotated[tuple[Strength, ...], MinLen(1)]

_OPTIMISER, _SCHEDULE = Adam(lr=3e-3), Schedule()


@component(needs=("source",))
def linear_probe(
    *,
    C: Strength | Strengths = 1.0,
    max_iterations: Annotated[int, Ge(1)] = 10_000,
    tolerance: Annotated[float, Gt(0)] = 1e-6,
) -> Transfer:
    """Multinomial logistic regression on the source's frozen, standardised features.

    The features are what the source's head receives. The problem is convex, so the result hangs on no random number;
    the fact ``converged`` is 0 where the solver stopped before it met the tolerance.

    Args:
        C: Inverse strength of the l2 penalty on the weights, as in scikit-learn. Of a list, the strength with the best
            accuracy on the validation part is kept (of equal ones the smallest); it needs such a part.
        max_iterations: The most steps of the solver, L-BFGS.
        tolerance: The largest entry of the gradient at which the solver stops.
    """
    from advtransfer_finetune.probe import LinearProbe

    strengths = tuple(sorted(C)) if isinstance(C, tuple) else (C,)
    return LinearProbe(strengths=strengths, max_iterations=max_iterations, tolerance=tolerance)


@component(needs=("source",))
def blocks(
    *,
    blocks: Annotated[int, Ge(0)],
    epochs: Annotated[int, Ge(1)] = 60,
    batch_size: Annotated[int, Ge(1)] = 32,
    optimiser: Optimiser = _OPTIMISER,
    schedule: Schedule = _SCHEDULE,
    batch_norm: Literal["adapt", "freeze"] = "freeze",
) -> Transfer:
    """The source's last blocks fine-tuned together with a new head; everything before them keeps its weights.

    As in Utrera et al. (2021), section 4, except that the new head starts from torch's default instead of N(0, 1), and
    that images are not augmented.

    Args:
        blocks: How many of the source's last blocks are trained besides the head; 0 trains the head alone.
        epochs: How often each image is seen.
        batch_size: Images in a step.
        optimiser: The optimiser and its largest learning rate.
        schedule: The learning rate over the training.
        batch_norm: ``freeze`` runs the frozen blocks as in evaluation; ``adapt``, as in the paper's released code, lets
            their batch normalisation use and learn the target's statistics.
    """
    from advtransfer_finetune.tuning import BlockTuning

    return BlockTuning(
        blocks=blocks,
        epochs=epochs,
        batch_size=batch_size,
        optimiser=optimiser,
        schedule=schedule,
        batch_norm=batch_norm,
    )


@hookimpl
def register_transfers() -> Iterable[Factory[Transfer]]:
    """The linear probe, and block fine-tuning."""
    return [linear_probe, blocks]
