"""Tiny ImageNet as it is handed out: training images by class, validation images in one folder beside a table."""

from __future__ import annotations

from pathlib import Path

from advtransfer.digests import below
from advtransfer.node import canonical, digest
from advtransfer.types import DataCard, Folder
from advtransfer_vision.class_folders import samples
from advtransfer_vision.faults import fault
from advtransfer_vision.framing import Framing
from advtransfer_vision.image_headers import check_headers
from advtransfer_vision.image_listing import Listed
from advtransfer_vision.notes import tell
from advtransfer_vision.parts import PartedDataset

PIXELS = 64


def load(root: Folder) -> PartedDataset:
    """The 200 classes in the sorted order of their WordNet ids; the validation part is the test part.

    Raises:
        BadInput: A file of the layout is not there, or the tables do not fit the images.
    """
    ids = tuple(sorted(_read(root.path, "wnids.txt").split()))
    words = dict(line.split("\t", 1) for line in _read(root.path, "words.txt").splitlines() if "\t" in line)
    names = tuple(words.get(id, id).partition(",")[0] for id in ids)
    content = digest(canonical({"folder": root.sha256, "layout": "tiny imagenet"}))
    card = DataCard((3, PIXELS, PIXELS), (0.0, 1.0), "classes", len(ids), names, content)
    framing = Framing(PIXELS, "square", PIXELS)
    train, test = _train(root.path, ids), _validation(root.path, ids)
    for part in (train, test):
        check_headers(part.folder, part.names, framing)
    return PartedDataset(
        card, {"train": samples(train, card, framing, labels=ids), "test": samples(test, card, framing, labels=ids)}
    )


def _train(root: Path, ids: tuple[str, ...]) -> Listed:
    names, classes, left_out = [], [], 0
    for id in ids:
        folder = root / "train" / id / "images"
        files = below(folder) if folder.is_dir() else []
        images = [name for name in files if name.endswith(".JPEG")]
        left_out += len(files) - len(images)
        if not images:
            raise _incomplete(f"no image in {str(folder)!r}", "JPEG files there, since wnids.txt names the class")
        names += [f"{id}/images/{name}" for name in images]
        classes += [id] * len(images)
    if left_out:
        tell(f"{left_out} files of {str(root / 'train')!r} are left out; images are named .JPEG")
    return Listed(root / "train", names, classes)


def _validation(root: Path, ids: tuple[str, ...]) -> Listed:
    """The annotated images, in the order of their names with numbers read as numbers (``val_2`` before ``val_10``)."""
    table = [line.split("\t")[:2] for line in _read(root, "val/val_annotations.txt").splitlines()]
    table.sort(key=lambda row: (len(row[0]), row[0]))
    folder = root / "val" / "images"
    there = set(below(folder)) if folder.is_dir() else set()
    wrong = [row for row in table if len(row) < 2 or row[0] not in there or row[1] not in ids]
    if wrong or not table:
        found = f"the line {wrong[0]!r} in {str(root / 'val' / 'val_annotations.txt')!r}" if wrong else "no annotations"
        raise _incomplete(found, "a file of val/images and a class of wnids.txt, with a tab between")
    if left_out := len(there - {row[0] for row in table}):
        tell(f"{left_out} files of {str(folder)!r} are left out: val_annotations.txt does not name them")
    return Listed(folder, [row[0] for row in table], [row[1] for row in table])


def _read(root: Path, name: str) -> str:
    try:
        return (root / name).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise _incomplete(f"no {name} in {str(root)!r}", "the unpacked tiny-imagenet-200.zip") from error


def _incomplete(found: str, expected: str) -> Exception:
    next_step = "unpack http://cs231n.stanford.edu/tiny-imagenet-200.zip and name the folder tiny-imagenet-200"
    return fault(found, expected=expected, next_step=next_step)
