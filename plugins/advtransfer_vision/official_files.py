"""Where torchvision keeps its sets under a root, and how their parts are asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from torchvision import datasets

from advtransfer.types import Part

PARTS: tuple[Part, ...] = ("train", "test")
PACKED = ("MNIST", "FashionMNIST", "KMNIST")
BY_SPLIT = ("SVHN", "STL10")


class Factory(Protocol):
    """What torchvision's classes say of their files; each says some of it."""

    base_folder: str
    class_names_file: str
    meta: Mapping[str, str]
    resources: list[tuple[str, str]]
    split_list: Mapping[str, list[str]]
    train_list: list[list[str]]
    test_list: list[list[str]]


@dataclass(frozen=True, slots=True)
class Official:
    """One of torchvision's sets: `name` is its class, `split` what EMNIST's class also asks for."""

    name: str
    split: str
    root: Path

    @property
    def factory(self) -> Factory:
        """Its class in torchvision."""
        return cast(Factory, getattr(datasets, self.name))

    def open(self, part: Part, *, download: bool = False) -> object:
        """The object that torchvision makes of a part."""
        asked = {"split": part} if self.name in BY_SPLIT else {"train": part == "train"}
        split = {"split": self.split} if self.split else {}
        return cast("Callable[..., object]", self.factory)(self.root, **asked, **split, download=download)

    def found(self) -> list[str] | None:
        """The files to read: those that torchvision reads, or the packed ones that `idx` reads; None where absent."""
        for files in (self.files(), list(self.packed())):
            if files and all((self.root / name).is_file() for name in files):
                return files
        return None

    def files(self) -> list[str]:
        """What torchvision reads, relative to the root."""
        given = self.factory
        match self.name:
            case "CIFAR10" | "CIFAR100":
                names = [*(name for name, _ in (*given.train_list, *given.test_list)), given.meta["filename"]]
                return [f"{given.base_folder}/{name}" for name in names]
            case "STL10":  # with its unlabelled images, since torchvision checks that they are there
                names = [*(name for name, _ in (*given.train_list, *given.test_list)), given.class_names_file]
                return [f"{given.base_folder}/{name}" for name in names]
            case "SVHN" | "USPS":
                return [given.split_list[part][1] for part in PARTS]
            case "EMNIST":
                kinds = ("images-idx3", "labels-idx1")
                return [f"EMNIST/raw/emnist-{self.split}-{part}-{kind}-ubyte" for part in PARTS for kind in kinds]
        return [name.removesuffix(".gz") for name in self.packed()]

    def packed(self) -> Mapping[str, str]:
        """The files of MNIST and its like as they are handed out, with their md5."""
        if self.name not in PACKED:
            return {}
        return {f"{self.name}/raw/{name.rpartition('/')[2]}": md5 for name, md5 in self.factory.resources}
