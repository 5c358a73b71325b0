"""Probes: a linear map on what a frozen source gives. Light: torch is imported when one is built."""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from annotated_types import Ge, Gt, Interval, MinLen

from advtransfer.precheck import precheck
from advtransfer.toolkit.recipe import Optimiser, Schedule, Sgd
from advtransfer.types import Since, Transfer, component
from advtransfer_finetune import checks
from advtransfer_finetune.options import THIRDS, Cached, Count, Epochs, HeadInit, utrera2021

Strength: TypeAlias = Annotated[float, Gt(0)]
Strengths: TypeAlias = Annotated[tuple[Strength, ...], MinLen(1)]

_OPTIMISER = Sgd()


@precheck(check=checks.probe)
@component(needs=("source",), presets=utrera2021({"solver": "sgd"}))
def linear_probe(
    *,
    C: Strength | Strengths = 1.0,
    max_iterations: Annotated[int, Ge(1)] = 10_000,
    tolerance: Annotated[float, Gt(0)] = 1e-6,
    solver: Annotated[Literal["lbfgs", "sgd"], Since(2)] = "lbfgs",
    epochs: Annotated[Count, Since(2)] = 150,
    batch_size: Annotated[Count, Since(2)] = 128,
    optimiser: Annotated[Optimiser, Since(2)] = _OPTIMISER,
    schedule: Annotated[Schedule, Since(2)] = THIRDS,
    head_init: Annotated[HeadInit, Since(2)] = "default",
    snapshots: Annotated[Epochs, Since(2)] = (),
    folds: Annotated[Annotated[int, Ge(2)] | None, Since(1)] = None,
    cached: Cached = True,
) -> Transfer:
    """Multinomial logistic regression on the source's frozen, standardised features.

    The features are what the source's head receives. The problem is convex, so the result hangs on no random number,
    but for the folds; the fact ``converged`` is 0 where the solver stopped before it met the tolerance. With
    ``solver: sgd`` the same model is trained for a fixed time instead, by the recipe of Utrera et al. (2021): how far
    it comes is a part of the result, and so are the random numbers. They train on augmented images and on features as
    they are; for that, take `blocks` with 0 blocks. A learned adapter is trained by ``sgd`` alone.

    Args:
        C: Inverse strength of the l2 penalty on the weights, as in scikit-learn. Of a list, the strength with the best
            accuracy on the validation part is kept (of equal ones the smallest); it needs such a part, or `folds`.
        max_iterations: The most steps of the solver, L-BFGS.
        tolerance: The largest entry of the gradient at which the solver stops.
        solver: ``lbfgs``, which goes to the optimum, or ``sgd``. The options above are for lbfgs, those below for sgd.
        epochs: How often each image is seen.
        batch_size: Images in a step.
        optimiser: The optimiser and its largest learning rate; the penalty is its `weight_decay`.
        schedule: The learning rate over the training.
        head_init: Where the weights start: torch's ``default``, or ``normal``, which is N(0, 1) and zero biases.
        snapshots: Epochs after which the weights are kept.
        folds: Where there is no validation part, C is chosen by cross-validation over so many folds of the training
            part, each with its share of every class; the probe is then fitted to all of it.
        cached: Share the features with the other fits of this source, adapter and data set.
    """
    if solver == "sgd":
        from advtransfer_finetune.fitting import Recipe
        from advtransfer_finetune.sgd_probe import SgdProbe

        if C != 1.0 or folds is not None:
            found = f"C {C}" if folds is None else f"folds {folds}"
            raise ValueError(f"found {found} beside solver 'sgd'; expected none; set weight_decay in optimiser instead")
        recipe = Recipe(
            epochs=epochs, batch_size=batch_size, optimiser=optimiser, schedule=schedule, snapshots=snapshots
        )
        return SgdProbe(recipe=recipe, head_init=head_init, cached=cached)
    from advtransfer_finetune.probe import LinearProbe

    strengths = tuple(sorted(C)) if isinstance(C, tuple) else (C,)
    return LinearProbe(
        strengths=strengths, max_iterations=max_iterations, tolerance=tolerance, folds=folds, cached=cached
    )


@component(needs=("source",), tasks=("classes", "attributes", "values"))
def logit_affine(*, cutoff: Annotated[float, Interval(ge=0, lt=1)] = 1e-6, cached: Cached = True) -> Transfer:
    """The affine map of the source's logits that comes nearest to the labels: least squares, in closed form.

    The g of g o f_S in the theory of Liang et al. (2021): W = Cov(y, z) Cov(z, z)^+ and b = E y - W E z, for logits z
    and for labels y that are one-hot classes, -1/2 or 1/2 by attribute (one is predicted where the output is above 0),
    or values. Where the logits are linearly dependent, W is the smallest of all that fit equally well.

    Args:
        cutoff: Singular values of the centred logits below this share of the largest one count as zero. The logits
            are known to 7 digits or so.
        cached: Share the logits with the other fits of this source, adapter and data set.
    """
    from advtransfer_finetune.logits import LogitAffine

    return LogitAffine(cutoff=cutoff, cached=cached)
