from __future__ import annotations

import bz2
import gzip
import hashlib
import os
import pickle
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import scipy.io
import torch
from torchvision import datasets

from advtransfer.cache import Cache
from advtransfer.errors import BadInput, Busy
from advtransfer.files import default_cache_root
from advtransfer.node import text_sha256
from advtransfer.toolkit.datasets import all_positions
from advtransfer.types import Dataset, Part
from advtransfer_vision.components import datasets as vision_data
from advtransfer_vision.components.datasets import SetName
from advtransfer_vision.data import torchvision_sets

RAW = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)
RANDOM = np.random.default_rng(0)
TRAIN, TEST = 20, 10
LABELS: Mapping[str, np.ndarray] = {"train": np.arange(TRAIN) % 10, "test": np.arange(TEST)}
PARTS: tuple[Part, ...] = ("train", "test")


@pytest.fixture(autouse=True)
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder, and a cache of its own."""
    folder = tmp_path / "data"
    folder.mkdir()
    monkeypatch.setenv("ADVTRANSFER_DATA", str(folder))
    monkeypatch.setenv("ADVTRANSFER_CACHE", str(tmp_path / "cache"))
    return folder


def _images(*shape: int) -> dict[str, np.ndarray]:
    return {"train": _uint8(TRAIN, *shape), "test": _uint8(TEST, *shape)}


def _uint8(*shape: int) -> np.ndarray:
    return RANDOM.integers(0, 256, shape, dtype=np.uint8)


def _idx(array: np.ndarray) -> bytes:
    """An array of uint8 in MNIST's format."""
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.astype(np.uint8).tobytes()


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _packed(
    root: Path, monkeypatch: pytest.MonkeyPatch, name: str = "KMNIST"
) -> dict[str, np.ndarray]:
    """Writes a small KMNIST as it is handed out, and tells torchvision its md5 sums."""
    images = _images(28, 28)
    arrays = [images["train"], LABELS["train"], images["test"], LABELS["test"]]
    contents = {
        f"{file}.gz": gzip.compress(_idx(array)) for file, array in zip(RAW, arrays, strict=True)
    }
    folder = root / name / "raw"
    folder.mkdir(parents=True)
    for file, content in contents.items():
        (folder / file).write_bytes(content)
    monkeypatch.setattr(
        getattr(datasets, name), "resources", [(file, _md5(one)) for file, one in contents.items()]
    )
    return images


def _unpack(folder: Path) -> None:
    for name in RAW:
        (folder / name).write_bytes(gzip.decompress((folder / f"{name}.gz").read_bytes()))


def _stored(data: Dataset, part: Part) -> np.ndarray:
    """The pixels of a part as uint8, ``(N, C, H, W)``."""
    samples = data.part(part)
    return (samples.inputs(all_positions(samples)) * 255).round().to(torch.uint8).numpy()


def _agrees(data: Dataset, images: Mapping[str, np.ndarray]) -> bool:
    """Whether both parts have these pixels ``(N, C, H, W)`` and the labels that every set here has."""
    labels = {
        part: data.part(part).labels(all_positions(data.part(part))).numpy() for part in PARTS
    }
    return all(
        np.array_equal(_stored(data, part), images[part])
        and np.array_equal(labels[part], LABELS[part])
        for part in PARTS
    )


def test_packed_files_are_read_where_nothing_can_be_written(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = _packed(root, monkeypatch)
    (root / "KMNIST" / "raw").chmod(0o555)
    data = vision_data.torchvision(name="KMNIST")

    assert _agrees(data, {part: one[:, None] for part, one in images.items()})
    card = data.card()
    assert ((1, 28, 28), (0.0, 1.0)) == (card.shape, card.bounds)
    assert ("classes", 10, ("o", "ki", "su")) == (card.task, card.outputs, card.names[:3])
    assert sorted(f"{name}.gz" for name in RAW) == sorted(
        path.name for path in (root / "KMNIST" / "raw").iterdir()
    )


def test_packed_and_unpacked_files_are_one_data_set(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = _packed(root, monkeypatch)
    packed = vision_data.torchvision(name="KMNIST").card()
    _unpack(root / "KMNIST" / "raw")
    for name in RAW:
        (root / "KMNIST" / "raw" / f"{name}.gz").unlink()
    unpacked = vision_data.torchvision(name="KMNIST")

    assert packed == unpacked.card()
    assert _agrees(unpacked, {part: one[:, None] for part, one in images.items()})


def test_cache_key_has_not_changed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _packed(root, monkeypatch)
    keys: list[str] = []
    monkeypatch.setattr(
        torchvision_sets, "cached_while_unchanged", lambda *key: keys.append(key[0])
    )
    vision_data.torchvision(name="KMNIST")

    assert [f"content 1 of Official(name='KMNIST', split='', root={root!r})"] == keys


def test_packed_file_that_is_not_the_official_one_is_refused(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _packed(root, monkeypatch)
    (root / "KMNIST" / "raw" / f"{RAW[3]}.gz").write_bytes(
        gzip.compress(_idx(LABELS["test"][::-1]))
    )

    with pytest.raises(
        BadInput,
        match=r"t10k-labels-idx1-ubyte.gz' with md5 \w{32}; expected the official one, \w{32}; f",
    ):
        vision_data.torchvision(name="KMNIST")


def test_missing_set_is_reported_with_its_files_and_next_steps(root: Path) -> None:
    with pytest.raises(BadInput) as caught:
        vision_data.torchvision(name="MNIST")

    files = ", ".join(f"MNIST/raw/{name}.gz" for name in RAW)
    assert str(caught.value) == (
        f"found no MNIST in '{root}'; expected {files} under it; "
        "write `download: true`, or put the files there; ADVTRANSFER_DATA or `root:` says another folder"
    )


def test_missing_data_folder_is_reported_with_the_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ADVTRANSFER_DATA")

    with pytest.raises(
        BadInput,
        match=r"found no ADVTRANSFER_DATA .* set ADVTRANSFER_DATA, or write an absolute `root:`",
    ):
        vision_data.torchvision(name="MNIST")
    with pytest.raises(BadInput, match="and the relative root 'sets'"):
        vision_data.torchvision(name="MNIST", root="sets")


def test_root_is_relative_to_the_data_folder_unless_it_is_absolute(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _packed(root / "sets", monkeypatch)
    shutil.copytree(root / "sets", tmp_path / "elsewhere")
    cards = [
        vision_data.torchvision(name="KMNIST", root=one).card()
        for one in ("sets", str(tmp_path / "elsewhere"))
    ]

    assert cards[0] == cards[1]


def test_requested_download_is_made_and_read(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _packed(tmp_path / "mirror", monkeypatch)

    def fetched(url: str, *, download_root: str, filename: str, md5: str) -> None:
        content = (tmp_path / "mirror" / "KMNIST" / "raw" / filename).read_bytes()
        (Path(download_root) / filename.removesuffix(".gz")).write_bytes(gzip.decompress(content))

    monkeypatch.setattr(datasets.mnist, "download_and_extract_archive", fetched)

    assert 10 == vision_data.torchvision(name="KMNIST", download=True).card().outputs
    assert set(RAW) <= {path.name for path in (root / "KMNIST" / "raw").iterdir()}


def test_failed_download_is_reported_with_its_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def offline(*given: object, **named: object) -> None:
        raise URLError("no network")

    monkeypatch.setattr(datasets.mnist, "download_and_extract_archive", offline)

    with pytest.raises(
        BadInput,
        match=r"(?s)no KMNIST in .*, and the download failed \(.*train-images.*put the files there",
    ) as caught:
        vision_data.torchvision(name="KMNIST", download=True)
    # older versions of torchvision print the reason
    assert "no network" in str(caught.value) + capsys.readouterr().out


def test_single_worker_downloads_while_the_others_wait(root: Path) -> None:
    with (
        Cache(default_cache_root(), line="downloads").hold_lock(text_sha256(f"KMNIST {root}")),
        pytest.raises(Busy),
    ):
        vision_data.torchvision(name="KMNIST", download=True)


def _cifar(root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    images, folder, listed = _images(3, 32, 32), root / "cifar-10-batches-py", {}
    folder.mkdir()
    for part, name in (("train", "data_batch_1"), ("test", "test_batch")):
        batch = {
            "data": images[part].reshape(len(images[part]), -1),
            "labels": LABELS[part].tolist(),
        }
        listed[part] = [[name, _written(folder / name, pickle.dumps(batch))]]
    names = {"label_names": [f"class {number}" for number in range(10)]}
    meta = {
        "filename": "batches.meta",
        "key": "label_names",
        "md5": _written(folder / "batches.meta", pickle.dumps(names)),
    }
    for attribute, value in (
        ("train_list", listed["train"]),
        ("test_list", listed["test"]),
        ("meta", meta),
    ):
        monkeypatch.setattr(datasets.CIFAR10, attribute, value)
    return images


def _svhn(root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    images, listed = _images(3, 32, 32), {}
    for part in PARTS:
        path = root / f"{part}_32x32.mat"
        labels = np.where(LABELS[part] == 0, 10, LABELS[part])[:, None].astype(
            np.uint8
        )  # its zeros are tens
        scipy.io.savemat(path, {"X": images[part].transpose(2, 3, 1, 0), "y": labels})
        listed[part] = ["", path.name, _md5(path.read_bytes())]
    monkeypatch.setattr(datasets.SVHN, "split_list", listed)
    return images


def _stl(root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    images, folder = _images(3, 96, 96), root / "stl10_binary"
    folder.mkdir()
    listed = {}
    for part in PARTS:
        pixels = (
            images[part].transpose(0, 1, 3, 2).tobytes()
        )  # it stores columns first, and classes from 1
        labels = (LABELS[part] + 1).astype(np.uint8).tobytes()
        contents = {f"{part}_X.bin": pixels, f"{part}_y.bin": labels}
        listed[part] = [
            [name, _written(folder / name, content)] for name, content in contents.items()
        ]
    listed["train"].append(["unlabeled_X.bin", _written(folder / "unlabeled_X.bin", b"")])
    (folder / "class_names.txt").write_text("\n".join(f"class {number}" for number in range(10)))
    monkeypatch.setattr(datasets.STL10, "train_list", listed["train"])
    monkeypatch.setattr(datasets.STL10, "test_list", listed["test"])
    return images


def _usps(root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    listed, images = {}, {}
    for part, name in (("train", "usps.bz2"), ("test", "usps.t.bz2")):
        values = RANDOM.integers(0, 2, (len(LABELS[part]), 256))
        rows = [
            f"{label + 1} "
            + " ".join(f"{place}:{2 * value - 1}" for place, value in enumerate(row, 1))
            for label, row in zip(LABELS[part], values, strict=True)
        ]
        listed[part] = ["", name, _written(root / name, bz2.compress("\n".join(rows).encode()))]
        images[part] = (255 * values).astype(np.uint8).reshape(-1, 1, 16, 16)
    monkeypatch.setattr(datasets.USPS, "split_list", listed)
    return images


def _emnist(root: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, np.ndarray]:
    images, folder = _images(28, 28), root / "EMNIST" / "raw"
    folder.mkdir(parents=True)
    for part in PARTS:
        (folder / f"emnist-digits-{part}-images-idx3-ubyte").write_bytes(_idx(images[part]))
        (folder / f"emnist-digits-{part}-labels-idx1-ubyte").write_bytes(_idx(LABELS[part]))
    return {part: one[:, None] for part, one in images.items()}


def _written(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return _md5(content)


@pytest.mark.parametrize(
    ("name", "writer", "shape", "first"),
    [
        ("CIFAR10", _cifar, (3, 32, 32), "class 0"),
        ("SVHN", _svhn, (3, 32, 32), "0"),
        ("STL10", _stl, (3, 96, 96), "class 0"),
        ("USPS", _usps, (1, 16, 16), "0"),
        ("EMNIST-digits", _emnist, (1, 28, 28), "0"),
    ],
)
def test_each_format_is_read_as_it_was_written(
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: SetName,
    writer: Callable[[Path, pytest.MonkeyPatch], Mapping[str, np.ndarray]],
    shape: tuple[int, ...],
    first: str,
) -> None:
    images = writer(root, monkeypatch)
    data = vision_data.torchvision(name=name)

    assert (shape, 10, first) == (data.card().shape, data.card().outputs, data.card().names[0])
    assert _agrees(data, images)


def test_damaged_set_is_reported_with_the_error_of_torchvision(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _cifar(root, monkeypatch)
    (root / "cifar-10-batches-py" / "test_batch").write_bytes(b"")

    with pytest.raises(
        BadInput,
        match=r"found CIFAR10 in .* torchvision cannot read \(.*corrupted.*remove these files",
    ):
        vision_data.torchvision(name="CIFAR10")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("MNIST", "d2b0cb723ba5a0db368b157eff216f2e3a860c0962e6e7b6ce6165a989bff678"),
        ("FashionMNIST", "a16c6145ed723ebdd3e67f58aaa01f766e1277e91e012991b8576526702318cb"),
    ],
)
def test_sets_on_disk_are_read_without_a_network(
    name: SetName, content: str, monkeypatch: pytest.MonkeyPatch, real_data: str
) -> None:
    monkeypatch.setenv("ADVTRANSFER_DATA", real_data)
    data = vision_data.torchvision(name=name)
    parts = [data.part(part) for part in PARTS]

    assert [60_000, 10_000] == [len(part) for part in parts]
    assert [6_000 if name == "FashionMNIST" else 5_923] == torch.bincount(
        parts[0].labels(all_positions(parts[0]))
    )[:1].tolist()
    assert content == data.card().digest, (
        "the set is not what it was: if that is meant, raise `version` of torchvision"
    )


@pytest.fixture(scope="session")
def real_data() -> str:
    """The folder of real data sets, as the environment named it before any test changed that."""
    if not REAL_DATA:
        pytest.skip(
            "ADVTRANSFER_DATA is not set: it names the folder that holds MNIST and FashionMNIST"
        )
    return REAL_DATA


REAL_DATA = os.environ.get("ADVTRANSFER_DATA", "")
