"""Arrays as people have them: labels that are no class numbers, values beyond [0, 1], damaged archives."""

from __future__ import annotations

import hashlib
import io
import struct
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from advtransfer.errors import BadInput
from advtransfer.toolkit.datasets import all_positions
from advtransfer.types import Dataset, File
from advtransfer_vision.components import datasets as vision_data

pytestmark = pytest.mark.usefixtures("own_cache")

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 5, 6), dtype=np.uint8)
LABELS = np.arange(12) % 3
ARRAYS: dict[str, np.typing.NDArray[np.integer]] = {
    "x_train": PIXELS[:6],
    "y_train": LABELS[:6],
    "x_test": PIXELS[6:],
    "y_test": LABELS[6:],
}


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., File]:
    """Writes an archive of good arrays, with some of them replaced."""

    def write(*, save: Callable[..., None] = np.savez, **arrays: object) -> File:
        save(tmp_path / "set.npz", **{**ARRAYS, **arrays})
        return _file(tmp_path / "set.npz")

    return write


def _file(path: Path) -> File:
    return File(path, hashlib.sha256(path.read_bytes()).hexdigest())


def _problems(file: File) -> list[str]:
    with pytest.raises(BadInput) as raised:
        vision_data.npz(file=file)
    return [str(one) for one in raised.value.problems]


NO_CLASSES = {
    "unsigned": (
        np.array([0, 1, 2, 0, 1, 2**64 - 1], np.uint64),
        "with the label 18446744073709551615, which is -1",
    ),
    "unsigned, far": (
        np.array([0, 1, 2, 0, 1, 2**63], np.uint64),
        "with the label 9223372036854775808, which is -92",
    ),
    "signed": (
        np.array([0, 1, 2, 0, 1, -1]),
        "with the label -1; expected classes 0, 1, ...; number the classes",
    ),
    "huge": (
        np.array([0, 1, 2, 0, 1, 10**15]),
        "with the label 1000000000000000, of 12 images in all; expected cla",
    ),
    "whole floats": (LABELS[:6] / 1.0, r"of shape (6,) and type float64; expected (N,) integers"),
    "fractions": (LABELS[:6] / 2, "and type float64"),
    "NaN": (np.array([0, 1, 2, 0, 1, np.nan]), "and type float64"),
    "bool": (LABELS[:6] > 0, "of shape (6,) and type bool"),
    "text": (
        np.array(["ant", "bee", "cow"] * 2),
        "and type <U3; expected (N,) integers, the classes, or (N, K) zeros",
    ),
    "bytes": (np.array([b"0", b"1", b"2"] * 2), "and type |S1"),
    "complex": (LABELS[:6] + 0j, "and type complex128"),
    "dates": (LABELS[:6].astype("datetime64[s]"), "and type datetime64[s]"),
    "one number": (np.array(3), "y_train of shape ()"),
    "a column": (
        LABELS[:6, None],
        "of shape (6, 1) and type int64; expected (N,) integers, the classes, or (N, K) z",
    ),
    "shares": (np.full((6, 3), 1 / 3), "of shape (6, 3) and type float64"),
    "columns of nothing": (np.zeros((6, 0), int), "y_train of shape (6, 0)"),
    "three axes": (np.zeros((6, 2, 2), int), "of shape (6, 2, 2)"),
}


@pytest.mark.parametrize(("labels", "message"), NO_CLASSES.values(), ids=NO_CLASSES)
def test_labels_other_than_classes_are_an_error(
    write: Callable[..., File], labels: np.ndarray, message: str
) -> None:
    assert any(message in one for one in _problems(write(y_train=labels)))


def test_objects_are_never_unpickled(write: Callable[..., File]) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
            return pytest.fail, ("a pickle was run",)

    for save in (np.savez, np.savez_compressed):
        (reported,) = _problems(write(save=save, y_train=np.array([Trap()] * 6)))
        assert "array 'y_train'" in reported
        assert "(Python objects are pickles, which may run code)" in reported


@pytest.mark.parametrize("kind", [np.uint8, np.int8, np.uint16, np.uint64, ">i4"])
def test_class_numbers_of_every_width_are_classes(
    write: Callable[..., File], kind: np.typing.DTypeLike
) -> None:
    data = vision_data.npz(file=write(y_train=LABELS[:6].astype(kind)))
    train = data.part("train")

    assert ("classes", 3) == (data.card().task, data.card().outputs)
    assert LABELS[:6].tolist() == train.labels(all_positions(train)).tolist()


def test_test_class_without_training_images_is_an_error(write: Callable[..., File]) -> None:
    (reported,) = _problems(write(y_test=np.array([0, 1, 2, 7, 8, 8], np.uint64)))
    assert (
        "found classes 7, 8 in y_test and not in y_train; expected training images of each class that is tested; "
        "give it training images, or remove it"
    ) == reported


def test_classes_without_an_image_cause_a_warning(
    write: Callable[..., File], warnings_of: Callable[..., list[str]]
) -> None:
    assert ["no image of 1 of the 4 classes in y_train and y_test: 0"] == warnings_of(
        vision_data.npz, file=write(y_train=LABELS[:6] + 1, y_test=LABELS[6:] + 1)
    )
    gaps = warnings_of(vision_data.npz, file=write(y_train=LABELS[:6] * 10, y_test=LABELS[6:] * 10))
    assert [
        "no image of 18 of the 21 classes in y_train and y_test: 1, 2, 3, 4, 5 and 13 more"
    ] == gaps
    assert ["no image of 2 of the 3 classes in y_test: 1, 2"] == warnings_of(
        vision_data.npz, file=write(y_test=np.zeros(6, int))
    )


def test_one_hot_classes_and_a_single_column_cause_a_warning(
    write: Callable[..., File], warnings_of: Callable[..., list[str]]
) -> None:
    (one_hot,) = warnings_of(
        vision_data.npz, file=write(y_train=np.eye(3)[LABELS[:6]], y_test=np.eye(3)[LABELS[6:]])
    )
    (column,) = warnings_of(
        vision_data.npz, file=write(y_train=LABELS[:6, None] % 2, y_test=LABELS[6:, None] % 2)
    )

    assert (
        "of shape (N, 3) are taken as 3 attributes; if they are classes, write class numbers: labels.argmax"
        in one_hot
    )
    assert "write class numbers: labels.ravel()" in column


def test_same_arrays_may_be_both_parts(write: Callable[..., File]) -> None:
    data = vision_data.npz(file=write(), x_test="x_train", y_test="y_train")

    assert 6 == len(data.part("test"))


def test_all_problems_are_reported_together(write: Callable[..., File]) -> None:
    reported = _problems(
        write(
            x_train=PIXELS[:5] * 2.0,
            y_train=LABELS[:6] - 1,
            x_test=PIXELS[:0],
            y_test=LABELS[:6] / 2,
        )
    )

    assert 5 == len(
        reported
    )  # another count, a negative label, values beyond 1, an empty part, fractions


def _rows(data: Dataset) -> np.ndarray:
    train = data.part("train")
    images: np.ndarray = train.inputs(all_positions(train)).numpy()
    return images


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_values_outside_by_rounding_are_clipped(
    write: Callable[..., File], kind: type[np.floating]
) -> None:
    mean, deviation = kind(0.4914), kind(0.2023)
    exact = (PIXELS[:6] / 255).astype(kind)
    exact[0, 0, :2] = 0, 1
    rounded = (exact - mean) / deviation * deviation + mean
    rounded[0, 0, :2] = -2 * np.finfo(kind).eps, 1 + 2 * np.finfo(kind).eps
    images = _rows(vision_data.npz(file=write(x_train=rounded)))

    assert (0, 1) == (images.min(), images.max())
    assert np.allclose(images[:, 0], exact, atol=4 * np.finfo(kind).eps)


BEYOND = {
    "a little more": (
        1.001,
        "with values from 0.0 to 1.001; expected floats in [0, 1]; undo the normalisation",
    ),
    "a little less": (-0.001, "with values from -0.001 to "),
    "8 bits": (255.0, "to 255.0; expected floats in [0, 1]; divide by 255"),
    "not a number": (np.nan, "with values that are not finite, first in image 3"),
    "infinite": (-np.inf, "with values that are not finite, first in image 3"),
}


@pytest.mark.parametrize(("value", "message"), BEYOND.values(), ids=BEYOND)
def test_values_truly_outside_are_told_with_their_digits(
    write: Callable[..., File], value: float, message: str
) -> None:
    pixels = np.zeros((6, 5, 6))
    pixels[3, 2, 1] = value

    (reported,) = _problems(write(x_train=pixels))
    assert message in reported


@pytest.mark.parametrize(
    "pixels", [np.zeros((6, 0, 6)), np.zeros((6, 5, 0), np.uint8), np.array(1.0)]
)
def test_images_without_pixels_are_an_error(write: Callable[..., File], pixels: np.ndarray) -> None:
    assert f"x_train of shape {pixels.shape} and y_train" in _problems(write(x_train=pixels))[0]


def _changed(file: File, change: Callable[[bytearray], object]) -> File:
    content = bytearray(file.path.read_bytes())
    change(content)
    file.path.write_bytes(content)
    return _file(file.path)


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_changed_byte_is_detected(write: Callable[..., File], save: Callable[..., None]) -> None:
    file = write(
        save=save, x_train=np.random.default_rng(0).integers(0, 256, (6, 50, 60), np.uint8)
    )
    with zipfile.ZipFile(file.path) as archive:
        place = archive.getinfo("x_train.npy").header_offset + 3000

    def flip(content: bytearray) -> None:
        content[place] ^= 255

    (reported,) = _problems(_changed(file, flip))
    assert "found array 'x_train' of" in reported
    assert "which cannot be read" in reported


def _entry(array: np.typing.NDArray[np.integer], *, shape: tuple[int, ...]) -> bytes:
    """An array's file, its header saying another shape."""
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        content,
        {
            "shape": shape,
            "fortran_order": False,
            "descr": np.lib.format.dtype_to_descr(array.dtype),
        },
    )
    return content.getvalue() + array.tobytes()


@pytest.mark.parametrize("shape", [(600, 5, 6), (3, 5, 6), (6, 5, 2**62)])
@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_entry_of_another_length_than_its_array_is_an_error(
    tmp_path: Path, write: Callable[..., File], shape: tuple[int, ...], compression: int
) -> None:
    with zipfile.ZipFile(tmp_path / "set.npz", "w", compression) as archive:
        for key, array in ARRAYS.items():
            archive.writestr(
                f"{key}.npy", _entry(array, shape=shape if key == "x_train" else array.shape)
            )

    reported = _problems(_file(tmp_path / "set.npz"))
    assert "x_train" in reported[0]
    assert 1 == len(reported)


def test_two_arrays_of_one_name_are_an_error(write: Callable[..., File]) -> None:
    file = write()
    with warnings.catch_warnings(), zipfile.ZipFile(file.path, "a") as archive:
        warnings.simplefilter("ignore")  # zipfile's own
        archive.writestr("y_train.npy", _entry(LABELS[:6], shape=(6,)))

    assert "found two arrays 'y_train' in" in _problems(_file(file.path))[0]


def test_entries_that_python_cannot_unpack_are_an_error(write: Callable[..., File]) -> None:
    def encrypted(content: bytearray) -> None:
        for start, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
            place = content.index(start)
            content[place + offset] |= 1

    def unknown(content: bytearray) -> None:
        for start, offset in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
            struct.pack_into("<H", content, content.index(start) + offset, 99)

    for change in (encrypted, unknown):
        assert "array 'x_train'" in _problems(_changed(write(), change))[0]
