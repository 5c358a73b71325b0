"""Tiny ImageNet as released: training images by class, validation images in one folder with a table."""

from __future__ import annotations

from pathlib import Path

from advtransfer.toolkit.file_digests import content_id, list_files
from advtransfer.types import DataCard, Folder
from advtransfer_vision.data.image_files import Framing, check_headers
from advtransfer_vision.data.image_folders import ImageListing, image_samples
from advtransfer_vision.data.messages import data_error, warn_of_data
from advtransfer_vision.data.parts import PartedDataset

IMAGE_PIXELS = 64


def load_tiny_imagenet(root: Folder) -> PartedDataset:
    """Return Tiny ImageNet, its classes in the sorted order of their WordNet ids.

    The validation part is the test part, since the labels of the official test part are not public.

    Raises:
        BadInput: A file of the layout is missing, or the tables do not fit the images.
    """
    ids = tuple(sorted(_read_text(root.path, "wnids.txt").split()))
    lines = _read_text(root.path, "words.txt").splitlines()
    words = dict(line.split("\t", 1) for line in lines if "\t" in line)
    # A line lists synonyms; the first one names the class.
    names = tuple(words.get(id, id).partition(",")[0] for id in ids)
    content = content_id({"folder": root.sha256, "layout": "tiny imagenet"})
    card = DataCard(
        (3, IMAGE_PIXELS, IMAGE_PIXELS), (0.0, 1.0), "classes", len(ids), names, content
    )
    framing = Framing(IMAGE_PIXELS, "square", IMAGE_PIXELS)
    train = _list_train(root.path, ids)
    test = _list_validation(root.path, ids)
    for part in (train, test):
        check_headers(part.folder, part.names, framing)
    return PartedDataset(
        card,
        {
            "train": image_samples(train, card, framing, labels=ids),
            "test": image_samples(test, card, framing, labels=ids),
        },
    )


def _list_train(root: Path, ids: tuple[str, ...]) -> ImageListing:
    """Return the images below ``train``; a folder of a class also holds tables, which are left out."""
    names: list[str] = []
    classes: list[str] = []
    left_out = 0
    for id in ids:
        folder = root / "train" / id / "images"
        files = list_files(folder) if folder.is_dir() else []
        images = [name for name in files if name.endswith(".JPEG")]
        left_out += len(files) - len(images)
        if not images:
            raise _layout_error(
                f"no image in {str(folder)!r}", "JPEG files there, since wnids.txt names the class"
            )
        names += [f"{id}/images/{name}" for name in images]
        classes += [id] * len(images)
    if left_out:
        warn_of_data(
            f"{left_out} files of {str(root / 'train')!r} are left out; images are named .JPEG"
        )
    return ImageListing(root / "train", names, classes)


def _list_validation(root: Path, ids: tuple[str, ...]) -> ImageListing:
    """Return the annotated images in the order of their numbers (``val_2`` before ``val_10``)."""
    lines = _read_text(root, "val/val_annotations.txt").splitlines()
    rows = [line.split("\t")[:2] for line in lines]
    # Names differ in their numbers alone, so shorter ones come first.
    rows.sort(key=lambda row: (len(row[0]), row[0]))
    folder = root / "val" / "images"
    files = set(list_files(folder)) if folder.is_dir() else set()
    expected = "a file of val/images and a class of wnids.txt, with a tab between"
    if not rows:
        raise _layout_error("no annotations", expected)
    for row in rows:
        if len(row) < 2 or row[0] not in files or row[1] not in ids:
            path = root / "val" / "val_annotations.txt"
            raise _layout_error(f"the line {row!r} in {str(path)!r}", expected)
    left_out = len(files - {row[0] for row in rows})
    if left_out:
        warn_of_data(
            f"{left_out} files of {str(folder)!r} are left out: val_annotations.txt does not name them"
        )
    return ImageListing(folder, [row[0] for row in rows], [row[1] for row in rows])


def _read_text(root: Path, name: str) -> str:
    try:
        return (root / name).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise _layout_error(
            f"no {name} in {str(root)!r}", "the unpacked tiny-imagenet-200.zip"
        ) from error


def _layout_error(found: str, expected: str) -> Exception:
    next_step = "unpack http://cs231n.stanford.edu/tiny-imagenet-200.zip and name the folder tiny-imagenet-200"
    return data_error(found, expected=expected, next_step=next_step)
