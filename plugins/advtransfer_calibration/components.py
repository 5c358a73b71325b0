"""The factory of the calibration evaluation. Torch is imported only when it is built."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from annotated_types import Ge

from advtransfer.precheck import CellOutline, Misfit, OptionValues, precheck
from advtransfer.toolkit.loss_attack import LossAttack, loss_attack_misfits
from advtransfer.types import Evaluation, component

METRICS = ("ece", "l2_error", "squared_l2_error", "nll", "brier", "confidence")
"""The metrics, of the clean images by these names, of attacked ones with ``@<eps>`` behind them."""


def _metrics(chosen: OptionValues) -> list[str]:
    attack = chosen["attack"]
    attacked = [] if attack is None else [f"{name}@{attack.eps:g}" for name in METRICS]
    return [*METRICS, *attacked]


def _misfits(chosen: OptionValues, around: CellOutline) -> Iterator[Misfit]:
    yield from loss_attack_misfits(chosen["attack"], around.target)
    count = around.target.test
    if count is not None and count < 2 * chosen["bins"]:
        yield Misfit(
            ("bins",), f"at most {count // 2} bins for {count} test images", "take fewer bins"
        )


@precheck(check=_misfits, metrics=_metrics)
@component(needs=("model",), example={"attack": {"eps": 0.1, "steps": 2}, "bins": 3})
def calibration(
    *,
    bins: Annotated[int, Ge(1)] = 15,
    attack: LossAttack | None = None,
    seed: Annotated[int, Ge(0)] = 0,
) -> Evaluation:
    """Measure how far the model's confidence is from its accuracy, without and under attack.

    The confidence of an image is the softmax probability of its predicted class. Images are put
    into bins of equally many, by confidence; images of equal confidence share a bin. With the share
    w_b of the images in bin b, their mean confidence c_b, accuracy a_b and number n_b:

    ``ece``, the expected calibration error of the top label, sum of w_b |c_b - a_b| (Naeini et al.,
    2015; Guo et al., 2017). It is biased upwards: a calibrated model has more than 0 by chance.
    ``squared_l2_error``, the debiased sum of w_b [(c_b - a_b)^2 - a_b (1 - a_b) / (n_b - 1)] (Kumar
    et al., 2019), which is unbiased and so may be negative; ``l2_error`` is its root, 0 where it is
    negative. Both are those of the binned model, and lower bounds for the model itself.
    ``nll``, the mean negative log-likelihood of the true class; ``brier``, the mean squared distance
    of the probabilities from the one-hot label, summed over classes: from 0 to 2 (Brier, 1950);
    ``confidence``, the mean confidence.

    With an attack, the same metrics with ``@<eps>`` are those at each image's example of the highest
    loss: all images are attacked with all steps, also those that are already wrong, since an attack
    that stops at the first error leaves a model unsure. Labels stay those of the clean images.

    Arrays: ``nll``, ``brier`` and ``confidence`` by sample, and those under attack.

    Args:
        bins: Number of bins. Each holds at least two images.
        attack: The attack ``{norm, eps, steps, step_size, restarts, random_start}``, with eps in
            [0, 1] pixel space and by default 50 steps of 2.5 * eps / steps; none by default.
        seed: Seed of the attack's random starts; those of a sample are the same for every model.
    """
    from advtransfer_calibration.evaluation import CalibrationEvaluation

    return CalibrationEvaluation(bins=bins, attack=attack, seed=seed)
