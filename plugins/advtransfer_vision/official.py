"""torchvision's classification sets of one image size: found on disk, or downloaded when that is asked for."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor

from advtransfer.cache import Cache, default_root
from advtransfer.digests import remembered
from advtransfer.node import canonical, digest
from advtransfer.toolkit.samples import Arrays, content_digest
from advtransfer.types import DataCard, Json, Part
from advtransfer_vision import idx
from advtransfer_vision.faults import fault
from advtransfer_vision.official_files import PARTS, Official
from advtransfer_vision.parts import PartedDataset

Pair: TypeAlias = tuple[Tensor, Tensor]
Read: TypeAlias = tuple[Mapping[Part, Pair], tuple[str, ...]]


def load(name: str, *, root: str | None, download: bool) -> PartedDataset:
    """The set by name; nothing is written unless `download` is asked for.

    Raises:
        BadInput: It is not there, or it is damaged; says which files are expected where, and how to get them.
        Busy: Another worker is downloading it.
    """
    kind, _, split = name.partition("-")
    official = Official(kind, split, data_root(root))
    files = official.found()
    if files is None and download:
        _download(official)
        files = official.found()
    if files is None:
        raise _absent(official, "")
    parts, names = _unpacked(official) if files == list(official.packed()) else _opened(official)
    content = remembered(f"content 1 of {official}", [official.root / one for one in files], _content(parts, names))
    card = DataCard(tuple(parts["train"][0].shape[1:]), (0.0, 1.0), "classes", len(names), names, content)
    return PartedDataset(card, {part: Arrays(card=card, inputs=x, labels=y) for part, (x, y) in parts.items()})


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
        found = "no ADVTRANSFER_DATA in the environment" + (f", and the relative root {given!r}" if given else "")
        next_step = "set ADVTRANSFER_DATA, or write an absolute `root:` in the suite"
        raise fault(found, expected="the folder that holds data sets", next_step=next_step)
    return Path(base).expanduser().absolute() / (path or "")


def _download(official: Official) -> None:
    """Fetch the set, its progress shown by torchvision; one worker at a time."""
    cache = Cache(default_root(), line="downloads")
    with cache.lease(digest(f"{official.name} {official.root}")):
        try:
            official.root.mkdir(parents=True, exist_ok=True)
            for part in PARTS:
                official.open(part, download=True)
        except (RuntimeError, OSError) as error:  # what torchvision and the network raise
            raise _absent(official, f", and the download failed ({error})") from error


def _opened(official: Official) -> Read:
    """What torchvision reads; it checks md5 sums where it knows them."""
    try:
        opened = {part: official.open(part) for part in PARTS}
        return {part: _arrays(given) for part, given in opened.items()}, _names(opened["test"])
    except (RuntimeError, ValueError, OSError) as error:
        found = f"{official.name} in {str(official.root)!r}, which torchvision cannot read ({error})"
        next_step = "remove these files and fetch them again (`download: true`)"
        raise fault(found, expected=f"intact files {', '.join(official.files())}", next_step=next_step) from error


def _arrays(given: object) -> Pair:
    """Images ``(N, C, H, W)`` uint8 and classes ``(N,)`` int64 of torchvision's object."""
    pixels = torch.as_tensor(getattr(given, "data", None))
    if pixels.ndim == 3:
        pixels = pixels.unsqueeze(1)
    elif pixels.shape[3] == 3:
        pixels = pixels.permute(0, 3, 1, 2)
    labels = getattr(given, "targets", None)
    labels = getattr(given, "labels", None) if labels is None else labels
    return pixels.contiguous(), torch.as_tensor(labels).long()


def _names(given: object) -> tuple[str, ...]:
    """The classes' names of torchvision's class or object; those that it does not name are digits."""
    return tuple(getattr(given, "classes", None) or map(str, range(10)))


def _unpacked(official: Official) -> Read:
    arrays = [idx.read(official.root / name, md5=md5) for name, md5 in official.packed().items()]
    train, train_labels, test, test_labels = arrays
    parts: dict[Part, Pair] = {
        "train": (train.unsqueeze(1), train_labels.long()),
        "test": (test.unsqueeze(1), test_labels.long()),
    }
    return parts, _names(official.factory)


def _content(parts: Mapping[Part, Pair], names: tuple[str, ...]) -> Callable[[], str]:
    def made() -> str:
        contents: dict[str, Json] = {part: content_digest(x, y, names) for part, (x, y) in parts.items()}
        return digest(canonical(contents))

    return made


def _absent(official: Official, why: str) -> Exception:
    expected = f"{', '.join(official.packed() or official.files())} under it"
    next_step = "write `download: true`, or put the files there; ADVTRANSFER_DATA or `root:` says another folder"
    return fault(f"no {official.name} in {str(official.root)!r}{why}", expected=expected, next_step=next_step)
