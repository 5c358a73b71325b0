"""Factories of this plugin.

They import torch and matplotlib only when an evaluation is built.
"""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, Interval, MinLen

from advtransfer.precheck import precheck
from advtransfer.types import Evaluation, Folder, Since, component
from advtransfer_interpret import options
from advtransfer_interpret.options import Count, NonNegative, Positive


@precheck(
    check=options.rank_misfits, metrics=options.influence_metrics, files=options.influence_files
)
@component(version=3, needs=("model", "train"), example={"rcond": 1e-6})
def influence(
    *,
    rcond: Annotated[float, Interval(ge=0, lt=1)],
    damping: Annotated[float, Ge(0)] = 0.0,
    targets: Literal["test", "train"] = "test",
    ranks: Annotated[tuple[Count, ...], MinLen(1)] = (1, 5, 10, 50, 100),
    largest: Count = 20_000,
    hessian: Annotated[Literal["exact", "fisher"], Since(3)] = "exact",
    images: Annotated[NonNegative, Since(3)] = 0,
) -> Evaluation:
    """Influence functions of the last layer (Koh and Liang, 2017), as Utrera et al. (2021) score them.

    Each target image ranks the training images by the score ``g_target H^+ g_train``. Here g is the
    gradient of an image's cross-entropy with respect to the last layer, and ``H`` the Hessian of
    the cross-entropy summed over the training images, plus `damping`. If the layer minimises that
    sum plus ``damping / 2`` times its squared weights, the score is, to first order, the increase of
    the target's loss when the training image is left out. For few images it is too small, the more
    so the higher an image's leverage: leaving it out also takes its part from the Hessian, which
    the first order keeps. On a fit to 60 images the true increase was 1.84 times the score. If the
    layer was trained with another
    penalty, or not to convergence, the scores are still those of Utrera et al., but do not predict
    losses.

    Metrics: ``class_match@r``, the share of targets whose training image of rank r has the same
    class; ``three_of_five``, the share of targets with at least three such images among the first
    five; ``chance_match``, the value for random ranks; ``hessian_size``, ``hessian_rank``; with
    ``hessian: fisher`` also ``rank_agreement``, the mean over targets of Spearman's correlation with
    the ranking by the exact Hessian. Figures: the matrix of scores over its Frobenius norm, sorted by
    class; the class match against the rank (their Figures 7 and 8); with `images`, target images above
    their four most influential training images (their Figure 6), the same images for every model.

    Args:
        rcond: Eigenvalues of H below this fraction of the largest count as 0, as do those below
            rounding. There is no default, because results depend strongly on it (1e-20 in the
            paper's text, 1e-20 and 5e-2 in its code).
        damping: Added to H for each weight, not for biases: the strength of the l2 penalty that the
            layer was trained with, in units of the summed cross-entropy. It is 1 / C for
            ``finetune/linear_probe`` (2 / C with two classes), and the number of training images times
            `weight_decay` for training by mini-batches.
        targets: The images that rank the training images: the test images, or the training images,
            which then also rank themselves, often first.
        ranks: The ranks r to report, from 1; those beyond the number of training images are left
            out.
        largest: Largest allowed number of rows of H, ``(classes - 1) * (rank of the features + 1)``.
            Memory is 32 bytes times its square, time grows with its cube. The paper's case,
            9 * 2049 rows, is within the default and takes 11 GB.
        hessian: ``exact``, or ``fisher`` for the empirical Fisher matrix, the sum of ``g g'`` over the
            training images with their labels, in place of H: the ranking of the Fisher kernel
            (Khanna et al., 2019; Utrera et al., 2021, appendix A). It equals H in expectation where
            labels are drawn from the model's probabilities.
        images: Number of target images in the figure of the most influential training images, from
            each class in turn; 0 for no such figure.
    """
    from advtransfer_interpret.influence_evaluation import InfluenceFunctions

    return InfluenceFunctions(
        rcond=rcond,
        damping=damping,
        targets=targets,
        ranks=ranks,
        largest=largest,
        hessian=hessian,
        images=images,
    )


@precheck(
    check=options.unit_misfits,
    metrics=lambda _: options.FEATURE_METRICS,
    files=lambda _: ("features",),
)
@component(
    version=2,
    needs=("model",),
    presets={"utrera2021": {"steps": 1000, "step_size": 2.0, "radius": 1000.0}},
    example={"units": [0], "images": 1, "steps": 2},
)
def feature_visualisation(
    *,
    units: Annotated[tuple[NonNegative, ...], MinLen(1)] = (0, 1, 2, 3),
    images: NonNegative = 2,
    steps: Count = 200,
    step_size: Positive = 0.2,
    radius: Positive | None = None,
    seed: NonNegative = 0,
    photographs: Annotated[Folder | None, Since(2)] = None,
) -> Evaluation:
    """Images that maximise inputs of the last layer (Engstrom et al., 2019; Utrera et al., 2021, Figure 1).

    Gradient steps of fixed l2 length start from noise, test images and photographs, and are clipped to the
    pixels' range; the best iterate is kept. If only pooling, reshaping and scaling come between the
    network's last rectifier and its last layer, gradients pass this rectifier unchanged, and
    ``rectifier_passed`` is 1. If another activation (including ReLU6) or a layer comes between them,
    gradients are the network's own, and ``rectifier_passed`` is 0. Other metrics, means over starts
    and units: ``activation``, ``activation_start``, ``total_variation`` (mean difference of
    neighbouring pixels), ``total_variation_start``, ``likeness`` (correlation with the start).
    Figure: the images. The metrics describe the figure; over so few images they cannot rank models.

    Args:
        units: Indices of the units, from 0.
        images: Number of test images to start from, of different classes, beside one image of noise.
        steps: Number of gradient steps.
        step_size: Their l2 length, in pixel space.
        radius: Largest l2 distance from the start; null for any.
        seed: Seed of the noise.
        photographs: Folder of one's own photographs to start from as well (Utrera et al. start from
            photographs of a jet and of a dog); every file in it is an image. The middle of each is
            cut out and resized to the data set's images.
    """
    from advtransfer_interpret.feature_visualization import FeatureVisualization

    return FeatureVisualization(
        units=units,
        images=images,
        steps=steps,
        step_size=step_size,
        radius=radius,
        photographs=photographs,
    )


@precheck(metrics=lambda _: options.SALIENCY_METRICS, files=lambda _: ("saliency",))
@component(needs=("model",), example={"images": 2})
def saliency(
    *,
    gradient_of: Literal["loss", "probability"] = "loss",
    images: Count = 8,
    adapted: Annotated[bool, Since(2)] = False,
) -> Evaluation:
    """Input gradients as images (Figures 1, 4 and 6 of Chan et al., 2020; Tsipras et al., 2019).

    Metrics, means over the test images: ``gradient_norm`` (l2), ``roughness`` (mean difference of
    neighbouring values over their mean size: about 1.4 for noise), ``flat`` (share of images whose
    gradient is 0). Figure: images above their gradients, with 0 as mid-grey, clipped at 3 standard
    deviations.

    Args:
        gradient_of: ``loss`` (the cross-entropy), or ``probability`` (of the image's class).
        images: Number of images in the figure, from each class in turn.
        adapted: Also draw what the model's adapter makes of each image, as its network sees it
            (Figure 3 of Chan et al., 2020). With ``finetune/blocks`` of 0 blocks the gradients are
            those of IGAM's teacher. Models without an adapter of their own are skipped.
    """
    from advtransfer_interpret.saliency_maps import SaliencyGrid

    return SaliencyGrid(gradient_of=gradient_of, images=images, shows_adapted=adapted)


@precheck(
    check=options.rival_misfits,
    metrics=lambda _: options.ALIGNMENT_METRICS,
    files=lambda _: ("alignment",),
)
@component(version=2, needs=("model",))
def gradient_alignment(*, rivals: Count | None = None) -> Evaluation:
    """Both sides of the robustness-alignment bound: rho <= alignment + C / |g| (Chan et al., 2020, equation 18).

    With g the gradient of the gap between an image's two largest logits, the alignment is
    ``|<x, g>| / |g|``, and rho, the linearised robustness, is the l2 distance to the nearest boundary
    of the linearised model (Etmann et al., 2019). Alignment alone does not bound rho. Alignment plus
    the ``remainder`` ``C / |g|`` does, for each image, with ``C = |gap - <x, g>|``, the magnitude of
    the linearised gap at a black image.
    Metrics: ``alignment``, ``remainder`` and ``rho`` (means), their medians with the suffix
    ``_median``, the ``correlation`` of alignment and rho over images, ``gradient_norm``, and ``flat``
    (share of images whose gradient is 0; the bound's terms leave these out). Figure: alignment and
    rho by image.

    Args:
        rivals: Number of competing classes, by decreasing logit, that are tried for the nearest
            boundary; null for all. Each takes one gradient.
    """
    from advtransfer_interpret.alignment_bound import RobustnessAlignment

    return RobustnessAlignment(rivals=rivals)


@precheck(
    check=options.surface_misfits,
    metrics=lambda _: options.SURFACE_METRICS,
    files=options.surface_files,
)
@component(
    version=2, needs=("model",), example={"norm": "linf", "eps": 0.1, "images": 2, "rings": 2}
)
def loss_surface(
    *,
    norm: Literal["linf", "l2"],
    eps: Positive,
    images: Count = 4,
    rings: Annotated[int, Interval(ge=1, le=100)] = 10,
    seed: NonNegative = 0,
    regions: Annotated[bool, Since(2)] = False,
) -> Evaluation:
    """Loss around test images along an adversarial and a random direction (Moosavi-Dezfooli et al., 2019).

    The adversarial direction is the gradient of the loss (in l_inf, its sign), the random one is
    Gaussian; both have length 1 in the norm. Points are clipped to the pixels' range. Metrics, means
    over the images: ``loss``; ``rise_adversarial`` and ``rise_random``, the rise of the loss at
    distance eps, the larger one of both ways; ``nonlinearity``, the largest gap between the loss and
    its tangent on the clipped adversarial line (Qin et al., 2019). A random rise as large as the
    adversarial one is a sign of misleading gradients. Figure: the surfaces. The metrics describe the
    figure; over so few images they cannot rank models.

    Args:
        norm: Norm in which directions have length 1.
        eps: Distance from the image to the ends of the grid, in [0, 1] pixel space.
        images: Number of test images, from each class in turn.
        rings: Number of grid points on each side of the image, along each direction.
        seed: Seed of the random directions; an image's direction is the same for every model.
        regions: Also draw the predicted classes on the same grid below the losses (the file
            ``decision_regions``; Figure 7 of Chan et al., 2020).
    """
    from advtransfer_interpret.loss_surfaces import LossSurface

    return LossSurface(norm=norm, eps=eps, images=images, rings=rings, regions=regions)
