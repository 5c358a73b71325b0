"""Images with one folder a class, as torchvision's ImageFolder reads them, under a train and a test folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from advtransfer.digests import below
from advtransfer.node import canonical, digest
from advtransfer.types import DataCard, Folder, Json, Part
from advtransfer_vision.faults import fault
from advtransfer_vision.framing import Framing
from advtransfer_vision.image_files import ImageFiles
from advtransfer_vision.parts import PartedDataset

SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
TEST_FOLDERS = ("test", "val")


@dataclass(frozen=True, slots=True)
class Listed:
    """The images of one part: their names, sorted by class and then by name, and each one's class."""

    folder: Path
    names: list[str]
    classes: list[str]


def load(root: Folder, *, train: str, test: str | None, framing: Framing) -> PartedDataset:
    """The images below a folder; which class is which number is the sorted order of the train part's folders.

    Raises:
        BadInput: A part is not there or has no images, or the test part has a class that the train part has not.
    """
    parts: dict[Part, Listed] = {
        "train": listed(_part(root.path, (train,))),
        "test": listed(_part(root.path, TEST_FOLDERS if test is None else (test,))),
    }
    names = tuple(sorted(set(parts["train"].classes)))
    unknown = sorted(set(parts["test"].classes) - set(names))
    if unknown:
        found = f"the class folder {unknown[0]!r} in {str(parts['test'].folder)!r}"
        expected = f"one of the {len(names)} of {str(parts['train'].folder)!r}"
        raise fault(found, expected=expected, next_step="give it training images, or remove it")
    folders: list[Json] = [part.folder.name for part in parts.values()]
    content: dict[str, Json] = {"folder": root.sha256, "parts": folders, "framing": _told(framing)}
    shape = (3, framing.pixels, framing.pixels)
    card = DataCard(shape, (0.0, 1.0), "classes", len(names), names, digest(canonical(content)))
    return PartedDataset(card, {name: samples(part, card, framing) for name, part in parts.items()})


def samples(part: Listed, card: DataCard, framing: Framing, *, labels: tuple[str, ...] | None = None) -> ImageFiles:
    """The samples of a listed part; `labels` are the folders' names in the order of the card's classes."""
    numbers = {name: number for number, name in enumerate(labels or card.names)}
    targets = torch.tensor([numbers[name] for name in part.classes], dtype=torch.int64)
    return ImageFiles(card, part.folder, part.names, targets, framing)


def listed(folder: Path) -> Listed:
    """The images in the class folders of a part; hidden folders and other files are passed over.

    Raises:
        BadInput: There are none.
    """
    names = [name for name in below(folder) if _is_image(name)]
    if not names:
        expected = f"class folders with images ({', '.join(SUFFIXES)})"
        raise fault(f"no image in {str(folder)!r}", expected=expected, next_step="write <part>/<class>/<image>")
    names.sort(key=lambda name: (name.partition("/")[0], name))
    return Listed(folder, names, [name.partition("/")[0] for name in names])


def _is_image(name: str) -> bool:
    *folders, file = name.split("/")
    hidden = any(part.startswith((".", "__MACOSX")) for part in (*folders, file))
    return bool(folders) and not hidden and file.lower().endswith(SUFFIXES)


def _part(root: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        if (root / name).is_dir():
            return root / name
    there = sorted(path.name for path in root.iterdir() if path.is_dir())
    found = f"no folder {' or '.join(map(repr, names))} in {str(root)!r} (there are {', '.join(there) or 'none'})"
    raise fault(found, expected="a train and a test folder", next_step="name them with the options `train` and `test`")


def _told(framing: Framing) -> dict[str, Json]:
    short_side = framing.short_side if framing.fit == "crop" else None
    return {"pixels": framing.pixels, "fit": framing.fit, "short_side": short_side}
