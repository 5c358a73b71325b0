from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.calibration import calibration_curve
from sklearn.metrics import log_loss
from torch import Tensor

import advtransfer_calibration
from advtransfer.errors import Inapplicable
from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.loss_attack import LossAttack
from advtransfer.toolkit.rng import stream_generator
from advtransfer.types import EvaluationInputs
from advtransfer_calibration.errors import bins_of_equal_mass
from advtransfer_calibration.evaluation import CalibrationEvaluation

PixelInputs = Callable[..., EvaluationInputs]


def random_case(count: int, classes: int) -> tuple[Tensor, Tensor]:
    generator = stream_generator("calibration")
    pixels = torch.rand((count, classes), generator=generator)
    labels = torch.randint(classes, (count,), generator=generator)
    # Half of the labels are the predicted ones.
    return pixels, torch.where(torch.arange(count) % 2 == 0, pixels.argmax(1), labels)


def measure(
    inputs: EvaluationInputs, *, bins: int = 15, attack: LossAttack | None = None
) -> dict[str, float]:
    evaluation = CalibrationEvaluation(bins=bins, attack=attack, seed=0)
    return dict(evaluation.measure(inputs, context=InMemoryContext()).metrics)


def test_a_constant_confidence_has_the_errors_of_one_bin(pixel_inputs: PixelInputs) -> None:
    """Confidence c on 10 images, 6 of them right: every metric in closed form."""
    pixels = torch.tensor([[1.0, 0.0]]).expand(10, 2)
    labels = torch.tensor([0] * 6 + [1] * 4)
    odds = 4.0
    metrics = measure(pixel_inputs(pixels, labels, math.log(odds)))
    confidence = odds / (1 + odds)

    assert metrics["confidence"] == pytest.approx(confidence)
    assert metrics["ece"] == pytest.approx(confidence - 0.6)
    assert metrics["squared_l2_error"] == pytest.approx((confidence - 0.6) ** 2 - 0.6 * 0.4 / 9)
    assert metrics["l2_error"] == pytest.approx(metrics["squared_l2_error"] ** 0.5)
    assert metrics["nll"] == pytest.approx(
        -0.6 * math.log(confidence) - 0.4 * math.log(1 - confidence)
    )
    assert metrics["brier"] == pytest.approx(
        0.6 * 2 * (1 - confidence) ** 2 + 0.4 * 2 * confidence**2
    )


def test_likelihood_and_bins_agree_with_scikit_learn(pixel_inputs: PixelInputs) -> None:
    pixels, labels = random_case(600, 5)
    metrics = measure(pixel_inputs(pixels, labels, 3.0))
    probabilities = (3 * pixels).double().softmax(1).numpy()
    confidences = probabilities.max(1)
    correct = probabilities.argmax(1) == labels.numpy()
    accuracies, means = calibration_curve(correct, confidences, n_bins=15, strategy="quantile")
    one_hot = np.eye(5)[labels.numpy()]

    assert metrics["nll"] == pytest.approx(log_loss(labels.numpy(), probabilities), rel=1e-6)
    # Each bin holds 40 of the 600 images, which no confidence is shared by.
    assert metrics["ece"] == pytest.approx(np.abs(accuracies - means).mean(), rel=1e-5)
    assert metrics["squared_l2_error"] == pytest.approx(
        ((accuracies - means) ** 2 - accuracies * (1 - accuracies) / 39).mean(), rel=1e-4
    )
    assert metrics["brier"] == pytest.approx(((probabilities - one_hot) ** 2).sum(1).mean())


def test_the_debiased_error_of_a_calibrated_model_is_0_on_average() -> None:
    """Where ECE is far from 0 by chance alone, as Kumar et al. (2019) show."""
    generator = stream_generator("calibrated")
    squared, plain = [], []
    for _ in range(200):
        confidences = 0.5 + 0.5 * torch.rand(150, generator=generator, dtype=torch.float64)
        correct = torch.rand(150, generator=generator, dtype=torch.float64) < confidences
        bins = bins_of_equal_mass(confidences, correct, bins=15)
        squared.append(bins.debiased_squared_error())
        plain.append(bins.expected_error())
    spread = float(np.std(squared)) / 200**0.5

    assert abs(np.mean(squared)) < 4 * spread
    assert np.mean(plain) > 0.08


def test_images_of_equal_confidence_share_a_bin_in_any_order() -> None:
    confidences = torch.tensor([0.5, 0.5, 0.6, 0.9, 0.9, 0.9, 0.9, 0.9], dtype=torch.float64)
    correct = torch.tensor([True, False, True, True, True, False, True, False])
    order = torch.tensor([7, 3, 0, 5, 2, 6, 1, 4])
    first = bins_of_equal_mass(confidences, correct, bins=4)
    second = bins_of_equal_mass(confidences[order], correct[order], bins=4)

    assert first.counts.tolist() == [2, 6]
    assert second.counts.tolist() == first.counts.tolist()
    assert second.accuracies.tolist() == pytest.approx(first.accuracies.tolist())


@pytest.mark.parametrize(("count", "bins", "sizes"), [(30, 15, [2] * 15), (5, 15, [2, 3])])
def test_a_bin_holds_two_images_or_more(count: int, bins: int, sizes: list[int]) -> None:
    confidences = torch.linspace(0.5, 0.9, count, dtype=torch.float64)
    binned = bins_of_equal_mass(confidences, torch.ones(count, dtype=torch.bool), bins=bins)

    assert binned.counts.tolist() == sizes


def test_the_attack_ends_at_the_corner_of_the_highest_loss(pixel_inputs: PixelInputs) -> None:
    """Logits that are pixels: the highest loss is at label - eps, others + eps, in closed form."""
    pixels = 0.3 + 0.4 * random_case(70, 3)[0]
    labels = pixels.argmax(1)
    eps = 0.1
    attack = LossAttack(eps=eps, steps=10)
    metrics = measure(pixel_inputs(pixels, labels, 20.0), bins=5, attack=attack)
    is_label = torch.nn.functional.one_hot(labels, 3)
    corner = pixels + eps * (1 - 2 * is_label)
    expected = measure(pixel_inputs(corner, labels, 20.0), bins=5)

    assert {f"{name}@0.1" for name in expected} | set(expected) == set(metrics)
    # Images that the attack breaks are pushed on: an early stop would leave them near the boundary.
    assert (corner.argmax(1) != labels).any()
    for name, value in expected.items():
        assert metrics[f"{name}@0.1"] == pytest.approx(value, rel=1e-4), name


def test_a_model_with_one_class_has_no_calibration(pixel_inputs: PixelInputs) -> None:
    with pytest.raises(Inapplicable, match="one class"):
        measure(pixel_inputs(torch.rand(4, 1), torch.zeros(4, dtype=torch.int64)))


def test_logits_that_are_not_finite_are_refused(pixel_inputs: PixelInputs) -> None:
    with pytest.raises(ValueError, match="not finite"):
        measure(pixel_inputs(torch.ones(4, 2), torch.zeros(4, dtype=torch.int64), math.inf))


def test_the_plugin_imports_no_heavy_library() -> None:
    code = (
        "import sys, advtransfer_calibration; print(*{'torch', 'numpy', 'scipy'} & {*sys.modules})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "" == done.stdout.strip()
    assert Path(advtransfer_calibration.__file__).parent.name == "advtransfer_calibration"
