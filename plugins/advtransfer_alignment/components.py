"""Factories of the alignment evaluation, the transfer loss and the transferability estimators.

They import torch only when a component is built.
"""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, Gt, Interval, MinLen

from advtransfer.precheck import precheck
from advtransfer.types import Dataset, Evaluation, Source, component
from advtransfer_alignment import options
from advtransfer_alignment.options import Attack, Kernel, Spectrum

_DEFAULT_SPECTRUM = Spectrum()


@precheck(check=options.attack_misfits, metrics=lambda _: options.ALIGNMENT_METRICS)
@component(
    version=2,
    needs=("source", "reference"),
    tasks=("classes", "attributes", "values"),
    example={"attack": {"kind": "pgd", "norm": "linf", "eps": 0.1, "steps": 2}},
)
def alignment(
    *,
    attack: Attack,
    spectrum: Spectrum = _DEFAULT_SPECTRUM,
    seed: Annotated[int, Ge(0)] = 0,
) -> Evaluation:
    """Measure how well attacks transfer between source and reference, and how nearly they agree.

    f_S is the source with its own head, behind the cell's adapter; f_T is the target's `reference`.
    Metrics whose name ends in ``_st`` attack f_S and observe f_T, ``_ts`` the other way round.
    Compare metrics of the same reference only.

    All metrics are computed over the test samples that f_T predicts correctly, which are the same
    for every source: ``right`` is their number, ``reference_error`` the share of the others.
    Losses, error rates and distances use all of them. For other metrics ``kept_<name>`` is the
    number of samples used: for alpha_1, where the white-box attack moves the observed model; for
    alpha_2, where the attack moves both models; for the joint, where all three are the case; for
    tau_2 and lambda, where the attack moves the attacked model; for tau_1, where each attack moves
    its model, as in the theorems; for the cosines, where both perturbations are nonzero. A metric
    is left out where this leaves fewer than half of the correct samples, or fewer than two.

    Liang et al. (2021): ``alpha_1`` (adversarial loss transferability, with ``alpha_1_median``),
    ``alpha_2`` (agreement of directions; ``alpha_2_squared_unbiased`` is its square without the 1 /
    N that chance adds), ``joint``; ``gradient_distance`` and ``function_distance`` (on logits;
    ``feature_distance`` on features): the distance of the observed model from the nearest affine
    map of the other one; ``knowledge_distance`` (and ``_features``): the distance of the labels
    from the nearest affine map of f_S, ``reference_distance``: their distance from
    f_T itself. These maps are fitted to the samples they are measured on. A distance is left out
    where there are as many features as samples.

    Liang et al. (2020): ``tau_1`` and ``tau_2`` of the linearized virtual attack, exact. The map of
    tau_2 is fitted to its samples too, so that chance alone gives about d / N for an attacked model
    of d outputs. ``lambda_max`` and ``lambda_mean``, with ``_s`` and ``_t``: second singular value
    divided by the first. ``theorem_<k>_left`` and ``_bound``: the quantity that theorem k bounds,
    and its bound (estimated for theorem 3, which needs a Lipschitz constant). Of the attack itself:
    ``tau_2_attack``, ``cosine`` and ``cosine_squared`` between both perturbations;
    ``loss_transfer``, the loss of f_T under the source's attack, beside ``loss_clean`` and
    ``loss_white_box``; ``error_rate_ss``, ``st``, ``tt``, ``ts``: how often an attack on the first
    model changes the decision of the second.

    Arrays, in test order: the values of each metric that is a mean over samples, under its name,
    NaN at the samples it is not computed over.

    Args:
        attack: The attack on both models, by `kind`, with eps in [0, 1] pixel space. All attacks
            move away from the model's own output, never from a label. ``pgd`` (``{norm, eps, steps,
            step_size, random_start}``; by default 50 steps of 5 * eps / steps, as Liang et al.,
            2021) and ``fgsm`` (``{kind, norm, eps, random_start}``) ascend the loss against the
            model's own prediction; ``virtual`` (``{kind, norm, eps, steps, step_size}``) maximises
            the change of the outputs; ``top_singular`` (``{kind, eps}``) does so for the linearized
            model, and its deviations are then linear too, as in their synthetic experiment.
        spectrum: ``{most_outputs, iterations}``: for a model of more outputs than `most_outputs`,
            singular directions come from power iteration (``power_residual_s`` and ``_t`` are the
            largest remaining errors), and gradient distances and theorems are left out. Memory
            grows with the square of `most_outputs`: 33 kB per sample at 32 outputs of each model.
        seed: Seed of the random starts; those of a sample are the same for every model.
    """
    from advtransfer_alignment.evaluations import AlignmentEvaluation

    return AlignmentEvaluation(attack=attack, spectrum=spectrum, seed=seed)


@component(
    needs=("source", "reference"),
    tasks=("classes", "attributes", "values"),
)
def singular_directions(
    *, directions: Annotated[int, Ge(1)] = 2, most_outputs: Annotated[int, Ge(1)] = 32
) -> Evaluation:
    """Measure the alignment of source and reference by singular direction of their Jacobians.

    The i-th attack moves an image along the i-th right singular vector of the attacked model's
    Jacobian, in the linearized model; 1 is the attack ``top_singular`` of `alignment`, 2 the
    "attack level 1" of the released synthetic experiment of Liang et al. (2021). Metrics
    ``direction_<i>_<name>``, with the names and the samples of `alignment`: ``alpha_1_st``,
    ``alpha_2_st``, ``joint_st``, ``tau_2_attack_st`` (and ``_ts``), ``tau_1`` (the squared cosine
    of both models' i-th vectors), ``sigma_s`` and ``sigma_t`` (mean singular values). Where two
    singular values are equal, which direction is the i-th is arbitrary.

    Over all directions, weighted by the square of sigma_i; a definition of this project, since that
    of the paper's theory was not at hand: ``weighted_alpha_1``, the mean of ``sqrt(sum_i s_i^2
    ||J_2 v_i||^2 / sum_i s_i^2 t_i^2)`` with the singular values s and t of both models, from 0 to
    1, the same in both directions, and 1 where both have the same right singular vectors in the
    same order; ``weighted_alpha_2_st`` and ``_ts``, alpha_2 of the outer products' sum with weights
    ``s_i^2 / sum_j s_j^2``. Arrays as those of `alignment`.

    Args:
        directions: Number of directions with metrics of their own, at most the number of outputs of
            either model; those beyond it are left out.
        most_outputs: The cell is skipped if a model has more outputs than this: whole Jacobians
            take one backward pass per output, and 33 kB per sample at 32 outputs of each model.
    """
    from advtransfer_alignment.direction_alignment import SingularDirectionsEvaluation

    return SingularDirectionsEvaluation(directions=directions, most_outputs=most_outputs)


@precheck(check=options.attack_misfits, metrics=lambda _: options.IMAGE_METRICS)
@component(
    needs=("source", "reference", "model"),
    tasks=("classes", "attributes", "values"),
    example={"attack": {"kind": "pgd", "norm": "linf", "eps": 0.1, "steps": 2}},
)
def per_image(*, attack: Attack, seed: Annotated[int, Ge(0)] = 0) -> Evaluation:
    """Correlate alpha_1 of each test image with the transferred model's loss at that image.

    Are images on which the two models are attacked alike also the ones that are transferred well?
    The released code of Liang et al. (2021) stores both arrays. Over the test samples that the
    reference predicts correctly and at which the white-box attack moves the observed model
    (``kept_st``, ``kept_ts``): ``pearson_st`` and ``spearman_st`` of alpha_1 from source to
    reference with the clean loss (cross-entropy, binary cross-entropy, or squared distance), and
    ``_ts`` for alpha_1 from reference to source; the means ``loss``, ``alpha_1_st`` and
    ``alpha_1_ts``. Negative where what is attacked alike is transferred well. A correlation is left
    out where one side is constant. Arrays, in test order, NaN at the samples left out: ``loss``,
    ``alpha_1_st`` and ``alpha_1_ts``.

    Args:
        attack: The attack on both models, as in `alignment`; deviations are differences of outputs.
        seed: Seed of the random starts; those of a sample are the same for every model.
    """
    from advtransfer_alignment.image_correlation import ImageCorrelationEvaluation

    return ImageCorrelationEvaluation(attack=attack, seed=seed)


@precheck(metrics=lambda _: ("loss", "squared_loss"))
@component(version=2, needs=("model",), tasks=("classes", "attributes", "values"))
def transfer_loss() -> Evaluation:
    """Measure the transferred model's loss, the knowledge transfer that alignment is to predict.

    Metric ``loss``, over all test samples: mean cross-entropy of classes, mean binary cross-entropy
    of attributes, or the root mean squared distance of values, ``sqrt(E||y - f(x)||^2)`` (Liang et
    al., 2021), with its square ``squared_loss``. Array, one value per sample, under the name of the
    metric that is its mean: ``loss``, or ``squared_loss`` for values.
    """
    from advtransfer_alignment.evaluations import TaskLossEvaluation

    return TaskLossEvaluation()


@precheck(check=options.attack_misfits, metrics=lambda _: ("leep",))
@component(needs=("source", "train"))
def leep(*, attack: Attack | None = None, seed: Annotated[int, Ge(0)] = 0) -> Evaluation:
    """Estimate transferability by LEEP: the labels' likelihood under the source's classes.

    Metric ``leep``, the mean log-likelihood: at most 0, higher is better (Nguyen et al., 2020). It
    is computed on the training samples that a transfer may see, without any training.

    Args:
        attack: Attack that first moves the samples, away from the source's own prediction, as in
            `alignment`.
        seed: Seed of the attack's random starts.
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
    """Estimate transferability by the H-score: how well source features separate target classes.

    Metric ``h_score``, ``tr(cov(f)^-1 cov(E[f | y]))``: from 0 to the number of classes minus 1,
    higher is better (Bao et al., 2019). The features are the inputs of the source's head, on the
    training samples that a transfer may see. With as many features as samples the score is at its
    maximum and means nothing: the cell is then skipped.

    Args:
        cutoff: Directions of the centred features whose singular value is below this share of the
            largest are left out.
        attack: Attack that first moves the samples, away from the source's own prediction, as in
            `alignment`.
        seed: Seed of the attack's random starts.
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
    """Estimate transferability by LogME: the evidence of a Bayesian linear model on features.

    Metric ``logme``, the largest log evidence by sample and output, higher is better (You et al.,
    2021). The features are the inputs of the source's head, on the training samples that a transfer
    may see; labels are one-hot classes, 0/1 attributes or values. Classes without any sample are
    left out.

    Args:
        attack: Attack that first moves the samples, away from the source's own prediction, as in
            `alignment`.
        seed: Seed of the attack's random starts.
    """
    from advtransfer_alignment.estimators import estimate_log_me
    from advtransfer_alignment.evaluations import EstimatorEvaluation

    return EstimatorEvaluation(
        metric="logme", estimator=estimate_log_me, reads="features", attack=attack, seed=seed
    )


@precheck(check=options.similarity_misfits)
@component(
    needs=("source", "reference"),
    tasks=("classes", "attributes", "values"),
    example={"attack": {"eps": 0.1, "steps": 2}},
)
def cka(
    *,
    kernels: Annotated[tuple[Kernel, ...], MinLen(1)] = ("linear",),
    width: Annotated[float, Gt(0)] = 0.4,
    batch: Annotated[int, Ge(8)] = 256,
    attack: Attack | None = None,
    seed: Annotated[int, Ge(0)] = 0,
) -> Evaluation:
    """Measure how similar the features of source and reference are, for each pair of blocks.

    Centred kernel alignment, ``HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L))`` (Kornblith et al., 2019),
    with the unbiased HSIC of Song et al. (2012) summed over batches before the ratio is taken
    (Nguyen, Raghu and Kornblith, 2021). It is 1 for equal features up to rotation, scale and shift,
    and 0 on average for independent ones, below which chance may take it; unlike the biased
    estimate it does not rise with the number of features.

    Metrics ``<kernel>__<block of the source>__<block of the reference>``, such as
    ``linear__features__features``, where the block ``features`` is the input of the head, and
    characters of a block's name other than letters, digits and underscores become underscores.
    With an attack also ``<kernel>_at_source__...`` and ``<kernel>_at_reference__...``, with both
    models at the adversarial examples of the one that is named. A pair is left out where the
    activations of one are the same for all images.

    Args:
        kernels: ``linear``, inner products of activations, or ``rbf``, ``exp(-d^2 / (2 sigma^2))``
            of their distances d, or both.
        width: The sigma of ``rbf``, as a multiple of the median distance between two different
            images of the batch, for each block by itself. Kornblith et al. take 0.2, 0.4 and 0.8.
        batch: Largest number of images whose Gram matrix is taken at once; the images are parted
            into batches of equally many, in order. With as many as test images, nothing is parted.
        attack: The attack on each model by itself, away from its own output, as in `alignment`.
        seed: Seed of the attack's random starts; those of a sample are the same for every model.
    """
    from advtransfer_alignment.similarity import SimilarityEvaluation

    return SimilarityEvaluation(kernels=kernels, width=width, batch=batch, attack=attack)


@precheck(metrics=lambda _: options.DISTANCE_METRICS)
@component(tasks=("classes", "attributes", "values"), example={"images": 16, "resamples": 20})
def dataset_distance(
    *,
    data: Dataset,
    network: Source,
    part: Literal["train", "test"] = "train",
    images: Annotated[int, Ge(4)] = 1000,
    resamples: Annotated[int, Ge(20)] = 200,
    seed: Annotated[int, Ge(0)] = 0,
) -> Evaluation:
    """Distance of the target's test images to another data set, by features of one fixed network.

    Metrics: ``mmd2``, the unbiased squared maximum mean discrepancy with an RBF kernel whose width is the median
    distance (Gretton et al., 2012; it may be below 0 for equal distributions); ``frechet``, the Fréchet distance of
    normal distributions with the features' moments (Heusel et al., 2017; biased upwards for few images); each with
    ``_low`` and ``_high``, the ends of a 95 % bootstrap interval over the images; ``width``, that of the kernel.
    Features are the inputs of the network's head, of images that are resized to the network's own size, a channel
    being the mean of three or repeated. Distances by different networks, or of different numbers of images, are not
    comparable. No transfer is read: the numbers are those of the target, as predictors across targets.

    Args:
        data: The other data set, such as the one that the sources were trained on.
        network: The network, by an entry in place, the same for all targets: a checkpoint, or one that is trained
            for this evaluation.
        part: Part of the other data set.
        images: Largest number of images of each set, drawn once.
        resamples: Resamples behind the intervals.
        seed: Seed of the draws.
    """
    from advtransfer_alignment.feature_distance import DatasetDistance

    return DatasetDistance(
        data=data, network=network, part=part, images=images, resamples=resamples
    )
