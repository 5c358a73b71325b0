"""Factories of the alignment evaluation, the transfer loss and the transferability estimators.

They import torch only when one is built.
"""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, Interval

from advtransfer.precheck import precheck
from advtransfer.types import Evaluation, component
from advtransfer_alignment import options
from advtransfer_alignment.options import Attack, Spectrum

_DEFAULT_SPECTRUM = Spectrum()


@precheck(check=options.attack_misfits, metrics=lambda _: options.ALIGNMENT_METRICS)
@component(version=2, needs=("source", "reference"), tasks=("classes", "attributes", "values"))
def alignment(
    *,
    attack: Attack,
    spectrum: Spectrum = _DEFAULT_SPECTRUM,
    seed: Annotated[int, Ge(0)] = 0,
) -> Evaluation:
    """How alike source and reference are attacked, and how near one is to an affine map of the other.

    f_S is the source with its own head, behind the cell's adapter; f_T the target's `reference`. A name that ends in
    ``_st`` attacks f_S and looks at f_T, ``_ts`` the other way round. Compare numbers of one reference only.

    Every number is taken over the test samples that f_T has right (``right`` says how many, ``reference_error`` the
    share it has wrong), which are the same for every source. Losses, error rates and distances need nothing else;
    ``kept_<number>`` says over how many of them a number is taken that does: alpha_1 needs the white-box attack to move
    the model looked at; alpha_2 that the attack moves both models, the joint all three; tau_2 that it moves the model
    attacked, which is where lambda of that model is taken, too; tau_1 that it moves each model, as the theorems do;
    the cosines two perturbations. Where this holds for fewer than half of the right samples, or than two, the numbers
    are left out.

    Liang et al. (2021): ``alpha_1`` (adversarial loss transferability, with ``alpha_1_median``), ``alpha_2``
    (agreement of directions; ``alpha_2_squared_unbiased`` is its square without the 1 / N that chance adds), ``joint``;
    ``gradient_distance`` and ``function_distance`` (on logits; ``feature_distance`` on features): how far the model
    looked at is from the nearest affine map of the other one; ``knowledge_distance`` (and ``_features``): how far the
    labels are from the nearest affine map of f_S, ``reference_distance``: from f_T. These maps are fitted to the
    samples they are measured on; a distance is left out where there are as many features as samples.

    Liang et al. (2020): ``tau_1`` and ``tau_2`` of the linearised virtual attack, exact; tau_2's map is fitted to its
    samples as well, so that chance alone gives about d / N, d the outputs of the model attacked. ``lambda_max`` and
    ``lambda_mean`` of ``_s`` and ``_t``: second over first singular value; ``theorem_<k>_left`` and ``_bound``: what
    theorem k bounds, and its bound (theorem 3's is estimated: it needs a Lipschitz constant). Of the attack itself:
    ``tau_2_attack``, ``cosine`` and ``cosine_squared`` between both perturbations; ``loss_transfer``, the loss of f_T
    under the source's attack, beside ``loss_clean`` and ``loss_white_box``; ``error_rate_ss``, ``st``, ``tt``,
    ``ts``: how often an attack on the first changes what the second says.

    Arrays, in test order: of each number that is a mean over samples its values, under its own name, NaN at the
    samples it is not taken over.

    Args:
        attack: What perturbs both models, by `kind`, with eps in [0, 1] pixel space; all go away from the model's own
            output, never from a label. ``pgd`` (``{norm, eps, steps, step_size, random_start}``; 50 steps of
            5 * eps / steps when left out, as Liang et al., 2021) and ``fgsm`` (``{kind, norm, eps, random_start}``)
            ascend the loss against the model's own prediction; ``virtual`` (``{kind, norm, eps, steps, step_size}``)
            moves the outputs as far as it can; ``top_singular`` (``{kind, eps}``) does so for the linearised model, and
            its moves are then linear, too, as in their synthetic experiment.
        spectrum: ``{most_outputs, iterations}``: where a model has more outputs than `most_outputs`, its singular
            directions come from power iteration (``power_residual_s`` and ``_t``: the largest error that is left), and
            gradient distances and theorems are left out. Memory grows with the square of `most_outputs`: 33 kB a sample
            at 32 outputs of each model.
        seed: Which random starts are drawn; a sample's are the same for every model.
    """
    from advtransfer_alignment.evaluations import AlignmentEvaluation

    return AlignmentEvaluation(attack=attack, spectrum=spectrum, seed=seed)


@precheck(metrics=lambda _: ("loss", "squared_loss"))
@component(version=2, needs=("model",), tasks=("classes", "attributes", "values"))
def transfer_loss() -> Evaluation:
    """The loss of the transferred model on the test samples: the knowledge transfer that alignment is to predict.

    Metric ``loss``, over all test samples: mean cross-entropy of classes, mean binary cross-entropy of attributes, or
    the root mean squared distance of values, ``sqrt(E||y - f(x)||^2)`` (Liang et al., 2021), with ``squared_loss``, its
    square. Array, one a sample, whose mean the metric of its name is: ``loss``; ``squared_loss`` for values.
    """
    from advtransfer_alignment.evaluations import TaskLossEvaluation

    return TaskLossEvaluation()


@precheck(check=options.attack_misfits, metrics=lambda _: ("leep",))
@component(needs=("source", "train"))
def leep(*, attack: Attack | None = None, seed: Annotated[int, Ge(0)] = 0) -> Evaluation:
    """LEEP: how likely the target's labels are through the source's own classes, without training anything.

    Metric ``leep``, the mean log-likelihood: at most 0, and better when higher (Nguyen et al., 2020). It is
    computed on the training samples that a transfer may see.

    Args:
        attack: Moves the samples first, away from the source's own prediction, as in `alignment`.
        seed: Which random starts the attack draws.
    """
    from advtransfer_alignment.estimators import estimate_leep
    from advtransfer_alignment.evaluations import EstimatorEvaluation

    return EstimatorEvaluation(
        metric="leep", estimator=estimate_leep, reads="outputs", attack=attack, seed=seed
    )


@precheck(check=options.attack_misfits, metrics=lambda _: ("h_score",))
@component(needs=("source", "train"))
def h_score(
    *,
    cutoff: Annotated[float, Interval(ge=0, lt=1)] = 1e-6,
    attack: Attack | None = None,
    seed: Annotated[int, Ge(0)] = 0,
) -> Evaluation:
    """H-score: how much of the source's features varies between the target's classes rather than within them.

    Metric ``h_score``, ``tr(cov(f)^-1 cov(E[f | y]))``: from 0 to the number of classes minus 1, better when higher
    (Bao et al., 2019). The features are what the source's head receives, on the training samples that a
    transfer may see. With as many features as samples it is at its largest and says nothing: the cell is then skipped.

    Args:
        cutoff: Directions of the centred features whose singular value is below this share of the largest are left out.
        attack: Moves the samples first, away from the source's own prediction, as in `alignment`.
        seed: Which random starts the attack draws.
    """
    from functools import partial

    from advtransfer_alignment.estimators import estimate_h_score
    from advtransfer_alignment.evaluations import EstimatorEvaluation

    estimator = partial(estimate_h_score, cutoff=cutoff)
    return EstimatorEvaluation(
        metric="h_score", estimator=estimator, reads="features", attack=attack, seed=seed
    )


@precheck(check=options.attack_misfits, metrics=lambda _: ("logme",))
@component(needs=("source", "train"), tasks=("classes", "attributes", "values"))
def logme(*, attack: Attack | None = None, seed: Annotated[int, Ge(0)] = 0) -> Evaluation:
    """LogME: how well a Bayesian linear model on the source's features explains the target's labels.

    Metric ``logme``, the largest log evidence by sample and output, better when higher (You et al., 2021). The features
    are what the source's head receives, on the training samples that a transfer may see; labels are one-hot classes,
    0/1 attributes or values. A class of which no sample is seen is left out.

    Args:
        attack: Moves the samples first, away from the source's own prediction, as in `alignment`.
        seed: Which random starts the attack draws.
    """
    from advtransfer_alignment.estimators import estimate_log_me
    from advtransfer_alignment.evaluations import EstimatorEvaluation

    return EstimatorEvaluation(
        metric="logme", estimator=estimate_log_me, reads="features", attack=attack, seed=seed
    )
