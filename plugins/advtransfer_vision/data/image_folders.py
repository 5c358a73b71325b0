"""Image folders as torchvision's ImageFolder reads them: a train and a test folder with one subfolder a class."""

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
from advtransfer_vision.data.split_rules import FirstImages

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
HIDDEN, LOOSE, NO_FILE = "hidden", "outside of class folders", "links to nowhere or special files"


@dataclass(frozen=True, slots=True)
class ImageListing:
    """The images of one part.

    Args:
        folder: The folder of the part.
        names: Names of the images relative to the folder, sorted by class and then by name.
        classes: The class folder of each image.
        left_out: Number of files that are no images, by class folder (``""`` outside of any) and kind.
    """

    folder: Path
    names: list[str]
    classes: list[str]
    left_out: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def find_problems(self) -> list[Problem]:
        """Return a problem for each class folder without an image.

        Its class would be missing, and the classes after it would get other numbers.
        """
        empty = sorted(_class_folders(self.folder) - set(self.classes))
        return [self._empty_class_problem(name) for name in empty]

    def warn_of_left_out(self) -> None:
        """Warn of files that are left out, and of class folders that may lie one level lower."""
        kinds: Counter[str] = Counter()
        for counts in self.left_out.values():
            kinds.update(counts)
        if kinds:
            count = f"{kinds.total()} {'file is' if kinds.total() == 1 else 'files are'} left out"
            warn_of_data(
                f"{str(self.folder)!r}: {count} ({_count_text(kinds)}); images are {', '.join(IMAGE_SUFFIXES)}"
            )
        classes = set(self.classes)
        direct_classes = {_top_folder(name) for name in self.names if name.count("/") == 1}
        if len(classes) == 1 and not direct_classes:
            (only_class,) = classes
            warn_of_data(
                f"{str(self.folder)!r}: all images are of one class, {only_class!r}, in folders below it; if these are "
                f"the classes, name {str(self.folder / only_class)!r} with the options `train` and `test`"
            )

    def _empty_class_problem(self, name: str) -> Problem:
        left_out = self.left_out.get(name)
        found = f"no image in the class folder {name!r} of {str(self.folder)!r}"
        next_step = "fill it, or remove it"
        if left_out:
            found += f" (there are {_count_text(left_out)})"
            next_step = "convert its files, for instance to PNG, or remove it"
        return Problem(found, f"files named {', '.join(IMAGE_SUFFIXES)}", next_step)


def list_images(folder: Path) -> ImageListing:
    """Return the images below the class folders of a part, at any depth; hidden files are left out."""
    names: list[str] = []
    left_out: dict[str, Counter[str]] = {}
    for name in list_files(folder):
        kind = _left_out_kind(name)
        if kind is None:
            names.append(name)
        else:
            left_out.setdefault(_top_folder(name), Counter())[kind] += 1
    for name in list_non_files(folder):
        left_out.setdefault(_top_folder(name), Counter())[NO_FILE] += 1
    # By class first: sorted as plain texts, the images of "a-b" come before those of "a".
    names.sort(key=lambda name: (_top_folder(name), name))
    return ImageListing(folder, names, [_top_folder(name) for name in names], left_out)


def printable_name(name: str) -> str:
    """Return a folder's name as the name of a class, with escapes for unprintable characters.

    Class names are part of a data set's card, so this must not change with `advtransfer.text.printable_text`.
    """
    characters = utf8_name(name)
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode()
        for character in characters
    )


def _left_out_kind(name: str) -> str | None:
    """Return the kind of a file that is not used, or None for an image in a class folder."""
    parts = name.split("/")
    if any(part.startswith(".") for part in parts):
        return HIDDEN
    if len(parts) == 1:
        return LOOSE
    file = parts[-1]
    if file.lower().endswith(IMAGE_SUFFIXES):
        return None
    return Path(file).suffix.lower() or "without a suffix"


def _top_folder(name: str) -> str:
    """Return the class folder of a file; an empty text for a file outside of class folders."""
    return name.partition("/")[0] if "/" in name else ""


def _class_folders(folder: Path) -> set[str]:
    names: set[str] = set()
    for path in folder.iterdir():
        is_hidden = path.name.startswith(".") or SYSTEM_FILES.fullmatch(path.name)
        if path.is_dir() and not is_hidden:
            names.add(path.name)
    return names


def _count_text(kinds: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {printable_name(kind)}" for kind, count in sorted(kinds.items()))


TEST_FOLDERS = ("test", "val")
SPLIT_PARTS: tuple[Part, ...] = ("train", "test")


def load_image_folders(
    root: Folder, *, train: str, test: str | None, framing: Framing
) -> PartedDataset:
    """Return the data set in the image folders below `root`.

    Classes are numbered in the sorted order of the train part's class folders.

    Args:
        root: The folder.
        train: Name of the train folder in it.
        test: Name of the test folder; None for the first of `TEST_FOLDERS` that exists.
        framing: How an image becomes a square.

    Raises:
        BadInput: A part is missing, a class folder has no images, the test part has a class that the train part lacks,
            or a file is no image; lists all such problems.
    """
    test_folders = TEST_FOLDERS if test is None else (test,)
    train_part = list_images(_part_folder(root.path, (train,)))
    test_part = list_images(_part_folder(root.path, test_folders))
    labels = tuple(sorted(set(train_part.classes)))
    problems = [*train_part.find_problems(), *test_part.find_problems()]
    for part in (train_part, test_part):
        if not part.classes:
            problems.append(_empty_part_problem(part.folder))
    test_part = _match_spelling(test_part, labels)
    problems += _unknown_class_problems(test_part, train_part, labels)
    if problems:
        raise BadInput(problems)
    parts: dict[Part, ImageListing] = {"train": train_part, "test": test_part}
    # Names are checked before the headers, which takes long for large sets.
    for part in parts.values():
        check_headers(part.folder, part.names, framing)
        part.warn_of_left_out()
    _warn_of_classes(test_part, labels)
    card = _folder_card(labels, framing, _folders_content(root, parts, framing))
    samples = {
        name: image_samples(part, card, framing, labels=labels) for name, part in parts.items()
    }
    return PartedDataset(card, samples)


def load_split_folder(root: Folder, *, split: FirstImages, framing: Framing) -> PartedDataset:
    """Return the data set in the class folders below `root`, split into its parts by a rule.

    Args:
        root: The folder.
        split: The rule.
        framing: How an image becomes a square.

    Raises:
        BadInput: There is no class folder, one has no images or none for the test part, or a file is no image.
    """
    listing = list_images(root.path)
    labels = tuple(sorted(set(listing.classes)))
    problems = listing.find_problems()
    if not labels:
        problems.append(_empty_part_problem(root.path))
    parts = _split_listing(listing, split)
    for name in sorted(set(labels) - set(parts["test"].classes)):
        found = f"{listing.classes.count(name)} images in the class folder {name!r} of {str(root.path)!r}"
        expected = f"more than the {split.images} that `split` trains on"
        problems.append(Problem(found, expected, "lower `images` in `split`, or add images"))
    if problems:
        raise BadInput(problems)
    check_headers(root.path, listing.names, framing)
    listing.warn_of_left_out()
    content: dict[str, Json] = {
        **_folders_content(root, {}, framing),
        "split": [split.rule, split.images],
    }
    card = _folder_card(labels, framing, content)
    samples = {
        part: image_samples(of_part, card, framing, labels=labels)
        for part, of_part in parts.items()
    }
    return PartedDataset(card, samples)


def _split_listing(listing: ImageListing, split: FirstImages) -> dict[Part, ImageListing]:
    images = list(
        zip(listing.names, listing.classes, split.assign_parts(listing.classes), strict=True)
    )
    parts: dict[Part, ImageListing] = {}
    for part in SPLIT_PARTS:
        chosen = [(name, label) for name, label, of_image in images if of_image == part]
        names = [name for name, _ in chosen]
        parts[part] = ImageListing(listing.folder, names, [label for _, label in chosen])
    return parts


def _folder_card(
    labels: tuple[str, ...], framing: Framing, content: Mapping[str, Json]
) -> DataCard:
    names = tuple(map(printable_name, labels))
    shape = (3, framing.pixels, framing.pixels)
    return DataCard(shape, (0.0, 1.0), "classes", len(names), names, content_id(dict(content)))


def image_samples(
    part: ImageListing, card: DataCard, framing: Framing, *, labels: tuple[str, ...]
) -> ImageFiles:
    """Return the samples of a part; `labels` are the folders' names in the order of the card's classes."""
    number_of = {name: number for number, name in enumerate(labels)}
    numbers = [number_of[name] for name in part.classes]
    targets = torch.tensor(numbers, dtype=torch.int64)
    return ImageFiles(card, part.folder, part.names, targets, framing)


def _match_spelling(part: ImageListing, labels: tuple[str, ...]) -> ImageListing:
    """Return the part with its classes spelt as in `labels`.

    File systems differ: macOS stores an accent as a separate character after its letter.
    """
    by_composed_name = {_composed_name(name): name for name in labels}
    spelling: dict[str, str] = {}
    for name in set(part.classes):
        is_label = name in labels
        spelling[name] = name if is_label else by_composed_name.get(_composed_name(name), name)
    return replace(part, classes=[spelling[name] for name in part.classes])


def _unknown_class_problems(
    test: ImageListing, train: ImageListing, labels: tuple[str, ...]
) -> Iterator[Problem]:
    """Yield a problem for each class that has images in the test part alone."""
    folded = {name.casefold(): name for name in labels}
    for name in sorted(set(test.classes) - set(labels)):
        found = f"the class folder {name!r} in {str(test.folder)!r}"
        expected = f"one of the {len(labels)} of {str(train.folder)!r}"
        similar = folded.get(name.casefold())
        hint = f"did you mean {similar!r}? " if similar else ""
        yield Problem(found, expected, f"{hint}give it training images, or remove it")


def _empty_part_problem(folder: Path) -> Problem:
    expected = f"class folders with images ({', '.join(IMAGE_SUFFIXES)})"
    return Problem(f"no image in {str(folder)!r}", expected, "write <part>/<class>/<image>")


def _warn_of_classes(test: ImageListing, labels: tuple[str, ...]) -> None:
    """Warn of classes that are never tested, and of class folders with almost the same name."""
    untested = sorted(set(labels) - set(test.classes))
    if untested:
        warn_of_data(
            f"{str(test.folder)!r}: no image of {len(untested)} of {len(labels)} classes ({first_names(untested)})"
        )
    similar: dict[str, list[str]] = {}
    for name in labels:
        similar.setdefault(_composed_name(name).casefold(), []).append(name)
    for names in similar.values():
        if len(names) > 1:
            written = ", ".join(map(ascii, names))
            warn_of_data(
                f"the class folders {written} differ in capitals or in how accents are written; each is a class"
            )


def _composed_name(name: str) -> str:
    """Return a name with each letter and its accent as one character (NFC)."""
    return unicodedata.normalize("NFC", name)


def _part_folder(root: Path, names: tuple[str, ...]) -> Path:
    """Return the first of the folders that exists; raise a BadInput when none does."""
    for name in names:
        if (root / name).is_dir():
            return root / name
    folders = sorted(path.name for path in root.iterdir() if path.is_dir())
    raise data_error(
        f"no folder {' or '.join(map(repr, names))} in {str(root)!r} "
        f"(there are {first_names(folders) or 'none'})",
        expected="a train and a test folder",
        next_step="name them with the options `train` and `test`",
    )


def _folders_content(
    root: Folder, parts: Mapping[Part, ImageListing], framing: Framing
) -> dict[str, Json]:
    """Return what the data set's digest depends on."""
    # A framing that does not use the short side gives the same images whatever its value.
    short_side = framing.short_side if framing.fit == "crop" else None
    return {
        "folder": root.sha256,
        "parts": [utf8_name(part.folder.name) for part in parts.values()],
        "framing": {"pixels": framing.pixels, "fit": framing.fit, "short_side": short_side},
    }
