"""The factory of randomised smoothing. Torch is imported only when it is built."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import NormalDist
from typing import Annotated, TypeAlias

from annotated_types import Ge, Gt, Interval, MinLen

from advtransfer.precheck import CellOutline, Misfit, OptionValues, precheck
from advtransfer.types import Evaluation, component

Radius: TypeAlias = Annotated[float, Ge(0)]


def _metrics(chosen: OptionValues) -> list[str]:
    certified = [f"certified_accuracy@{radius:g}" for radius in chosen["radii"]]
    return ["smoothed_accuracy", "abstained", "average_certified_radius", *certified]


def _misfits(chosen: OptionValues, around: CellOutline) -> Iterator[Misfit]:
    # Even of equal draws alone, no more than this probability can be certified.
    largest_share = chosen["alpha"] ** (1 / chosen["draws"])
    largest = 0.0
    if largest_share > 0.5:
        largest = chosen["sigma"] * NormalDist().inv_cdf(largest_share)
    seen: set[str] = set()
    for position, radius in enumerate(chosen["radii"]):
        path = ("radii", position)
        if f"{radius:g}" in seen:
            yield Misfit(path, "radii that differ in six digits", "drop the repeated one")
        seen.add(f"{radius:g}")
        if radius > largest:
            expected = (
                f"at most {largest:.4g}, which {chosen['draws']} draws at sigma "
                f"{chosen['sigma']:g} and alpha {chosen['alpha']:g} can certify"
            )
            yield Misfit(path, expected, "lower it, or raise `sigma` or `draws`")


@precheck(check=_misfits, metrics=_metrics)
@component(needs=("model",), example={"sigma": 0.1, "first_draws": 4, "draws": 20, "radii": [0.05]})
def smoothing(
    *,
    sigma: Annotated[float, Gt(0)],
    radii: Annotated[tuple[Radius, ...], MinLen(1)],
    first_draws: Annotated[int, Ge(1)] = 100,
    draws: Annotated[int, Ge(1)] = 10_000,
    alpha: Annotated[float, Interval(gt=0, lt=1)] = 0.001,
    seed: Annotated[int, Ge(0)] = 0,
) -> Evaluation:
    """Certify the accuracy of the smoothed model in l_2, by randomised smoothing.

    Cohen, Rosenfeld and Kolter (2019), algorithm 1 (``CERTIFY``). The smoothed model predicts the
    class that the model predicts most often under normal noise; within the certified radius of an
    image no perturbation whatever changes its prediction, with probability 1 - `alpha` for each
    image. What is certified is the smoothed model, not the transferred model itself.

    Metrics ``certified_accuracy@<radius>``: the share of the images that the smoothed model predicts
    correctly, with a certified radius of at least this one. ``smoothed_accuracy``: that share at
    radius 0. ``abstained``: the share of images whose most frequent class was not certified to be
    it. ``average_certified_radius``: the mean radius, 0 where the prediction is wrong or abstained
    from (Zhai et al., 2020). Arrays of the same names, and ``radius``: the certified radius, 0 where
    abstained.

    It takes ``first_draws + draws`` predictions an image, each rounded up to whole batches of 64:
    choose `test` accordingly.

    Args:
        sigma: Standard deviation of the noise on each value, in [0, 1] pixel space; the images with
            noise are not clipped.
        radii: The l_2 radii, in the same unit. None can be larger than sigma times the normal
            quantile of ``alpha ** (1 / draws)``.
        first_draws: Draws that choose the class, n_0.
        draws: Draws that estimate its probability, n: 100,000 in the paper.
        alpha: The probability, for each image, that its certificate is wrong.
        seed: Seed of the noise; that of an image is the same for every model.
    """
    from advtransfer_certified.evaluation import SmoothingEvaluation

    return SmoothingEvaluation(
        sigma=sigma, radii=radii, first_draws=first_draws, draws=draws, alpha=alpha, seed=seed
    )
