"""Photographs as starts of feature visualisation: their frame, their range, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from advtransfer.errors import Inapplicable
from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.types import DataCard, EvaluationInputs, Folder
from advtransfer_interpret.components import feature_visualisation
from advtransfer_interpret.photographs import load_photographs


def folder(path: Path) -> Folder:
    return Folder(path, "0" * 64)


def card(channels: int, bounds: tuple[float, float] = (0.0, 1.0)) -> DataCard:
    return DataCard((channels, 4, 4), bounds, "classes", 3, ("a", "b", "c"), "")


def write_photograph(
    path: Path, size: tuple[int, int] = (4, 4)
) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Write a photograph of the width and height `size`, and return its pixels."""
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


def test_a_photograph_of_the_images_size_keeps_its_pixels_in_the_cards_bounds(
    tmp_path: Path,
) -> None:
    pixels = write_photograph(tmp_path / "dog.png")

    images, names = load_photographs(folder(tmp_path), card(3, (-1.0, 1.0)))

    expected = torch.from_numpy(pixels / 127.5 - 1).permute(2, 0, 1)
    assert ["dog"] == names
    assert torch.allclose(expected.float(), images[0], atol=1e-6)


def test_the_middle_of_a_wide_photograph_is_cut_out(tmp_path: Path) -> None:
    pixels = write_photograph(tmp_path / "jet.png", size=(10, 4))

    images, _ = load_photographs(folder(tmp_path), card(3))

    expected = torch.from_numpy(pixels[:, 3:7] / 255).permute(2, 0, 1)
    assert torch.allclose(expected.float(), images[0], atol=1e-6)


def test_grey_images_start_from_the_luminance(tmp_path: Path) -> None:
    """ITU-R 601, as Pillow rounds it."""
    pixels = write_photograph(tmp_path / "dog.png")

    images, _ = load_photographs(folder(tmp_path), card(1))

    luminance = torch.from_numpy(pixels @ np.array([0.299, 0.587, 0.114]) / 255)
    assert (1, 1, 4, 4) == images.shape
    assert (luminance - images[0, 0]).abs().max() < 1 / 255


def test_what_is_no_photograph_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="found no file"):
        load_photographs(folder(tmp_path), card(3))
    with pytest.raises(Inapplicable, match="one or three channels, the images of the data set 2"):
        load_photographs(folder(tmp_path), card(2))
    (tmp_path / "notes.txt").write_text("no image")
    with pytest.raises(ValueError, match=r"found notes\.txt, which is no image"):
        load_photographs(folder(tmp_path), card(3))


def test_the_ascent_starts_from_each_photograph_too(tmp_path: Path) -> None:
    """A linear unit rises by the step times its weights' norm from wherever it starts."""
    write_photograph(tmp_path / "dog.png")
    data = toy(train=12, test=9, shape=(3, 4, 4))
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 2), nn.ReLU(), nn.Linear(2, 3)).eval()
    given = EvaluationInputs(test=data.part("test"), model=model)
    images, _ = load_photographs(folder(tmp_path), data.part("test").card)

    found = feature_visualisation(units=(0,), images=0, steps=1, photographs=folder(tmp_path))
    plain = feature_visualisation(units=(0,), images=0, steps=1)
    both = found.measure(given, context=InMemoryContext()).metrics["activation_start"]
    noise = plain.measure(given, context=InMemoryContext()).metrics["activation_start"]

    with torch.no_grad():
        photograph = model[:3](images)[0, 0].item()
    assert (noise + photograph) / 2 == pytest.approx(both, abs=1e-6)
