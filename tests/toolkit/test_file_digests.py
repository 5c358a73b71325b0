from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from advtransfer.errors import BadInput
from advtransfer.toolkit import file_digests

OLD = 1_000_000_000  # seconds: long before the tests began


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ADVTRANSFER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def write(tmp_path: Path) -> Callable[[str, str], Path]:
    """Writes a file that was last changed long ago."""

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        os.utime(path, (OLD, OLD))
        return path

    return write


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files whose content was hashed."""
    read: list[str] = []

    def noted(path: Path) -> str:
        read.append(path.name)
        return hashlib.sha256(path.read_bytes()).hexdigest()

    monkeypatch.setattr(file_digests, "file_sha256", noted)
    return read


def test_a_file_is_read_once(write: Callable[[str, str], Path], reads: list[str]) -> None:
    path = write("a.npz", "content")
    found = [file_digests.content_sha256(path) for _ in range(3)]

    assert [hashlib.sha256(b"content").hexdigest()] * 3 == found
    assert ["a.npz"] == reads


def test_a_file_that_changed_is_read_again(
    write: Callable[[str, str], Path], reads: list[str]
) -> None:
    first = file_digests.content_sha256(write("a.npz", "content"))
    longer = file_digests.content_sha256(write("a.npz", "longer content"))
    touched = write("a.npz", "LONGER CONTENT")
    os.utime(touched, (OLD + 1, OLD + 1))

    assert 3 == len({first, longer, file_digests.content_sha256(touched)})
    assert 3 == len(reads)


def test_a_file_in_the_place_of_another_is_read_again(
    write: Callable[[str, str], Path], reads: list[str]
) -> None:
    first = file_digests.content_sha256(write("a.npz", "content"))
    write("b.npz", "CONTENT").replace(write("a.npz", "content"))

    assert first != file_digests.content_sha256(write("a.npz", "CONTENT"))


def test_a_file_that_changed_just_now_is_not_remembered(
    write: Callable[[str, str], Path], reads: list[str], cache: Path
) -> None:
    path = write("a.npz", "content")
    path.touch()
    file_digests.content_sha256(path)

    # a change within the same tick of the clock would go unseen
    assert file_digests.content_sha256(path) == hashlib.sha256(b"content").hexdigest()
    assert 2 == len(reads)
    assert not (cache / "digests").exists()


def test_a_file_that_changes_while_it_is_read_is_not_remembered(
    write: Callable[[str, str], Path], cache: Path
) -> None:
    path = write("a.npz", "content")

    def changing() -> str:
        write("a.npz", "other content")
        return "digest"

    assert "digest" == file_digests.cached_while_unchanged("a", [path], changing)
    assert not (cache / "digests").exists()


def test_a_folder_is_its_manifest_and_links_are_followed(
    write: Callable[[str, str], Path], tmp_path: Path
) -> None:
    write("set/a/x.png", "pixels")
    write("elsewhere/y.png", "pixels")
    (tmp_path / "set" / "b").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "b" / "again").symlink_to(tmp_path / "set")

    pixels = hashlib.sha256(b"pixels").hexdigest()
    manifest = f'[["a/x.png","{pixels}"],["b/y.png","{pixels}"]]'
    assert ["a/x.png", "b/y.png"] == file_digests.list_files(tmp_path / "set")
    assert hashlib.sha256(manifest.encode()).hexdigest() == file_digests.content_sha256(
        tmp_path / "set"
    )


def test_a_file_under_several_names_is_read_once(
    write: Callable[[str, str], Path], tmp_path: Path, reads: list[str]
) -> None:
    first = write("set/a.png", "pixels")
    for number in range(5):
        (tmp_path / "set" / f"{number}.png").hardlink_to(first)
    file_digests.content_sha256(tmp_path / "set")

    assert 1 == len(reads)


@pytest.mark.parametrize("change", ["added", "removed", "renamed", "other"])
def test_any_change_in_a_folder_changes_its_digest(
    write: Callable[[str, str], Path], tmp_path: Path, change: str
) -> None:
    path = write("set/a.png", "pixels")
    write("set/b.png", "more pixels")
    before = file_digests.content_sha256(tmp_path / "set")
    match change:
        case "added":
            write("set/c.png", "pixels")
        case "removed":
            path.unlink()
        case "renamed":
            path.rename(path.with_name("d.png"))
        case "other":
            write("set/a.png", "other pixels")

    assert before != file_digests.content_sha256(tmp_path / "set")


def test_a_damaged_memory_is_made_again(write: Callable[[str, str], Path], cache: Path) -> None:
    path = write("a.npz", "content")
    file_digests.content_sha256(path)
    (memory,) = (cache / "digests").iterdir()
    memory.write_text("{")

    assert hashlib.sha256(b"content").hexdigest() == file_digests.content_sha256(path)


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(
    write: Callable[[str, str], Path], cache: Path
) -> None:
    cache.write_text("a file where the folder should be")

    assert hashlib.sha256(b"content").hexdigest() == file_digests.content_sha256(
        write("a.npz", "content")
    )


def test_content_is_held_to_what_was_asked_for(
    write: Callable[[str, str], Path], tmp_path: Path
) -> None:
    path = write("a.npz", "content")
    file_digests.require_sha256(path, hashlib.sha256(b"content").hexdigest())

    with pytest.raises(
        BadInput,
        match=rf"found the file '{path}' with sha256 ed7002b.*; expected sha256 abab.*; restore",
    ):
        file_digests.require_sha256(path, "ab" * 32)
    with pytest.raises(
        BadInput, match=r"found nothing at .*b.npz'; expected the content with sha256 abab"
    ):
        file_digests.require_sha256(tmp_path / "b.npz", "ab" * 32)


def test_names_that_are_no_utf_8_are_digested(
    write: Callable[[str, str], Path], tmp_path: Path
) -> None:
    write("set/caf\udce9.png", "pixels")  # the byte E9, as Python has it
    first = file_digests.content_sha256(tmp_path / "set")
    write("set/caf\udce8.png", "pixels")

    assert first != file_digests.content_sha256(tmp_path / "set")
    assert [r"caf\udce8.png", r"caf\udce9.png"] == [
        file_digests.utf8_name(name) for name in file_digests.list_files(tmp_path / "set")
    ]


@pytest.mark.parametrize(
    "name", [".DS_Store", "a/._x.png", "Thumbs.db", "a/desktop.ini", "__MACOSX/a/x.png", "a/.nfs01"]
)
def test_what_operating_systems_leave_behind_changes_no_digest(
    write: Callable[[str, str], Path], tmp_path: Path, name: str
) -> None:
    write("set/a/x.png", "pixels")
    before = file_digests.content_sha256(tmp_path / "set")
    write(f"set/{name}", "system")

    assert before == file_digests.content_sha256(tmp_path / "set")


def test_what_is_no_file_is_listed_apart(write: Callable[[str, str], Path], tmp_path: Path) -> None:
    write("set/a.png", "pixels")
    (tmp_path / "set" / "gone.png").symlink_to("nowhere")
    (tmp_path / "set" / "round.png").symlink_to("round.png")

    assert ["a.png"] == file_digests.list_files(tmp_path / "set")
    assert ["gone.png", "round.png"] == file_digests.list_non_files(tmp_path / "set")


def test_a_file_that_cannot_be_read_is_named(
    write: Callable[[str, str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write("set/a.png", "pixels")

    def denied(_: Path) -> str:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(
        file_digests, "file_sha256", denied
    )  # root, who runs these tests in containers, may read everything
    with pytest.raises(
        BadInput,
        match=r"found '.*set/a.png', which cannot be read \(Permission denied\); .* give this",
    ):
        file_digests.content_sha256(tmp_path / "set")
