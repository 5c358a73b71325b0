"""Image folders with one subfolder a class, below a train and a test folder, as torchvision's ImageFolder reads them."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch

from advtransfer.errors import BadInput, Problem
from advtransfer.toolkit.file_digests import (
    SYSTEM_FILES,
    content_id,
    list_files,
    list_non_files,
    utf8_name,
)
from advtransfer.types import DataCard, Folder, Json, Part
from advtransfer_vision.data.image_files import Framing, ImageFiles, check_headers
from advtransfer_vision.data.messages import data_error, first_names, warn_of_data
from advtransfer_vision.data.parts import PartedDataset

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
HIDDEN, LOOSE, NO_FILE = "hidden", "outside of class folders", "links to nowhere or special files"


@dataclass(frozen=True, slots=True)
class ImageListing:
    """The images of one part: their names, sorted by class and then by name, and each one's class.

    `left_out` counts the files that are no images, by class folder (``""`` for what is in none) and by kind.
    """

    folder: Path
    names: list[str]
    classes: list[str]
    left_out: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def find_problems(self) -> list[Problem]:
        """One for each class folder without an image: its class would vanish, and the others be renumbered."""
        empty = sorted(_class_folders(self.folder) - set(self.classes))
        return [self._empty_class_problem(name) for name in empty]

    def warn_of_left_out(self) -> None:
        """Tell how many files are left out, and of what kinds."""
        kinds: Counter[str] = sum((Counter(counts) for counts in self.left_out.values()), Counter())
        if kinds:
            count = f"{kinds.total()} {'file is' if kinds.total() == 1 else 'files are'} left out"
            warn_of_data(
                f"{str(self.folder)!r}: {count} ({_count_text(kinds)}); images are {', '.join(IMAGE_SUFFIXES)}"
            )
        nested = sorted(
            set(self.classes) - {name.split("/")[0] for name in self.names if name.count("/") == 1}
        )
        if nested and len(set(self.classes)) == 1:
            warn_of_data(
                f"{str(self.folder)!r}: all images are of one class, {nested[0]!r}, in folders below it; if these are "
                f"the classes, name {str(self.folder / nested[0])!r} with the options `train` and `test`"
            )

    def _empty_class_problem(self, name: str) -> Problem:
        there = self.left_out.get(name)
        holds = f" (there are {_count_text(there)})" if there else ""
        next_step = (
            "convert its files, for instance to PNG, or remove it"
            if there
            else "fill it, or remove it"
        )
        found = f"no image in the class folder {name!r} of {str(self.folder)!r}{holds}"
        return Problem(found, f"files named {', '.join(IMAGE_SUFFIXES)}", next_step)


def list_images(folder: Path) -> ImageListing:
    """The images in the class folders of a part, whatever folders lie between; hidden ones are left out."""
    names: list[str] = []
    left_out: dict[str, Counter[str]] = {}
    for name in list_files(folder):
        why = _why_left_out(name)
        if why is None:
            names.append(name)
        else:
            left_out.setdefault(_top_folder(name), Counter())[why] += 1
    for name in list_non_files(folder):
        left_out.setdefault(_top_folder(name), Counter())[NO_FILE] += 1
    names.sort(key=lambda name: (name.partition("/")[0], name))
    return ImageListing(folder, names, [name.partition("/")[0] for name in names], left_out)


def printable_name(name: str) -> str:
    """A folder's name as a class's: what UTF-8 cannot hold or a terminal would obey is escaped."""
    return "".join(
        one if one.isprintable() else one.encode("unicode_escape").decode()
        for one in utf8_name(name)
    )


def _why_left_out(name: str) -> str | None:
    *folders, file = name.split("/")
    if any(part.startswith(".") for part in (*folders, file)):
        return HIDDEN
    if not folders:
        return LOOSE
    suffix = Path(file).suffix.lower()
    return None if file.lower().endswith(IMAGE_SUFFIXES) else suffix or "without a suffix"


def _top_folder(name: str) -> str:
    return name.partition("/")[0] if "/" in name else ""


def _class_folders(folder: Path) -> set[str]:
    names = (path.name for path in folder.iterdir() if path.is_dir())
    return {name for name in names if not name.startswith(".") and not SYSTEM_FILES.fullmatch(name)}


def _count_text(kinds: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {printable_name(kind)}" for kind, count in sorted(kinds.items()))


TEST_FOLDERS = ("test", "val")


def load_image_folders(
    root: Folder, *, train: str, test: str | None, framing: Framing
) -> PartedDataset:
    """The images below a folder; which class is which number is the sorted order of the train part's folders.

    Raises:
        BadInput: A part is not there, a class folder has no images, the test part has a class that the train part has
            not, or a file is no image; all such problems at once.
    """
    parts: dict[Part, ImageListing] = {
        "train": list_images(_part_folder(root.path, (train,))),
        "test": list_images(_part_folder(root.path, TEST_FOLDERS if test is None else (test,))),
    }
    labels = tuple(sorted(set(parts["train"].classes)))
    problems = [problem for part in parts.values() for problem in part.find_problems()]
    problems += [_empty_part_problem(part.folder) for part in parts.values() if not part.classes]
    parts["test"] = _match_spelling(parts["test"], labels)
    problems += _unknown_classes(parts["test"], parts["train"], labels)
    if problems:
        raise BadInput(problems)
    for part in parts.values():
        check_headers(part.folder, part.names, framing)
        part.warn_of_left_out()
    _warn_of_classes(parts["test"], labels)
    names = tuple(map(printable_name, labels))
    folders: list[Json] = [utf8_name(part.folder.name) for part in parts.values()]
    content: dict[str, Json] = {
        "folder": root.sha256,
        "parts": folders,
        "framing": _framing_content(framing),
    }
    shape = (3, framing.pixels, framing.pixels)
    card = DataCard(shape, (0.0, 1.0), "classes", len(names), names, content_id(content))
    return PartedDataset(
        card,
        {name: image_samples(part, card, framing, labels=labels) for name, part in parts.items()},
    )


def image_samples(
    part: ImageListing, card: DataCard, framing: Framing, *, labels: tuple[str, ...]
) -> ImageFiles:
    """The samples of a listed part; `labels` are the folders' names in the order of the card's classes."""
    numbers = {name: number for number, name in enumerate(labels)}
    targets = torch.tensor([numbers[name] for name in part.classes], dtype=torch.int64)
    return ImageFiles(card, part.folder, part.names, targets, framing)


def _match_spelling(part: ImageListing, labels: tuple[str, ...]) -> ImageListing:
    """The part with its classes as `labels` spells them: macOS writes an accent as a character of its own."""
    known = {_composed_name(name): name for name in labels}
    spelt = {
        name: name if name in labels else known.get(_composed_name(name), name)
        for name in set(part.classes)
    }
    return replace(part, classes=[spelt[name] for name in part.classes])


def _unknown_classes(
    test: ImageListing, train: ImageListing, labels: tuple[str, ...]
) -> Iterator[Problem]:
    """The classes that have images in the test part alone."""
    folded = {name.casefold(): name for name in labels}
    for name in sorted(set(test.classes) - set(labels)):
        found = f"the class folder {name!r} in {str(test.folder)!r}"
        expected = f"one of the {len(labels)} of {str(train.folder)!r}"
        near = folded.get(name.casefold())
        next_step = f"did you mean {near!r}? " if near else ""
        yield Problem(found, expected, f"{next_step}give it training images, or remove it")


def _empty_part_problem(folder: Path) -> Problem:
    expected = f"class folders with images ({', '.join(IMAGE_SUFFIXES)})"
    return Problem(f"no image in {str(folder)!r}", expected, "write <part>/<class>/<image>")


def _warn_of_classes(test: ImageListing, labels: tuple[str, ...]) -> None:
    """Tell of classes that are never tested, and of folders that look like one class."""
    if untested := sorted(set(labels) - set(test.classes)):
        warn_of_data(
            f"{str(test.folder)!r}: no image of {len(untested)} of {len(labels)} classes ({first_names(untested)})"
        )
    alike: dict[str, list[str]] = {}
    for name in labels:
        alike.setdefault(_composed_name(name).casefold(), []).append(name)
    for names in alike.values():
        if len(names) > 1:
            written = ", ".join(map(ascii, names))
            warn_of_data(
                f"the class folders {written} differ in capitals or in how accents are written; each is a class"
            )


def _composed_name(name: str) -> str:
    """A name with each accent in its letter's character (NFC)."""
    return unicodedata.normalize("NFC", name)


def _part_folder(root: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        if (root / name).is_dir():
            return root / name
    there = sorted(path.name for path in root.iterdir() if path.is_dir())
    found = f"no folder {' or '.join(map(repr, names))} in {str(root)!r} (there are {first_names(there) if there else 'none'})"
    raise data_error(
        found,
        expected="a train and a test folder",
        next_step="name them with the options `train` and `test`",
    )


def _framing_content(framing: Framing) -> dict[str, Json]:
    short_side = framing.short_side if framing.fit == "crop" else None
    return {"pixels": framing.pixels, "fit": framing.fit, "short_side": short_side}
