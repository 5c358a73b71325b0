from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from advtransfer.errors import BadInput
from advtransfer.toolkit.datasets import all_positions
from advtransfer.types import Dataset, File
from advtransfer_vision.components import datasets as vision_data
from advtransfer_vision.data import array_files
from advtransfer_vision.data.npz_archive import NpzArchive

pytestmark = pytest.mark.usefixtures("own_cache")

REAL_DATA = os.environ.get("ADVTRANSFER_DATA", "")
PIXELS = np.random.default_rng(0).integers(0, 256, (12, 5, 6, 3), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1, 0, 1, 2, 0])
ARRAYS = {"x_train": PIXELS[:8], "y_train": LABELS[:8], "x_test": PIXELS[8:], "y_test": LABELS[8:]}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., File]:
    """Writes an archive, by default of good arrays, with some of them replaced."""

    def write(*, compressed: bool = True, **arrays: object) -> File:
        path = tmp_path / "set.npz"
        save = np.savez_compressed if compressed else np.savez
        save(path, **{**ARRAYS, **arrays})  # type: ignore[arg-type]  # NumPy's stub takes the names for its own options
        return File(path, hashlib.sha256(path.read_bytes()).hexdigest())

    return write


def _inputs(data: Dataset) -> torch.Tensor:
    train, test = data.part("train"), data.part("test")
    return torch.cat([train.inputs(all_positions(train)), test.inputs(all_positions(test))])


EXPECTED = torch.from_numpy(PIXELS.transpose(0, 3, 1, 2).copy()).float() / 255


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize(
    "stored",
    [
        PIXELS,
        PIXELS.transpose(0, 3, 1, 2),
        PIXELS / 255,
        (PIXELS / 255).astype(np.float32),
        np.asfortranarray(PIXELS),
        (PIXELS / 255).astype(">f4"),
    ],
    ids=["NHWC", "NCHW", "float64", "float32", "Fortran order", "big endian"],
)
def test_images_come_out_alike_however_they_are_stored(
    write: Callable[..., File], stored: np.ndarray, compressed: bool
) -> None:
    data = vision_data.npz(file=write(x_train=stored[:8], x_test=stored[8:], compressed=compressed))
    found = _inputs(data)

    assert ((3, 5, 6), (0.0, 1.0), "classes", 3) == (
        data.card().shape,
        data.card().bounds,
        data.card().task,
        data.card().outputs,
    )
    assert torch.float32 == found.dtype
    assert found.is_contiguous()
    assert EXPECTED.allclose(found, rtol=0, atol=1e-7)


def test_grey_images_need_no_channel_axis(write: Callable[..., File]) -> None:
    data = vision_data.npz(file=write(x_train=PIXELS[:8, :, :, 0], x_test=PIXELS[8:, :, :, 0]))

    assert (1, 5, 6) == data.card().shape
    assert EXPECTED[:, :1].equal(_inputs(data))


def test_uncompressed_arrays_are_mapped_and_never_written(
    write: Callable[..., File],
) -> None:
    file = write(compressed=False)
    data = vision_data.npz(file=file)
    data.part("train").inputs(torch.arange(8)).zero_()

    assert isinstance(NpzArchive(file.path)["x_train"], np.memmap)
    assert EXPECTED.equal(_inputs(data))
    assert file.sha256 == hashlib.sha256(file.path.read_bytes()).hexdigest()


def test_compressed_arrays_are_read(write: Callable[..., File]) -> None:
    assert not isinstance(NpzArchive(write().path)["x_train"], np.memmap)


def test_labels_and_names_are_those_of_the_file(write: Callable[..., File]) -> None:
    data = vision_data.npz(file=write(class_names=np.array(["ant", "bee", "cow", "dog"])))
    train = data.part("train")

    assert (4, ("ant", "bee", "cow", "dog")) == (data.card().outputs, data.card().names)
    assert [0, 1, 2, 0, 1, 2, 0, 1] == train.labels(all_positions(train)).tolist()
    assert torch.int64 == train.labels(all_positions(train)).dtype
    assert [2, 0] == train.labels(torch.tensor([5, 3])).tolist()
    assert range(8) == train.keys


def test_without_names_classes_are_numbered(write: Callable[..., File]) -> None:
    assert ("0", "1", "2") == vision_data.npz(file=write()).card().names


def test_matrix_of_zeros_and_ones_is_read_as_attributes(write: Callable[..., File]) -> None:
    bits = np.array([[0, 1], [1, 1], [0, 0], [1, 0]])
    for kind in (np.int64, np.bool_, np.float32):
        data = vision_data.npz(
            file=write(y_train=np.tile(bits, (2, 1)).astype(kind), y_test=bits.astype(kind))
        )
        test = data.part("test")

        assert ("attributes", 2) == (data.card().task, data.card().outputs)
        assert ("attribute 0", "attribute 1") == data.card().names
        assert bits.tolist() == test.labels(all_positions(test)).tolist()


def test_arrays_can_have_other_names(tmp_path: Path) -> None:
    path = tmp_path / "mine.npz"
    np.savez(path, images=PIXELS[:8], classes=LABELS[:8], held=PIXELS[8:], truth=LABELS[8:])
    data = vision_data.npz(
        file=File(path, "00" * 32),
        x_train="images",
        y_train="classes",
        x_test="held",
        y_test="truth",
    )

    assert EXPECTED.equal(_inputs(data))


def test_digest_depends_on_the_file_and_the_reading_options(write: Callable[..., File]) -> None:
    square = {"x_train": PIXELS[:8, :3, :, :].copy(), "x_test": PIXELS[8:, :3, :, :].copy()}
    file = write(**square)
    cards = [
        vision_data.npz(file=file, layout=layout).card() for layout in ("NHWC", "NCHW", "NHWC")
    ]
    other = vision_data.npz(
        file=write(**square, y_test=np.array([0, 1, 2, 2])), layout="NHWC"
    ).card()

    assert cards[0] == cards[2]
    assert 3 == len({cards[0].digest, cards[1].digest, other.digest})


def test_floats_that_were_found_in_order_are_not_read_again(
    write: Callable[..., File], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(x_train=PIXELS[:8] / 255, x_test=PIXELS[8:] / 255, compressed=False)
    os.utime(file.path, (1e9, 1e9))
    vision_data.npz(file=file)
    monkeypatch.setattr(array_files, "CHECKED_ROWS", 0)  # reading them would now fail

    assert (3, 5, 6) == vision_data.npz(file=file).card().shape


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x_train": PIXELS[:8] / 1.0}, r"x_train with values from 0.0 to 25\d.0; expected floats .*; divide by 255"),
        ({"x_train": np.full((8, 5, 6, 3), np.nan)}, "x_train with values that are not finite, first in image 0"),
        ({"x_test": PIXELS[8:] / 255 - 0.5}, r"found x_test with values from -0.*; expected floats in \[0, 1\]"),
        ({"x_train": PIXELS[:8].astype(np.int64)}, "found x_train of type int64; expected uint8 from 0 to 255, or"),
        ({"x_train": PIXELS[0]}, r"found x_train of shape \(5, 6, 3\) and y_train of shape \(8,\); .* one label"),
        ({"x_train": PIXELS[:8, 0, 0]}, r"found x_train of shape \(8, 3\); expected \(N, H, W\), \(N, H, W, C\)"),
        ({"x_train": PIXELS[:8, :3]}, r"found x_train of shape \(8, 3, 6, 3\); .* write `layout: NHWC` or"),
        ({"x_train": PIXELS[:8, :, :, :2]}, r"found x_train of shape \(8, 5, 6, 2\); expected 1 or 3 channels"),
        ({"x_test": PIXELS[8:, 1:]}, r"x_train with images of shape \(3, 5, 6\) and x_test with .* \(3, 4, 6\)"),
        ({"y_train": np.arange(7)}, r"x_train of shape \(8, 5, 6, 3\) and y_train of shape \(7,\)"),
        ({"y_train": np.arange(8) - 1}, "found y_train with the label -1; expected classes 0, 1, ...; number the"),
        ({"y_train": np.arange(8) / 1.0}, r"found y_train of shape \(8,\) and type float64; expected \(N,\) integers"),
        ({"y_train": np.arange(8)[:, None]}, r"found y_train of shape \(8, 1\) .* need squeezing"),
        ({"y_train": np.zeros((8, 2), int)}, r"y_train of shape \(8, 2\) and y_test of shape \(4,\); expected"),
        ({"x_test": PIXELS[:0], "y_test": np.arange(0)}, r"x_test of shape \(0, 5, 6, 3\) .* at least one image"),
        ({"class_names": np.array(["ant", "bee"])}, r"found class_names of shape \(2,\) for labels of 3 classes"),
        ({"y_train": np.array([{}] * 8)}, r"array 'y_train' .* cannot be read .*Python objects are pickles"),
    ],
)  # fmt: skip
def test_arrays_that_are_not_a_data_set_are_told(
    write: Callable[..., File], arrays: dict[str, np.ndarray], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        vision_data.npz(file=write(**arrays))


def test_missing_array_is_reported_with_the_existing_keys(write: Callable[..., File]) -> None:
    with pytest.raises(
        BadInput, match=r"no array 'images' in .* \(there are x_train, y_train, x_test, y_test\)"
    ):
        vision_data.npz(file=write(), x_train="images")


@pytest.mark.parametrize("compressed", [True, False])
def test_truncated_archive_or_other_file_is_an_error(
    write: Callable[..., File], compressed: bool
) -> None:
    file = write(compressed=compressed)
    whole = file.path.read_bytes()
    for content in (b"", b"not an archive", whole[: len(whole) // 2]):
        file.path.write_bytes(content)

        with pytest.raises(
            BadInput, match=r"set.npz' \(.*\); expected a NumPy archive; write it with numpy.savez"
        ):
            vision_data.npz(file=file)


@pytest.mark.skipif(
    not REAL_DATA,
    reason="ADVTRANSFER_DATA is not set: it names the folder with the CIFAR-10 subset",
)
def test_cifar_subset_is_read_unchanged() -> None:
    path = Path(REAL_DATA) / "CIFAR10_subset" / "cifar10_10k_2k.npz"
    data = vision_data.npz(file=File(path, hashlib.sha256(path.read_bytes()).hexdigest()))
    train = data.part("train")
    with np.load(path) as arrays:
        first = torch.from_numpy(arrays["x_train"][:100].transpose(0, 3, 1, 2).copy()).float() / 255

    assert ((3, 32, 32), 10, "airplane", "truck") == (
        data.card().shape,
        data.card().outputs,
        data.card().names[0],
        data.card().names[-1],
    )
    assert [1000] * 10 == torch.bincount(train.labels(all_positions(train))).tolist()
    assert first.equal(train.inputs(torch.arange(100)))
    assert (
        "b86861bc77b9c245c37d8fac0ddbe13c9028e36ab6199ef17cd89e048c312224" == data.card().digest
    ), "the subset is not what it was: if that is meant, raise `version` of npz"
