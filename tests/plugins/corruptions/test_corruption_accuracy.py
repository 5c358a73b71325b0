from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from advtransfer.errors import Inapplicable
from advtransfer.precheck import CellOutline, Outline, precheck_of
from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.datasets import ArraySamples
from advtransfer.types import (
    Context,
    DataCard,
    EvaluationInputs,
    Folder,
    Measurement,
    SourceCard,
    Weights,
)
from advtransfer_corruptions.components import accuracy
from advtransfer_corruptions.corrupt import FUNCTIONS, Corruptor
from advtransfer_corruptions.evaluation import CorruptionEvaluation
from advtransfer_corruptions.tables import (
    BENCHMARK,
    CORRUPTIONS,
    PARAMETERS,
    WITHOUT_FILES,
    table_for,
)

Pictures = Callable[..., Tensor]
Corrupt = Callable[..., Tensor]
PHOTOGRAPHS = [np.full((3, 80, 80), 0.9)]


class Spread(nn.Module):
    """Class 1 where the pixels' deviation is above a threshold, class 0 below it."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        self.threshold = nn.Parameter(torch.tensor(threshold))

    def forward(self, inputs: Tensor) -> Tensor:
        spread = inputs.flatten(1).std(1, correction=0)
        return torch.stack([self.threshold.expand(len(spread)), spread], 1)


@dataclass(frozen=True)
class Entry:
    """A source of the model above."""

    threshold: float

    def card(self) -> SourceCard:
        return SourceCard("spread", "none", "none", (1, 8, 8), 2)

    def network(self) -> Spread:
        return Spread(0.0)

    def weights(self, context: Context) -> Weights:
        return Weights({"threshold": torch.tensor(self.threshold)})


def inputs_of(images: Tensor, threshold: float, label: int = 1) -> EvaluationInputs:
    card = DataCard(tuple(images.shape[1:]), (0.0, 1.0), "classes", 2, ("flat", "wide"), "")
    labels = torch.full((len(images),), label)
    test = ArraySamples(card=card, inputs=images, labels=labels)
    return EvaluationInputs(test=test, model=Spread(threshold).eval())


def measure(given: EvaluationInputs, *corruptions: str, **options: object) -> Measurement:
    settings = {"table": None, "frost": None, "baseline": None, "seed": 0} | options
    evaluation = CorruptionEvaluation(corruptions=corruptions, **settings)  # type: ignore[arg-type]  # fields by name
    return evaluation.measure(given, context=InMemoryContext())


def checkered(count: int = 70) -> Tensor:
    """Checkerboards of .25 and .75: a deviation of .25."""
    board = (torch.arange(8)[:, None] + torch.arange(8)) % 2
    return (0.25 + 0.5 * board.float()).expand(count, 1, 8, 8).clone()


def test_contrast_breaks_a_threshold_where_its_factor_says() -> None:
    """Deviations .25 times .75, .5, .4, .3, .15 against .09: wrong at the severities 4 and 5."""
    measured = measure(inputs_of(checkered(), 0.09), "contrast")
    metrics = measured.metrics

    assert [0, 0, 0, 1, 1] == [metrics[f"error_contrast_{severity}"] for severity in range(1, 6)]
    assert [1, 1, 1, 0, 0] == [metrics[f"accuracy_severity_{severity}"] for severity in range(1, 6)]
    assert metrics["mean_corruption_error"] == metrics["error_contrast"] == pytest.approx(0.4)
    assert set(measured.shares) == set(metrics)
    assert measured.samples["mean_corruption_error"].tolist() == pytest.approx([0.4] * 70)


def test_means_are_plain_means_over_corruptions_and_severities() -> None:
    metrics = measure(
        inputs_of(checkered(), 0.11), "contrast", "brightness", "gaussian_blur"
    ).metrics
    names = ("contrast", "brightness", "gaussian_blur")
    errors = [metrics[f"error_{name}_{severity}"] for name in names for severity in range(1, 6)]

    assert metrics["mean_corruption_error"] == pytest.approx(sum(errors) / 15)
    assert metrics["accuracy_severity_5"] == pytest.approx(1 - sum(errors[4::5]) / 3)


def test_mce_is_relative_to_the_baseline() -> None:
    """The model errs at 2 severities of 5, baselines at 2 and at 1."""
    given = inputs_of(checkered(), 0.09)
    same = measure(given, "contrast", baseline=Entry(0.09)).metrics["mCE"]
    better = measure(given, "contrast", baseline=Entry(0.05)).metrics["mCE"]

    assert (1, 2) == (same, better)
    assert "mCE" not in measure(given, "contrast").metrics
    # A baseline without an error has no ratio.
    assert "mCE" not in measure(given, "contrast", baseline=Entry(0.001)).metrics


@pytest.mark.parametrize("corruption", CORRUPTIONS)
@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 8, 8), (3, 70, 9)])
def test_an_image_is_corrupted_alike_in_any_batch_and_of_any_size(
    corruption: str, shape: tuple[int, int, int], pictures: Pictures, corrupt: Corrupt
) -> None:
    if corruption == "saturate" and shape[0] == 1:
        return
    images = pictures(5, *shape)
    together = corrupt(images, corruption, 5, photographs=PHOTOGRAPHS)
    alone = corrupt(images[3:4], corruption, 5, keys=[3], photographs=PHOTOGRAPHS)

    assert together.shape == images.shape
    assert together.dtype == torch.float32
    assert torch.equal(together[3:4], alone)
    assert not torch.equal(together, images)
    assert torch.equal((255 * together).round() / 255, together)
    assert together.min() >= 0
    assert together.max() <= 1


@pytest.mark.parametrize("corruption", ["gaussian_noise", "impulse_noise", "speckle_noise"])
def test_more_noise_is_the_same_noise(
    corruption: str, pictures: Pictures, corrupt: Corrupt
) -> None:
    images = (102 + 51 * pictures(3, 3, 32, 32)).round() / 255
    changes = [(corrupt(images, corruption, severity) - images) for severity in (1, 5)]

    assert (changes[0] * changes[1] > -1e-6).all()
    assert changes[1].abs().mean() > 1.5 * changes[0].abs().mean()


@pytest.mark.parametrize("table", ["cifar", "tiny_imagenet", "imagenet"])
def test_a_table_has_five_severities_of_each_corruption(table: str) -> None:
    parameters = PARAMETERS[table]  # type: ignore[index]  # a table by its name

    assert set(FUNCTIONS) == set(parameters) == set(CORRUPTIONS)
    for corruption, severities in parameters.items():
        assert 5 == len(severities), corruption
        assert 1 == len({len(each) for each in severities}), corruption
    assert 15 == len(BENCHMARK)
    assert set(BENCHMARK) - set(WITHOUT_FILES) == {"frost"}


def test_the_table_is_that_of_the_nearest_size_by_ratio() -> None:
    sizes = {8: "cifar", 32: "cifar", 45: "cifar", 46: "tiny_imagenet", 64: "tiny_imagenet"}
    sizes |= {119: "tiny_imagenet", 120: "imagenet", 224: "imagenet", 384: "imagenet"}

    assert sizes == {size: table_for(size) for size in sizes}


def test_grey_images_skip_what_changes_colours_alone() -> None:
    given = inputs_of(checkered(), 0.11)
    metrics = measure(given, "contrast", "saturate").metrics

    assert "error_contrast" in metrics
    assert not [name for name in metrics if "saturate" in name]
    with pytest.raises(Inapplicable, match="grey"):
        measure(given, "saturate")


def test_frost_is_cut_from_the_users_photographs(tmp_path: Path) -> None:
    Image.fromarray(np.full((60, 60, 3), 255, np.uint8)).save(tmp_path / "frost.png")
    folder = Folder(tmp_path, "")
    # White frost at severity 5: .75 x + .45, so that .75 becomes 1 and .25 becomes .6375.
    metrics = measure(inputs_of(checkered(), 0.19), "frost", frost=folder).metrics

    assert metrics["error_frost_5"] == 1
    assert (
        measure(inputs_of(checkered(), 0.18), "frost", frost=folder).metrics["error_frost_5"] == 0
    )
    large = inputs_of(torch.zeros(1, 1, 16, 16), 0.1)
    with pytest.raises(ValueError, match=r"12 x 12 scaled; expected at least 16 x 16"):
        measure(large, "frost", frost=folder)


def test_a_file_that_is_no_image_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no file"):
        measure(inputs_of(checkered(), 0.1), "frost", frost=Folder(tmp_path, ""))
    (tmp_path / "frost.txt").write_text("cold")
    with pytest.raises(ValueError, match="no image"):
        measure(inputs_of(checkered(), 0.1), "frost", frost=Folder(tmp_path, ""))


def test_the_seed_draws_other_noise(pictures: Pictures) -> None:
    images = pictures(2, 3, 8, 8)
    noisy = [
        Corruptor("cifar", seed).corrupt(
            images, [0, 1], corruption="gaussian_noise", severity=1, context=InMemoryContext()
        )
        for seed in (0, 0, 1)
    ]

    assert torch.equal(noisy[0], noisy[1])
    assert not torch.equal(noisy[0], noisy[2])


def test_inputs_that_are_no_images_are_not_corrupted() -> None:
    card = DataCard((6,), (0.0, 1.0), "classes", 2, ("a", "b"), "")
    test = ArraySamples(
        card=card, inputs=torch.rand(4, 6), labels=torch.zeros(4, dtype=torch.int64)
    )

    with pytest.raises(Inapplicable, match="channels"):
        measure(EvaluationInputs(test=test, model=Spread(0.1).eval()), "contrast")


def test_the_plan_tells_options_that_do_not_go_together() -> None:
    check = precheck_of(accuracy).check
    assert check is not None
    around = CellOutline(target=Outline(shape=(1, 8, 8), outputs=3))
    chosen = {"corruptions": ("frost", "snow", "snow"), "baseline": None}
    other = Outline(shape=(1, 8, 8), outputs=5)
    needless = {"corruptions": ("snow",), "frost": Folder(Path("frost"), ""), "baseline": other}

    assert [("corruptions", 2), ("frost",)] == [each.path for each in check(chosen, around)]
    assert [("frost",), ("baseline",)] == [each.path for each in check(needless, around)]


def test_the_plugin_imports_no_heavy_library() -> None:
    code = "import sys, advtransfer_corruptions; print(*{'torch', 'numpy', 'PIL'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "" == done.stdout.strip()
