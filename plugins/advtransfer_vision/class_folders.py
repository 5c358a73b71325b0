"""Images with one folder a class, as torchvision's ImageFolder reads them, under a train and a test folder."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import torch

from advtransfer.digests import encodable
from advtransfer.errors import BadInput, Problem
from advtransfer.node import canonical, digest
from advtransfer.types import DataCard, Folder, Json, Part
from advtransfer_vision.faults import fault
from advtransfer_vision.framing import Framing
from advtransfer_vision.image_files import ImageFiles
from advtransfer_vision.image_headers import check_headers
from advtransfer_vision.image_listing import SUFFIXES, Listed, listed, printable
from advtransfer_vision.notes import some, tell
from advtransfer_vision.parts import PartedDataset

TEST_FOLDERS = ("test", "val")


def load(root: Folder, *, train: str, test: str | None, framing: Framing) -> PartedDataset:
    """The images below a folder; which class is which number is the sorted order of the train part's folders.

    Raises:
        BadInput: A part is not there, a class folder has no images, the test part has a class that the train part has
            not, or a file is no image; all such problems at once.
    """
    parts: dict[Part, Listed] = {
        "train": listed(_part(root.path, (train,))),
        "test": listed(_part(root.path, TEST_FOLDERS if test is None else (test,))),
    }
    labels = tuple(sorted(set(parts["train"].classes)))
    problems = [problem for part in parts.values() for problem in part.problems()]
    problems += [_no_image(part.folder) for part in parts.values() if not part.classes]
    parts["test"] = _spelt_alike(parts["test"], labels)
    problems += _unknown(parts["test"], parts["train"], labels)
    if problems:
        raise BadInput(problems)
    for part in parts.values():
        check_headers(part.folder, part.names, framing)
        part.warn()
    _warn_of_classes(parts["test"], labels)
    names = tuple(map(printable, labels))
    folders: list[Json] = [encodable(part.folder.name) for part in parts.values()]
    content: dict[str, Json] = {"folder": root.sha256, "parts": folders, "framing": _told(framing)}
    shape = (3, framing.pixels, framing.pixels)
    card = DataCard(shape, (0.0, 1.0), "classes", len(names), names, digest(canonical(content)))
    return PartedDataset(card, {name: samples(part, card, framing, labels=labels) for name, part in parts.items()})


def samples(part: Listed, card: DataCard, framing: Framing, *, labels: tuple[str, ...]) -> ImageFiles:
    """The samples of a listed part; `labels` are the folders' names in the order of the card's classes."""
    numbers = {name: number for number, name in enumerate(labels)}
    targets = torch.tensor([numbers[name] for name in part.classes], dtype=torch.int64)
    return ImageFiles(card, part.folder, part.names, targets, framing)


def _spelt_alike(part: Listed, labels: tuple[str, ...]) -> Listed:
    """The part with its classes as `labels` spells them: macOS writes an accent as a character of its own."""
    known = {_composed(name): name for name in labels}
    spelt = {name: name if name in labels else known.get(_composed(name), name) for name in set(part.classes)}
    return replace(part, classes=[spelt[name] for name in part.classes])


def _unknown(test: Listed, train: Listed, labels: tuple[str, ...]) -> Iterator[Problem]:
    """The classes that have images in the test part alone."""
    folded = {name.casefold(): name for name in labels}
    for name in sorted(set(test.classes) - set(labels)):
        found = f"the class folder {name!r} in {str(test.folder)!r}"
        expected = f"one of the {len(labels)} of {str(train.folder)!r}"
        near = folded.get(name.casefold())
        next_step = f"did you mean {near!r}? " if near else ""
        yield Problem(found, expected, f"{next_step}give it training images, or remove it")


def _no_image(folder: Path) -> Problem:
    expected = f"class folders with images ({', '.join(SUFFIXES)})"
    return Problem(f"no image in {str(folder)!r}", expected, "write <part>/<class>/<image>")


def _warn_of_classes(test: Listed, labels: tuple[str, ...]) -> None:
    """Tell of classes that are never tested, and of folders that look like one class."""
    if untested := sorted(set(labels) - set(test.classes)):
        tell(f"{str(test.folder)!r}: no image of {len(untested)} of {len(labels)} classes ({some(untested)})")
    alike: dict[str, list[str]] = {}
    for name in labels:
        alike.setdefault(_composed(name).casefold(), []).append(name)
    for names in alike.values():
        if len(names) > 1:
            written = ", ".join(map(ascii, names))
            tell(f"the class folders {written} differ in capitals or in how accents are written; each is a class")


def _composed(name: str) -> str:
    """A name with each accent in its letter's character (NFC)."""
    return unicodedata.normalize("NFC", name)


def _part(root: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        if (root / name).is_dir():
            return root / name
    there = sorted(path.name for path in root.iterdir() if path.is_dir())
    found = f"no folder {' or '.join(map(repr, names))} in {str(root)!r} (there are {some(there) if there else 'none'})"
    raise fault(found, expected="a train and a test folder", next_step="name them with the options `train` and `test`")


def _told(framing: Framing) -> dict[str, Json]:
    short_side = framing.short_side if framing.fit == "crop" else None
    return {"pixels": framing.pixels, "fit": framing.fit, "short_side": short_side}
