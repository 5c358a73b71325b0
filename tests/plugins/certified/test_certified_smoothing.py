from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from scipy.stats import binomtest, norm
from torch import Tensor, nn

from advtransfer.errors import Inapplicable
from advtransfer.precheck import CellOutline, precheck_of
from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.datasets import ArraySamples
from advtransfer.types import DataCard, EvaluationInputs, Measurement
from advtransfer_certified.components import smoothing
from advtransfer_certified.evaluation import SmoothingEvaluation, lower_bound

SIGMA = 0.25


class Halfspace(nn.Module):
    """Class 1 where the sum of the pixels is above a threshold: a plane at a known l_2 distance."""

    def __init__(self, threshold: float, classes: int = 2) -> None:
        super().__init__()
        self.threshold = nn.Parameter(torch.tensor(threshold))
        self.classes = classes

    def forward(self, inputs: Tensor) -> Tensor:
        score = inputs.flatten(1).sum(1) - self.threshold
        return torch.stack([torch.zeros_like(score), score], 1)[:, : self.classes]


def inputs_of(distances: Tensor, *, label: int = 1, classes: int = 2) -> EvaluationInputs:
    """Return grey images ``(1, 3, 3)`` at these signed l_2 distances from the plane of the model."""
    # The plane's normal is (1, ..., 1) / 3, so that a grey of .5 + d / 3 is at the distance d.
    images = (0.5 + distances / 3).reshape(-1, 1, 1, 1).expand(-1, 1, 3, 3).float()
    card = DataCard((1, 3, 3), (0.0, 1.0), "classes", 2, ("below", "above"), "")
    labels = torch.full((len(distances),), label)
    test = ArraySamples(card=card, inputs=images, labels=labels)
    return EvaluationInputs(test=test, model=Halfspace(4.5, classes).eval())


def measure(given: EvaluationInputs, **changed: object) -> Measurement:
    options = {
        "sigma": SIGMA,
        "radii": (0.1, 0.2),
        "first_draws": 64,
        "draws": 2000,
        "alpha": 0.001,
        "seed": 0,
    }
    evaluation = SmoothingEvaluation(**(options | changed))  # type: ignore[arg-type]  # fields by name
    return evaluation.measure(given, context=InMemoryContext())


def test_on_a_linear_model_the_radius_is_a_little_below_the_distance() -> None:
    """The smoothed model's probability is Phi(d / sigma), so that its exact radius is d itself."""
    distances = torch.tensor([0.05, 0.1, 0.2, 0.3, 0.4])
    radii = measure(inputs_of(distances)).samples["radius"].tolist()

    for distance, radius in zip(distances.tolist(), radii, strict=True):
        probability = norm.cdf(distance / SIGMA)
        # Four standard errors of the estimate, and the width of its bound at alpha .001.
        slack = 8 * math.sqrt(probability * (1 - probability) / 2000)
        assert SIGMA * norm.ppf(probability - slack) < radius <= distance


def test_the_radius_is_the_papers_formula_of_the_counts() -> None:
    distances = torch.tensor([0.1, 0.3])
    radii = measure(inputs_of(distances)).samples["radius"]
    for position, radius in enumerate(radii.tolist()):
        generator = InMemoryContext().generator("smoothing 0", position)
        # The first 64 draws choose the class; those that estimate come in whole batches of 64.
        noise = torch.randn((64 + 2048, 1, 3, 3), generator=generator)
        image = inputs_of(distances).test.inputs(torch.tensor([position]))
        above = (image + SIGMA * noise[64:2064]).flatten(1).sum(1) > 4.5
        found = binomtest(int(above.sum()), 2000, alternative="greater")
        low = found.proportion_ci(confidence_level=0.999, method="exact").low

        assert radius == pytest.approx(SIGMA * norm.ppf(low), rel=1e-6)


@pytest.mark.parametrize(("successes", "draws"), [(0, 10), (1, 10), (10, 10), (9990, 10_000)])
def test_the_bound_is_that_of_clopper_and_pearson(successes: int, draws: int) -> None:
    found = binomtest(successes, draws, alternative="greater")
    low = found.proportion_ci(confidence_level=0.999, method="exact").low

    assert lower_bound(successes, draws, 0.001) == pytest.approx(low, abs=1e-12)
    if successes == draws:
        assert low == pytest.approx(0.001 ** (1 / draws))


def test_certified_accuracy_counts_right_images_of_at_least_the_radius() -> None:
    distances = torch.tensor([0.4, 0.15, -0.4, 0.0])
    measured = measure(inputs_of(distances))

    # Right and far, right and near, wrong, and on the plane, where neither class is certified.
    assert measured.metrics["smoothed_accuracy"] == 0.5
    assert measured.metrics["certified_accuracy@0.1"] == 0.5
    assert measured.metrics["certified_accuracy@0.2"] == 0.25
    assert measured.metrics["abstained"] == 0.25
    radii = measured.samples["radius"]
    assert radii[2] > 0.2
    assert measured.metrics["average_certified_radius"] == pytest.approx(
        float(radii[0] + radii[1]) / 4
    )
    assert set(measured.shares) == set(measured.metrics) - {"average_certified_radius"}


def test_an_images_noise_depends_on_its_key_and_the_seed_alone() -> None:
    distances = torch.tensor([0.1, 0.2, 0.3])
    given = inputs_of(distances)
    alone = ArraySamples(
        card=given.test.card,
        inputs=given.test.inputs(torch.tensor([2])),
        labels=torch.tensor([1]),
        keys=[2],
    )
    together = measure(given).samples["radius"]

    assert (
        together[2] == measure(EvaluationInputs(test=alone, model=given.model)).samples["radius"][0]
    )
    assert together[2] != measure(given, seed=1).samples["radius"][2]


def test_a_model_with_one_class_is_not_certified() -> None:
    with pytest.raises(Inapplicable, match="one class"):
        measure(inputs_of(torch.tensor([0.1]), classes=1))


def test_the_plan_tells_radii_that_the_draws_cannot_certify() -> None:
    check = precheck_of(smoothing).check
    assert check is not None
    largest = SIGMA * norm.ppf(0.001 ** (1 / 100))
    chosen = {"sigma": SIGMA, "draws": 100, "alpha": 0.001, "radii": (0.1, largest + 0.01, 0.1)}
    misfits = list(check(chosen, CellOutline()))

    assert [("radii", 1), ("radii", 2)] == [each.path for each in misfits]
    assert f"at most {largest:.4g}" in misfits[0].expected
    # All draws of the class: just this radius is reached.
    given = inputs_of(torch.tensor([1.4]))
    reached = measure(given, draws=100, radii=(0.1,)).samples["radius"][0]
    assert float(reached) == pytest.approx(largest, rel=1e-6)


def test_the_plugin_imports_no_heavy_library() -> None:
    code = "import sys, advtransfer_certified; print(*{'torch', 'numpy', 'scipy'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "" == done.stdout.strip()
