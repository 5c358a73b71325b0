"""torchvision's classification sets of one image size: found on disk, or downloaded on request."""

from __future__ import annotations

import gzip
import hashlib
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Protocol, TypeAlias, cast

import numpy as np
import torch
from torch import Tensor
from torchvision import datasets

from advtransfer.toolkit.datasets import ArraySamples, content_digest
from advtransfer.toolkit.downloads import download_lock
from advtransfer.toolkit.file_digests import cached_while_unchanged, content_id
from advtransfer.types import DataCard, Json, Part
from advtransfer_vision.data.messages import data_error
from advtransfer_vision.data.parts import PartedDataset

UINT8_MAGIC = b"\x00\x00\x08"
"""First bytes of an IDX file of uint8; the next byte is the number of dimensions."""


def read_idx(path: Path, *, md5: str) -> Tensor:
    """Return the uint8 array in a gzipped IDX file, in the shape that its header gives.

    Args:
        path: The ``.gz`` file.
        md5: Expected md5 of the gzipped file.

    Raises:
        BadInput: The file is not the official one, or not of this format.
    """
    packed = path.read_bytes()
    # Python refuses md5 in FIPS mode, unless it is declared not to be a security measure.
    file_md5 = hashlib.md5(packed, usedforsecurity=False).hexdigest()
    if file_md5 != md5:
        raise data_error(
            f"{str(path)!r} with md5 {file_md5}",
            expected=f"the official one, {md5}",
            next_step=(
                "fetch the file again, from torchvision's address (`download: true` in an empty folder)"
            ),
        )
    content = gzip.decompress(packed)
    dimensions = content[3]
    start = 4 + 4 * dimensions
    sizes = [content[offset : offset + 4] for offset in range(4, start, 4)]
    shape = tuple(int.from_bytes(size, "big") for size in sizes)
    if not content.startswith(UINT8_MAGIC) or len(content) != start + math.prod(shape):
        raise data_error(
            f"{str(path)!r} of another format",
            expected="IDX of unsigned bytes",
            next_step="fetch it again",
        )
    array = np.frombuffer(content, np.uint8, offset=start).reshape(shape)
    return torch.from_numpy(array.copy())


SET_PARTS: tuple[Part, ...] = ("train", "test")
PACKED_SETS = ("MNIST", "FashionMNIST", "KMNIST")
SETS_BY_SPLIT = ("SVHN", "STL10")


class TorchvisionClass(Protocol):
    """Attributes of torchvision's classes that describe files; each class has some of them."""

    base_folder: str
    class_names_file: str
    meta: Mapping[str, str]
    resources: list[tuple[str, str]]
    split_list: Mapping[str, list[str]]
    train_list: list[list[str]]
    test_list: list[list[str]]


@dataclass(frozen=True, slots=True)
class TorchvisionSet:
    """One of torchvision's sets.

    Args:
        name: Name of its class in torchvision.
        split: Split of EMNIST, which its class requires; empty for other sets.
        root: The folder that torchvision reads and writes files in.
    """

    name: str
    split: str
    root: Path

    @property
    def torchvision_class(self) -> TorchvisionClass:
        """Class of the set in torchvision."""
        return cast(TorchvisionClass, getattr(datasets, self.name))

    def open_part(self, part: Part, *, download: bool = False) -> object:
        """Return torchvision's object of a part, after a download if asked for."""
        options: dict[str, object] = {"train": part == "train"}
        if self.name in SETS_BY_SPLIT:
            options = {"split": part}
        if self.split:
            options["split"] = self.split
        constructor = cast("Callable[..., object]", self.torchvision_class)
        return constructor(self.root, **options, download=download)

    def find_files(self) -> list[str] | None:
        """Return the files to read: those that torchvision reads, else the packed ones; None if neither is complete."""
        for files in (self.unpacked_files(), list(self.packed_files())):
            if files and all((self.root / name).is_file() for name in files):
                return files
        return None

    def unpacked_files(self) -> list[str]:
        """Return the files that torchvision reads, relative to the root."""
        match self.name:
            case "CIFAR10" | "CIFAR100":
                return self._listed_files(self.torchvision_class.meta["filename"])
            case "STL10":
                # These include its unlabelled images: torchvision requires them.
                return self._listed_files(self.torchvision_class.class_names_file)
            case "SVHN" | "USPS":
                split_list = self.torchvision_class.split_list
                return [split_list[part][1] for part in SET_PARTS]
            case "EMNIST":
                kinds = ("images-idx3", "labels-idx1")
                prefix = f"EMNIST/raw/emnist-{self.split}"
                return [f"{prefix}-{part}-{kind}-ubyte" for part, kind in product(SET_PARTS, kinds)]
        return [name.removesuffix(".gz") for name in self.packed_files()]

    def _listed_files(self, names_file: str) -> list[str]:
        """Return the files of a class that lists them by part, and its file of class names."""
        listing = self.torchvision_class
        names = [name for name, _ in (*listing.train_list, *listing.test_list)]
        return [f"{listing.base_folder}/{name}" for name in (*names, names_file)]

    def packed_files(self) -> Mapping[str, str]:
        """Return the gzipped files of MNIST and its variants as they are released, with their md5."""
        if self.name not in PACKED_SETS:
            return {}
        return {
            f"{self.name}/raw/{name.rpartition('/')[2]}": md5
            for name, md5 in self.torchvision_class.resources
        }


PartArrays: TypeAlias = tuple[Tensor, Tensor]
ReadSet: TypeAlias = tuple[Mapping[Part, PartArrays], tuple[str, ...]]


def load_torchvision_set(name: str, *, root: str | None, download: bool) -> PartedDataset:
    """Return a set by its name; nothing is written unless `download` is true.

    Args:
        name: Name of torchvision's class; for EMNIST with its split, such as ``EMNIST-letters``.
        root: The folder, as in `data_root`.
        download: Download the set if it is missing.

    Raises:
        BadInput: The set is missing or damaged; names the expected files, and how to get them.
        Busy: Another worker is downloading it.
    """
    class_name, _, split = name.partition("-")
    dataset = TorchvisionSet(class_name, split, data_root(root))
    files = dataset.find_files()
    if files is None and download:
        _download_set(dataset)
        files = dataset.find_files()
    if files is None:
        raise _missing_error(dataset, "")
    is_packed = files == list(dataset.packed_files())
    parts, names = _read_packed(dataset) if is_packed else _read_with_torchvision(dataset)
    # The key is spelt out, so that digests on users' disks outlive a new name of the class.
    content = cached_while_unchanged(
        f"content 1 of Official(name={class_name!r}, split={split!r}, root={dataset.root!r})",
        [dataset.root / file for file in files],
        partial(_content_of, parts, names),
    )
    card = DataCard(
        tuple(parts["train"][0].shape[1:]), (0.0, 1.0), "classes", len(names), names, content
    )
    return PartedDataset(
        card, {part: ArraySamples(card=card, inputs=x, labels=y) for part, (x, y) in parts.items()}
    )


def data_root(root: str | None) -> Path:
    """Return the folder of data sets: `root`, below ADVTRANSFER_DATA if relative, or that folder itself.

    Raises:
        BadInput: ADVTRANSFER_DATA is not set, and `root` is not absolute.
    """
    base = os.environ.get("ADVTRANSFER_DATA")
    path = Path(root).expanduser() if root else None
    if path is not None and path.is_absolute():
        return path
    if not base:
        found = "no ADVTRANSFER_DATA in the environment"
        if root:
            found += f", and the relative root {root!r}"
        next_step = "set ADVTRANSFER_DATA, or write an absolute `root:` in the suite"
        raise data_error(found, expected="the folder that holds data sets", next_step=next_step)
    return Path(base).expanduser().absolute() / (path or "")


def _download_set(dataset: TorchvisionSet) -> None:
    """Download a set; torchvision shows the progress."""
    # torchvision unpacks into the folder that others read, so one worker downloads at a time.
    with download_lock(f"{dataset.name} {dataset.root}"):
        try:
            dataset.root.mkdir(parents=True, exist_ok=True)
            for part in SET_PARTS:
                dataset.open_part(part, download=True)
        except (RuntimeError, OSError) as error:
            raise _missing_error(dataset, f", and the download failed ({error})") from error


def _read_with_torchvision(dataset: TorchvisionSet) -> ReadSet:
    """Read a set with torchvision, which compares the md5 of the files for which it knows one."""
    try:
        opened = {part: dataset.open_part(part) for part in SET_PARTS}
        arrays = {part: _part_arrays(torchvision_part) for part, torchvision_part in opened.items()}
        return arrays, _class_names(opened["test"])
    except (RuntimeError, ValueError, OSError) as error:
        raise data_error(
            f"{dataset.name} in {str(dataset.root)!r}, which torchvision cannot read ({error})",
            expected=f"intact files {', '.join(dataset.unpacked_files())}",
            next_step="remove these files and fetch them again (`download: true`)",
        ) from error


def _part_arrays(torchvision_part: object) -> PartArrays:
    """Return the images ``(N, C, H, W)`` uint8 and classes ``(N,)`` int64 of torchvision's object.

    The attributes that hold them differ from class to class, and so does the order of the dimensions.
    """
    pixels = torch.as_tensor(getattr(torchvision_part, "data", None))
    # MNIST and its variants have (N, H, W), CIFAR (N, H, W, C), SVHN and STL10 (N, C, H, W).
    if pixels.ndim == 3:
        pixels = pixels.unsqueeze(1)
    elif pixels.shape[3] == 3:
        pixels = pixels.permute(0, 3, 1, 2)
    labels = getattr(torchvision_part, "targets", None)
    if labels is None:
        labels = getattr(torchvision_part, "labels", None)
    return pixels.contiguous(), torch.as_tensor(labels).long()


def _class_names(labelled: object) -> tuple[str, ...]:
    """Return the class names of torchvision's class or object; sets without names are digits."""
    return tuple(getattr(labelled, "classes", None) or map(str, range(10)))


def _read_packed(dataset: TorchvisionSet) -> ReadSet:
    """Read the gzipped files of a set, without unpacking them on disk as torchvision would."""
    packed_files = dataset.packed_files().items()
    arrays = [read_idx(dataset.root / name, md5=md5) for name, md5 in packed_files]
    train, train_labels, test, test_labels = arrays
    parts: dict[Part, PartArrays] = {
        "train": (train.unsqueeze(1), train_labels.long()),
        "test": (test.unsqueeze(1), test_labels.long()),
    }
    return parts, _class_names(dataset.torchvision_class)


def _content_of(parts: Mapping[Part, PartArrays], names: tuple[str, ...]) -> str:
    """Return the digest of the images, labels and class names of all parts."""
    digests: dict[str, Json] = {}
    for part, (images, labels) in parts.items():
        digests[part] = content_digest(images, labels, names)
    return content_id(digests)


def _missing_error(dataset: TorchvisionSet, reason: str) -> Exception:
    expected = f"{', '.join(dataset.packed_files() or dataset.unpacked_files())} under it"
    next_step = "write `download: true`, or put the files there; ADVTRANSFER_DATA or `root:` says another folder"
    return data_error(
        f"no {dataset.name} in {str(dataset.root)!r}{reason}",
        expected=expected,
        next_step=next_step,
    )
