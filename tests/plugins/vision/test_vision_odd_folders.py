"""Folders of images as people have them: files left out, classes that would vanish, names that are no plain text."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from advtransfer.errors import BadInput
from advtransfer.toolkit import file_digests
from advtransfer.toolkit.datasets import all_positions
from advtransfer.types import Dataset, Folder
from advtransfer_vision.components import datasets as vision_data

pytestmark = pytest.mark.usefixtures("own_cache")

SYSTEM = (
    ".DS_Store",
    "cow/.DS_Store",
    "Thumbs.db",
    "cow/THUMBS.DB",
    "desktop.ini",
    "cow/._1.png",
    "__MACOSX/cow/1.png",
)


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Two classes with two images each, in a train and a test part."""
    root = tmp_path / "pets"
    for part in ("train", "test"):
        for name in ("ant", "cow"):
            for number in range(2):
                _save(root / part / name / f"{number}.png")
    return root


def _save(
    path: Path, *, size: tuple[int, int] = (8, 8), mode: str = "RGB", **options: object
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new(mode, size).save(path, **options)  # type: ignore[arg-type]  # a format's own options


def _load(root: Path) -> Dataset:
    return vision_data.image_folder(root=Folder(root, file_digests.content_sha256(root)), pixels=8)


def test_complete_folders_cause_no_warning(
    pets: Path, warnings_of: Callable[..., list[str]]
) -> None:
    assert [] == warnings_of(_load, pets)


def _as_gifs(folder: Path) -> None:
    for path in list(folder.iterdir()):
        with Image.open(path) as image:
            image.save(path.with_suffix(".gif"))
        path.unlink()


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize(
    ("spoil", "holds"),
    [
        (_as_gifs, r" \(there are 2 .gif\)"),
        (lambda folder: [path.unlink() for path in folder.iterdir()], ""),
        (lambda folder: [path.rename(path.with_suffix("")) for path in folder.iterdir()], r" \(there are 2 without a"),
        (lambda folder: [path.rename(folder / f".{path.name}") for path in folder.iterdir()], r" \(there are 2 hidden"),
        (lambda folder: [path.unlink() or path.symlink_to("nowhere") for path in folder.iterdir()], " .*2 links"),
    ],
    ids=["gifs", "empty", "no suffix", "hidden", "links to nowhere"],
)  # fmt: skip
def test_class_folder_without_images_is_named(
    pets: Path, part: str, spoil: Callable[[Path], object], holds: str
) -> None:
    spoil(pets / part / "ant")

    with pytest.raises(
        BadInput, match=rf"found no image in the class folder 'ant' of .*{part}'{holds}"
    ):
        _load(pets)


def test_class_folders_without_images_are_reported_together(pets: Path) -> None:
    for part in ("train", "test"):
        _as_gifs(pets / part / "cow")
        (pets / part / "emu").mkdir()

    with pytest.raises(BadInput) as raised:
        _load(pets)
    assert 4 == len(raised.value.problems)


def test_files_that_are_left_out_are_counted(
    pets: Path, warnings_of: Callable[..., list[str]]
) -> None:
    for name in (
        "cow/a.gif",
        "cow/b.GIF",
        "cow/notes.txt",
        "cow/.hidden.png",
        "loose.png",
        ".cache/x.png",
        "cow/c.heic",
    ):
        (pets / "train" / name).parent.mkdir(exist_ok=True)
        (pets / "train" / name).write_bytes(b"something")
    (pets / "train" / "cow" / "gone.png").symlink_to("nowhere")
    (pets / "train" / "cow" / "round.png").symlink_to("round.png")
    os.mkfifo(pets / "train" / "cow" / "pipe.png")

    (warning,) = warnings_of(_load, pets)
    counts = "2 .gif, 1 .heic, 1 .txt, 2 hidden, 3 links to nowhere or special files, 1 outside of class folders"
    assert f"train': 10 files are left out ({counts}); images are .jpg, " in warning


def test_untested_class_causes_a_warning(pets: Path, warnings_of: Callable[..., list[str]]) -> None:
    for path in [*(pets / "test" / "ant").iterdir(), pets / "test" / "ant"]:
        path.unlink() if path.is_file() else path.rmdir()

    assert [f"{str(pets / 'test')!r}: no image of 1 of 2 classes ('ant')"] == warnings_of(
        _load, pets
    )


def test_extra_folder_level_causes_a_warning(
    tmp_path: Path, warnings_of: Callable[..., list[str]]
) -> None:
    for name in ("train/pets/ant/1.png", "train/pets/cow/1.png", "test/pets/ant/1.png"):
        _save(tmp_path / name)

    (warning,) = [text for text in warnings_of(_load, tmp_path) if "train/pets" in text]
    assert (
        "all images are of one class, 'pets', in folders below it; if these are the classes, name"
        in warning
    )


@pytest.mark.parametrize("name", SYSTEM)
def test_files_of_operating_systems_are_ignored(
    pets: Path, name: str, warnings_of: Callable[..., list[str]]
) -> None:
    before = file_digests.content_sha256(pets), _load(pets).card()
    (pets / "train" / name).parent.mkdir(parents=True, exist_ok=True)
    (pets / "train" / name).write_bytes(b"system")

    assert before == (file_digests.content_sha256(pets), _load(pets).card())
    assert [] == warnings_of(_load, pets)


def test_names_that_are_no_utf_8_are_read(pets: Path) -> None:
    (pets / "train" / "cow" / "0.png").rename(
        pets / "train" / "cow" / "caf\udce9.png"
    )  # the byte E9, as Python has it
    for part in ("train", "test"):
        (pets / part / "ant").rename(pets / part / "fourmi\udce9e")
    data = _load(pets)

    assert ("cow", r"fourmi\udce9e") == data.card().names
    assert (4, 3, 8, 8) == data.part("train").inputs(all_positions(data.part("train"))).shape


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[31mb", "a\u202eb", "a\x7fb"])
def test_names_of_classes_hold_nothing_that_a_terminal_obeys(pets: Path, name: str) -> None:
    for part in ("train", "test"):
        (pets / part / "ant").rename(pets / part / name)

    assert all(text.isprintable() for text in _load(pets).card().names)


def test_emoji_and_long_names_are_names_as_others(pets: Path) -> None:
    for part in ("train", "test"):
        (pets / part / "ant").rename(pets / part / "🐈")
        (pets / part / "cow").rename(pets / part / ("x" * 255))

    assert ("x" * 255, "🐈") == _load(pets).card().names


@pytest.mark.parametrize("forms", [("NFC", "NFD"), ("NFD", "NFC")])
def test_two_spellings_of_an_accent_are_one_class(
    pets: Path, forms: tuple[str, str], warnings_of: Callable[..., list[str]]
) -> None:
    for part, form in zip(("train", "test"), forms, strict=True):
        (pets / part / "ant").rename(pets / part / unicodedata.normalize(form, "café"))  # type: ignore[arg-type]  # stub
    data = _load(pets)

    assert [] == warnings_of(_load, pets)
    assert (unicodedata.normalize(forms[0], "café"), "cow") == data.card().names  # type: ignore[arg-type]  # stub
    assert [0, 0, 1, 1] == sorted(
        data.part("test").labels(all_positions(data.part("test"))).tolist()
    )


def test_classes_with_similar_spelling_cause_a_warning(
    pets: Path, warnings_of: Callable[..., list[str]]
) -> None:
    for part in ("train", "test"):
        for name in ("caf\u00e9", "cafe\u0301", "Cow"):
            _save(pets / part / name / "1.png")

    assert [
        r"the class folders 'Cow', 'cow' differ in capitals or in how accents are written; each is a class",
        r"the class folders 'cafe\u0301', 'caf\xe9' differ in capitals or in how accents are written; each is a class",
    ] == warnings_of(_load, pets)


def test_test_class_in_other_capitals_is_reported_with_a_suggestion(pets: Path) -> None:
    (pets / "test" / "ant").rename(pets / "test" / "Ant")
    _save(pets / "test" / "bee" / "1.png")

    with pytest.raises(
        BadInput, match=r"class folder 'Ant' .*; did you mean 'ant'\? give it"
    ) as raised:
        _load(pets)
    assert 2 == len(raised.value.problems)
