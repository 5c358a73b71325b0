"""Every data set behind the host's views, as a worker builds it; and what each gave when its version was set."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from advtransfer.host import Host
from advtransfer.toolkit import file_digests
from advtransfer.toolkit.datasets import all_positions
from advtransfer.toolkit.views import view_dataset
from advtransfer.types import Dataset, File, Folder, Part
from advtransfer_vision.components import datasets as vision_data

pytestmark = pytest.mark.usefixtures("own_cache")


def _pixels(number: int, *shape: int) -> np.ndarray:
    """Fixed pixels, without a random generator: what they are may never change."""
    places = np.arange(np.prod(shape)).reshape(shape)
    return ((places * 7 + number * 53) % 256).astype(np.uint8)


def _npz(folder: Path, *, attributes: bool = False) -> Dataset:
    labels = np.array([[0, 1], [1, 1], [1, 0]]) if attributes else np.arange(3)
    images = np.stack([_pixels(number, 12, 12, 3) for number in range(6)])
    np.savez(
        folder / "set.npz", x_train=images[:3], y_train=labels, x_test=images[3:], y_test=labels
    )
    return vision_data.npz(file=File(folder / "set.npz", "ab" * 32))


def _image_folder(folder: Path) -> Dataset:
    for part in ("train", "test"):
        for number, name in enumerate(("ant", "bee", "cow")):
            (folder / part / name).mkdir(parents=True)
            Image.fromarray(_pixels(number, 20, 16, 3)).save(folder / part / name / "1.png")
    return vision_data.image_folder(root=Folder(folder, "ab" * 32), pixels=12)


def _tiny_imagenet(folder: Path) -> Dataset:
    rows = []
    for number, id in enumerate(("n1", "n2", "n3")):
        (folder / "train" / id / "images").mkdir(parents=True)
        (folder / "val" / "images").mkdir(parents=True, exist_ok=True)
        image = Image.fromarray(_pixels(number, 64, 64, 3))
        image.save(
            folder / "train" / id / "images" / f"{id}_0.JPEG", format="PNG"
        )  # lossless: any decoder agrees
        image.save(folder / "val" / "images" / f"val_{number}.JPEG", format="PNG")
        rows.append(f"val_{number}.JPEG\t{id}\t0\t0\t1\t1\n")
    (folder / "val" / "val_annotations.txt").write_text("".join(rows))
    (folder / "wnids.txt").write_text("n1\nn2\nn3\n")
    (folder / "words.txt").write_text("n1\tant\nn2\tbee\n")
    return vision_data.tiny_imagenet(root=Folder(folder, "ab" * 32))


IMAGES: dict[str, Callable[[Path], Dataset]] = {
    "npz": _npz,
    "image_folder": _image_folder,
    "tiny_imagenet": _tiny_imagenet,
    "digits": lambda folder: vision_data.digits(),
}


@pytest.mark.parametrize("build", IMAGES.values(), ids=IMAGES)
def test_classes_channels_and_size_are_seen_through_the_view(
    build: Callable[[Path], Dataset], tmp_path: Path
) -> None:
    base = build(tmp_path)
    seen = view_dataset(base, classes=[2, 0], channels=1, size=6)
    whole, part = base.part("train"), seen.part("train")
    images = part.inputs(all_positions(part))
    kept = [label for label in whole.labels(all_positions(whole)).tolist() if label in (2, 0)]

    assert ((1, 6, 6), 2) == (seen.card().shape, seen.card().outputs)
    assert (base.card().names[2], base.card().names[0]) == seen.card().names
    assert [0 if label == 2 else 1 for label in kept] == part.labels(all_positions(part)).tolist()
    assert (len(kept), 1, 6, 6) == images.shape
    assert 0 <= images.min() <= images.max() <= 1
    assert images.is_contiguous()
    assert base.card().digest != seen.card().digest


@pytest.mark.parametrize("build", IMAGES.values(), ids=IMAGES)
def test_three_channels_are_seen_whatever_there_are(
    build: Callable[[Path], Dataset], tmp_path: Path
) -> None:
    part = view_dataset(build(tmp_path), channels=3).part("test")

    assert 3 == part.inputs(torch.tensor([0])).shape[1]


def test_attributes_can_be_resized_and_have_no_classes(tmp_path: Path) -> None:
    data = _npz(tmp_path, attributes=True)
    part = view_dataset(data, channels=1, size=6).part("test")

    assert (3, 1, 6, 6) == part.inputs(all_positions(part)).shape
    assert [[0, 1], [1, 1], [1, 0]] == part.labels(all_positions(part)).tolist()
    with pytest.raises(
        ValueError, match=r"found classes \[0, 1\] for the task 'attributes'; expected none"
    ):
        view_dataset(data, classes=[0, 1])


def test_one_attribute_is_two_classes(tmp_path: Path) -> None:
    data = view_dataset(_npz(tmp_path, attributes=True), attribute=1)

    assert ("classes", 2) == (data.card().task, data.card().outputs)
    part = data.part("test")
    assert [1, 1, 0] == part.labels(all_positions(part)).tolist()


@pytest.mark.parametrize("asked", [{"channels": 1}, {"size": 8}])
def test_views_of_channels_or_size_are_refused_for_other_inputs(asked: dict[str, int]) -> None:
    data = vision_data.synthetic(n_train=5, n_test=5)

    with pytest.raises(
        ValueError,
        match=r"found a view of channels or size over inputs of shape \(50,\); expected images",
    ):
        view_dataset(data, **asked)  # type: ignore[arg-type]  # one of the two
    with pytest.raises(
        ValueError, match=r"found classes \[0\] for the task 'values'; expected none"
    ):
        view_dataset(data, classes=[0])


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("name", [*IMAGES, "synthetic"])
def test_any_batch_gives_the_same_samples(name: str, part: Part, tmp_path: Path) -> None:
    data = IMAGES[name](tmp_path) if name in IMAGES else vision_data.synthetic(n_train=5, n_test=5)
    samples = data.part(part)
    count = min(6, len(samples))
    alone = torch.cat([samples.inputs(torch.tensor([position])) for position in range(count)])

    assert alone.equal(samples.inputs(torch.arange(count)))
    assert torch.float32 == alone.dtype
    assert data.card() == samples.card


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("npz", [1.750, 1.125, -1.211, 1.000]),
        ("image_folder", [0.463, -1.027, 0.338, 1.000]),
        ("tiny_imagenet", [1.993, 0.212, -0.904, 1.000]),
        ("synthetic", [-0.662, -4.373, 0.351, 0.966]),
    ],
)
def test_data_sets_have_not_changed_in_this_version(
    name: str, expected: list[float], tmp_path: Path
) -> None:
    data = (
        IMAGES[name](tmp_path) if name in IMAGES else vision_data.synthetic(n_train=20, n_test=20)
    )
    train = data.part("train")
    inputs, labels = train.inputs(all_positions(train)), train.labels(all_positions(train)).float()
    weights = torch.linspace(-1, 1, inputs[0].numel())
    found = [*(inputs[:3].flatten(1) @ weights).tolist(), labels.std().item()]
    changed = f"{name} is not what it was: if that is meant, raise `version` in its component"

    # Decoders of JPEG round a few pixels in another way.
    assert expected == pytest.approx(found, abs=1e-2), changed


def test_plugin_registers_its_data_sets() -> None:
    names = {one.name for one in Host.discover().components("dataset") if one.plugin == "vision"}

    assert {f"vision/{name}" for name in (*IMAGES, "synthetic", "torchvision")} <= names


def test_folder_is_identified_by_its_content(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        _image_folder(tmp_path / name)

    assert file_digests.content_sha256(tmp_path / "a") == file_digests.content_sha256(
        tmp_path / "b"
    )
