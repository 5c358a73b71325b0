"""The factories of this plugin.

They import torch and matplotlib only when an evaluation is built.
"""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, Interval, MinLen

from advtransfer.precheck import precheck
from advtransfer.types import Evaluation, component
from advtransfer_interpret import options
from advtransfer_interpret.options import Count, NonNegative, Positive


@precheck(check=options.rank_misfits, metrics=options.influence_metrics)
@component(version=2, needs=("model", "train"))
def influence(
    *,
    rcond: Annotated[float, Interval(ge=0, lt=1)],
    damping: Annotated[float, Ge(0)] = 0.0,
    targets: Literal["test", "train"] = "test",
    ranks: Annotated[tuple[Count, ...], MinLen(1)] = (1, 5, 10, 50, 100),
    largest: Count = 20_000,
) -> Evaluation:
    """Influence functions of the last layer (Koh and Liang, 2017), as Utrera et al. (2021) score them.

    Each target image ranks the training images by ``g_target H^+ g_train``, with gradients of the cross-entropy in the
    last layer and ``H`` its Hessian summed over the training images, plus `damping`. Where the layer is at the minimum
    of that sum plus ``damping / 2`` times its squared weights, the score is, to first order, by how much the target's
    loss rises when the training image is left out. A layer trained with another penalty, or not to the end, is at no
    such minimum: its scores are Utrera et al.'s still, but foretell no losses.

    Metrics: ``class_match@r``, the share of targets whose training image of rank r has their class;
    ``three_of_five``, the share with three or more such among the first five; ``chance_match``, what random ranks
    would give; ``hessian_size``, ``hessian_rank``. Figures: the matrix of scores over its Frobenius norm, by class;
    the match against the rank (their Figures 7 and 8).

    Args:
        rcond: Eigenvalues of H below this share of the largest are taken as 0. Results depend on it strongly (the
            paper's text says 1e-20, its code 1e-20 and 5e-2), so it has no default; what lies below rounding is
            always taken as 0.
        damping: Added to H for each weight, not for biases: the strength of the l2 penalty that the layer was trained
            with, in units of the summed cross-entropy. That is 1 / C for `finetune/linear_probe` (with two classes
            2 / C), and the number of training images times `weight_decay` for training by mini-batches.
        targets: The test images, or the training images, which rank themselves too, often first.
        ranks: The ranks r to report, from 1; those beyond the number of training images are left out.
        largest: The largest H that is taken on, in rows: ``(classes - 1) * (rank of the features + 1)``. Memory is 32
            bytes times its square, time grows with its cube. The paper's case, 9 * 2049 rows, is within the default
            and takes 11 GB.
    """
    from advtransfer_interpret.influences import InfluenceFunctions

    return InfluenceFunctions(
        rcond=rcond, damping=damping, targets=targets, ranks=ranks, largest=largest
    )


@precheck(check=options.unit_misfits, metrics=lambda _: options.FEATURE_METRICS)
@component(
    version=2,
    needs=("model",),
    presets={"utrera2021": {"steps": 1000, "step_size": 2.0, "radius": 1000.0}},
)
def feature_visualisation(
    *,
    units: Annotated[tuple[NonNegative, ...], MinLen(1)] = (0, 1, 2, 3),
    images: NonNegative = 2,
    steps: Count = 200,
    step_size: Positive = 0.2,
    radius: Positive | None = None,
    seed: NonNegative = 0,
) -> Evaluation:
    """Images that maximise units of what the last layer sees (Engstrom et al., 2019; Utrera et al., 2021, Figure 1).

    Gradient steps of fixed l2 length from noise and from test images, clipped to the pixels' range; the best iterate
    is kept. Gradients pass the network's last rectifier unchanged where only pooling, reshaping and scaling come
    between it and the last layer: ``rectifier_passed`` is then 1. Where another activation (ReLU6 too) or a layer
    comes in between it is 0, and gradients are the network's own. Other metrics, means over starts and units:
    ``activation``, ``activation_start``, ``total_variation`` (mean difference of neighbouring pixels),
    ``total_variation_start``, ``likeness`` (correlation with the start). Figure: the images. Means over so few images
    go with the figure; they are not fit to rank models by.

    Args:
        units: Which units, from 0.
        images: Test images to start from, of different classes, beside one image of noise.
        steps: The number of steps.
        step_size: Their l2 length, in pixel space.
        radius: The largest l2 distance from the start; null for any.
        seed: Which noise is drawn.
    """
    from advtransfer_interpret.feature_visualization import FeatureVisualization

    return FeatureVisualization(
        units=units, images=images, steps=steps, step_size=step_size, radius=radius
    )


@precheck(metrics=lambda _: options.SALIENCY_METRICS)
@component(needs=("model",))
def saliency(
    *, gradient_of: Literal["loss", "probability"] = "loss", images: Count = 8
) -> Evaluation:
    """Input gradients as images (Figures 1, 4 and 6 of Chan et al., 2020; Tsipras et al., 2019).

    Metrics, means over the test images: ``gradient_norm`` (l2), ``roughness`` (mean difference of neighbouring values
    over their mean size: about 1.4 for noise), ``flat`` (share without a gradient). Figure: images over gradients,
    mid-grey for 0, clipped at 3 standard deviations.

    Args:
        gradient_of: The cross-entropy, or the probability of the image's class.
        images: How many are drawn, of each class by turns.
    """
    from advtransfer_interpret.saliency_maps import SaliencyGrid

    return SaliencyGrid(gradient_of=gradient_of, images=images)


@precheck(check=options.rival_misfits, metrics=lambda _: options.ALIGNMENT_METRICS)
@component(version=2, needs=("model",))
def gradient_alignment(*, rivals: Count | None = None) -> Evaluation:
    """Both sides of the robustness-alignment bound: rho <= alignment + C / |g| (Chan et al., 2020, equation 18).

    With g the gradient of the gap between an image's two largest logits, the alignment is ``|<x, g>| / |g|``, and rho,
    the linearised robustness, the l2 distance to the nearest boundary of the linearised model (Etmann et al., 2019).
    Alignment alone does not bound rho; what is missing is the ``remainder``, ``C / |g|``, where C is what the
    linearised gap has at a black image, ``|gap - <x, g>|``: the bound then holds for each image.
    Metrics: ``alignment``, ``remainder``, ``rho`` and each one's ``_median``, the ``correlation`` of alignment and rho
    over images, ``gradient_norm``, ``flat`` (share of images without a gradient, which the others leave out). Figure:
    alignment and rho by image.

    Args:
        rivals: How many classes, by their logits, are tried for the nearest boundary; null for all. One gradient each.
    """
    from advtransfer_interpret.alignment_bound import RobustnessAlignment

    return RobustnessAlignment(rivals=rivals)


@precheck(check=options.surface_misfits, metrics=lambda _: options.SURFACE_METRICS)
@component(version=2, needs=("model",))
def loss_surface(
    *,
    norm: Literal["linf", "l2"],
    eps: Positive,
    images: Count = 4,
    rings: Annotated[int, Interval(ge=1, le=100)] = 10,
    seed: NonNegative = 0,
) -> Evaluation:
    """The loss around test images along the adversarial and a random direction (Moosavi-Dezfooli et al., 2019).

    The adversarial direction is the loss's steepest of length 1 in the norm (its sign in l_inf), the random one
    Gaussian, brought to length 1 likewise; what leaves the pixels' range is clipped. Metrics, means over the images:
    ``loss``; ``rise_adversarial`` and ``rise_random``, by how much it rises at distance eps, each the larger of both
    ways; ``nonlinearity``, the largest gap to its tangent on the adversarial line (Qin et al., 2019), which is clipped
    as well. A random rise that reaches the adversarial one says that gradients mislead. Figure: the surfaces. Means
    over so few images go with the figure; they are not fit to rank models by.

    Args:
        norm: In which a direction has length 1.
        eps: How far the grid reaches, in [0, 1] pixel space.
        images: How many, of each class by turns.
        rings: How many grid points lie on each side of the image, along each direction.
        seed: Which random directions are drawn; an image's is the same for every model.
    """
    from advtransfer_interpret.loss_surfaces import LossSurface

    return LossSurface(norm=norm, eps=eps, images=images, rings=rings)
