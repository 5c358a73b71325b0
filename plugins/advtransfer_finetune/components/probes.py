"""Probes on the source's frozen features or logits."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Interval

from advtransfer.precheck import precheck
from advtransfer.toolkit.training_config import OptimizerConfig, Schedule, Sgd
from advtransfer.types import Since, Transfer, component
from advtransfer_finetune import options
from advtransfer_finetune.options import (
    STEP_AFTER_EACH_THIRD,
    CacheActivations,
    HeadInit,
    PositiveInt,
    SnapshotEpochs,
)
from advtransfer_finetune.presets import utrera2021_presets

_PROBE_OPTIMIZER = Sgd()


@precheck(check=options.probe_misfits)
@component(
    version=2,
    needs=("source",),
    presets=utrera2021_presets({"solver": "sgd"}),
    deterministic={"solver": "lbfgs"},
)
def linear_probe(
    *,
    C: Annotated[float, Gt(0)] = 1.0,
    max_iterations: Annotated[int, Ge(1)] = 10_000,
    tolerance: Annotated[float, Gt(0)] = 1e-6,
    solver: Annotated[Literal["lbfgs", "sgd"], Since(2)] = "lbfgs",
    epochs: Annotated[PositiveInt, Since(2)] = 150,
    batch_size: Annotated[PositiveInt, Since(2)] = 128,
    optimiser: Annotated[OptimizerConfig, Since(2)] = _PROBE_OPTIMIZER,
    schedule: Annotated[Schedule, Since(2)] = STEP_AFTER_EACH_THIRD,
    head_init: Annotated[HeadInit, Since(2)] = "default",
    snapshots: Annotated[SnapshotEpochs, Since(2)] = (),
    cached: CacheActivations = True,
) -> Transfer:
    """Fit multinomial logistic regression on the source's frozen, standardized features.

    The features are the inputs of the source's head. The problem is convex, so that the result
    depends on no random number; the fact ``converged`` is 0 where the solver
    stopped before it met the tolerance. With ``solver: sgd`` the same model is trained for a fixed
    time instead, by the recipe of Utrera et al. (2021): its distance from the optimum is then part
    of the result, and so are the random numbers. They train on augmented images and on features
    without standardization; for that, take `blocks` with 0 blocks. A learned adapter is trained by
    ``sgd`` only.

    Args:
        C: Inverse strength of the l2 penalty on the weights, as in scikit-learn. To choose it for
            each fit, write ``choose: {by: validation.accuracy, among: {C: [0.01, 0.1, 1, 10]},
            folds: 5}`` beside it in the suite.
        max_iterations: Largest number of steps of the solver, L-BFGS.
        tolerance: Largest entry of the gradient at which the solver stops.
        solver: ``lbfgs``, which goes to the optimum, or ``sgd``. The options above are for lbfgs,
            those below for sgd.
        epochs: Number of times that each image is seen.
        batch_size: Images per step.
        optimiser: The optimizer and its largest learning rate; the penalty is its `weight_decay`.
        schedule: The learning rate over the training.
        head_init: Initial weights: torch's ``default``, or ``normal``, which is N(0, 1) and zero
            biases.
        snapshots: Epochs after which the weights are recorded.
        cached: Share the features with the other fits of this source, adapter and data set.
    """
    if solver == "sgd":
        from advtransfer_finetune.linear_probes import SgdProbe
        from advtransfer_finetune.training import TrainingRecipe

        if C != 1.0:
            raise ValueError(
                f"found C {C} beside solver 'sgd'; expected none; "
                "set weight_decay in optimiser instead"
            )
        recipe = TrainingRecipe(
            epochs=epochs,
            batch_size=batch_size,
            optimiser=optimiser,
            schedule=schedule,
            snapshots=snapshots,
        )
        return SgdProbe(recipe=recipe, head_init=head_init, cached=cached)
    from advtransfer_finetune.linear_probes import LinearProbe

    return LinearProbe(C=C, max_iterations=max_iterations, tolerance=tolerance, cached=cached)


@component(needs=("source",), tasks=("classes", "attributes", "values"), deterministic=True)
def logit_affine(
    *, cutoff: Annotated[float, Interval(ge=0, lt=1)] = 1e-6, cached: CacheActivations = True
) -> Transfer:
    """Fit the affine map of the source's logits that is nearest to the labels, in closed form.

    The map g of g o f_S in the theory of Liang et al. (2021): W = Cov(y, z) Cov(z, z)^+ and b = E y
    - W E z, for logits z and for labels y that are one-hot classes, -1/2 or 1/2 by attribute (an
    attribute is predicted where the output is above 0), or values. Where the logits are linearly
    dependent, W is the smallest of all equally good maps.

    Args:
        cutoff: Singular values of the centred logits below this share of the largest count as zero.
            Logits have about 7 digits.
        cached: Share the logits with the other fits of this source, adapter and data set.
    """
    from advtransfer_finetune.logit_probe import LogitAffine

    return LogitAffine(cutoff=cutoff, cached=cached)
