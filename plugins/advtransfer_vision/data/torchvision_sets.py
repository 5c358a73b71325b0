"""torchvision's classification sets of one image size: found on disk, or downloaded on request."""

from __future__ import annotations

import gzip
import hashlib
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
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

UINT8_MAGIC = b"\x00\x00\x08"  # how a file of uint8 begins


def read_idx(path: Path, *, md5: str) -> Tensor:
    """The uint8 array in a ``.gz`` file of IDX, of whatever shape it says.

    Raises:
        BadInput: The file is not the official one.
    """
    packed = path.read_bytes()
    found = hashlib.md5(packed, usedforsecurity=False).hexdigest()
    if found != md5:
        next_step = (
            "fetch the file again, from torchvision's address (`download: true` in an empty folder)"
        )
        raise data_error(
            f"{str(path)!r} with md5 {found}",
            expected=f"the official one, {md5}",
            next_step=next_step,
        )
    content = gzip.decompress(packed)
    dimensions = content[3]
    start = 4 + 4 * dimensions
    shape = tuple(int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4))
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
    """What torchvision's classes say of their files; each says some of it."""

    base_folder: str
    class_names_file: str
    meta: Mapping[str, str]
    resources: list[tuple[str, str]]
    split_list: Mapping[str, list[str]]
    train_list: list[list[str]]
    test_list: list[list[str]]


@dataclass(frozen=True, slots=True)
class TorchvisionSet:
    """One of torchvision's sets: `name` is its class, `split` what EMNIST's class also asks for."""

    name: str
    split: str
    root: Path

    @property
    def torchvision_class(self) -> TorchvisionClass:
        """Its class in torchvision."""
        return cast(TorchvisionClass, getattr(datasets, self.name))

    def open_part(self, part: Part, *, download: bool = False) -> object:
        """The object that torchvision makes of a part."""
        asked = {"split": part} if self.name in SETS_BY_SPLIT else {"train": part == "train"}
        split = {"split": self.split} if self.split else {}
        return cast("Callable[..., object]", self.torchvision_class)(
            self.root, **asked, **split, download=download
        )

    def find_files(self) -> list[str] | None:
        """The files to read: those that torchvision reads, or the packed ones that `idx` reads; None where absent."""
        for files in (self.unpacked_files(), list(self.packed_files())):
            if files and all((self.root / name).is_file() for name in files):
                return files
        return None

    def unpacked_files(self) -> list[str]:
        """What torchvision reads, relative to the root."""
        given = self.torchvision_class
        match self.name:
            case "CIFAR10" | "CIFAR100":
                names = [
                    *(name for name, _ in (*given.train_list, *given.test_list)),
                    given.meta["filename"],
                ]
                return [f"{given.base_folder}/{name}" for name in names]
            case (
                "STL10"
            ):  # with its unlabelled images, since torchvision checks that they are there
                names = [
                    *(name for name, _ in (*given.train_list, *given.test_list)),
                    given.class_names_file,
                ]
                return [f"{given.base_folder}/{name}" for name in names]
            case "SVHN" | "USPS":
                return [given.split_list[part][1] for part in SET_PARTS]
            case "EMNIST":
                kinds = ("images-idx3", "labels-idx1")
                return [
                    f"EMNIST/raw/emnist-{self.split}-{part}-{kind}-ubyte"
                    for part in SET_PARTS
                    for kind in kinds
                ]
        return [name.removesuffix(".gz") for name in self.packed_files()]

    def packed_files(self) -> Mapping[str, str]:
        """The files of MNIST and its like as they are handed out, with their md5."""
        if self.name not in PACKED_SETS:
            return {}
        return {
            f"{self.name}/raw/{name.rpartition('/')[2]}": md5
            for name, md5 in self.torchvision_class.resources
        }


PartArrays: TypeAlias = tuple[Tensor, Tensor]
ReadSet: TypeAlias = tuple[Mapping[Part, PartArrays], tuple[str, ...]]


def load_torchvision_set(name: str, *, root: str | None, download: bool) -> PartedDataset:
    """The set by name; nothing is written unless `download` is asked for.

    Raises:
        BadInput: It is not there, or it is damaged; says which files are expected where, and how to get them.
        Busy: Another worker is downloading it.
    """
    kind, _, split = name.partition("-")
    official = TorchvisionSet(kind, split, data_root(root))
    files = official.find_files()
    if files is None and download:
        _download_set(official)
        files = official.find_files()
    if files is None:
        raise _missing_error(official, "")
    parts, names = (
        _read_packed(official)
        if files == list(official.packed_files())
        else _read_with_torchvision(official)
    )
    content = cached_while_unchanged(
        f"content 1 of {official}", [official.root / one for one in files], _digest_of(parts, names)
    )
    card = DataCard(
        tuple(parts["train"][0].shape[1:]), (0.0, 1.0), "classes", len(names), names, content
    )
    return PartedDataset(
        card, {part: ArraySamples(card=card, inputs=x, labels=y) for part, (x, y) in parts.items()}
    )


def data_root(given: str | None) -> Path:
    """The folder that data sets lie in: as given, under ADVTRANSFER_DATA where it is relative, or that itself.

    Raises:
        BadInput: Neither says where.
    """
    base = os.environ.get("ADVTRANSFER_DATA")
    path = Path(given).expanduser() if given else None
    if path is not None and path.is_absolute():
        return path
    if not base:
        found = "no ADVTRANSFER_DATA in the environment" + (
            f", and the relative root {given!r}" if given else ""
        )
        next_step = "set ADVTRANSFER_DATA, or write an absolute `root:` in the suite"
        raise data_error(found, expected="the folder that holds data sets", next_step=next_step)
    return Path(base).expanduser().absolute() / (path or "")


def _download_set(official: TorchvisionSet) -> None:
    """Fetch the set, its progress shown by torchvision; one worker at a time."""
    with download_lock(f"{official.name} {official.root}"):
        try:
            official.root.mkdir(parents=True, exist_ok=True)
            for part in SET_PARTS:
                official.open_part(part, download=True)
        except (RuntimeError, OSError) as error:  # what torchvision and the network raise
            raise _missing_error(official, f", and the download failed ({error})") from error


def _read_with_torchvision(official: TorchvisionSet) -> ReadSet:
    """What torchvision reads; it checks md5 sums where it knows them."""
    try:
        opened = {part: official.open_part(part) for part in SET_PARTS}
        return {part: _part_arrays(given) for part, given in opened.items()}, _class_names(
            opened["test"]
        )
    except (RuntimeError, ValueError, OSError) as error:
        found = (
            f"{official.name} in {str(official.root)!r}, which torchvision cannot read ({error})"
        )
        next_step = "remove these files and fetch them again (`download: true`)"
        raise data_error(
            found,
            expected=f"intact files {', '.join(official.unpacked_files())}",
            next_step=next_step,
        ) from error


def _part_arrays(given: object) -> PartArrays:
    """Images ``(N, C, H, W)`` uint8 and classes ``(N,)`` int64 of torchvision's object."""
    pixels = torch.as_tensor(getattr(given, "data", None))
    if pixels.ndim == 3:
        pixels = pixels.unsqueeze(1)
    elif pixels.shape[3] == 3:
        pixels = pixels.permute(0, 3, 1, 2)
    labels = getattr(given, "targets", None)
    labels = getattr(given, "labels", None) if labels is None else labels
    return pixels.contiguous(), torch.as_tensor(labels).long()


def _class_names(given: object) -> tuple[str, ...]:
    """The classes' names of torchvision's class or object; those that it does not name are digits."""
    return tuple(getattr(given, "classes", None) or map(str, range(10)))


def _read_packed(official: TorchvisionSet) -> ReadSet:
    arrays = [
        read_idx(official.root / name, md5=md5) for name, md5 in official.packed_files().items()
    ]
    train, train_labels, test, test_labels = arrays
    parts: dict[Part, PartArrays] = {
        "train": (train.unsqueeze(1), train_labels.long()),
        "test": (test.unsqueeze(1), test_labels.long()),
    }
    return parts, _class_names(official.torchvision_class)


def _digest_of(parts: Mapping[Part, PartArrays], names: tuple[str, ...]) -> Callable[[], str]:
    def made() -> str:
        contents: dict[str, Json] = {
            part: content_digest(x, y, names) for part, (x, y) in parts.items()
        }
        return content_id(contents)

    return made


def _missing_error(official: TorchvisionSet, why: str) -> Exception:
    expected = f"{', '.join(official.packed_files() or official.unpacked_files())} under it"
    next_step = "write `download: true`, or put the files there; ADVTRANSFER_DATA or `root:` says another folder"
    return data_error(
        f"no {official.name} in {str(official.root)!r}{why}", expected=expected, next_step=next_step
    )
