"""The sha256 of files and folders, cached per user so that large ones are not read at every start.

A cached digest is keyed by path, size, modification time and inode of every file it was made from. It is wrong for a
file that was changed in place and whose old modification time was restored: remove ``<cache>/digests`` after that.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

from advtransfer.errors import BadInput, Problem
from advtransfer.files import default_cache_root, file_sha256, write_atomic
from advtransfer.node import content_id as content_id  # plugins import it from here
from advtransfer.node import text_sha256

MTIME_GRANULARITY_SECONDS = (
    2.0  # a file changed again within its clock's tick keeps its modification time
)
SYSTEM_FILES = re.compile(
    r"\.DS_Store|\.localized|Icon\r|\._.*|__MACOSX|\.(?:Spotlight-V100|Trashes|fseventsd|TemporaryItems)"  # macOS
    r"|(?:eh)?thumbs\.db|desktop\.ini|\$RECYCLE\.BIN|System Volume Information"  # Windows
    r"|\.directory|\.nfs[0-9a-f]+|@eaDir",  # KDE, NFS, Synology
    re.IGNORECASE,
)
"""What operating systems leave in folders by themselves: no content of them, so their digests do not depend on it."""


def content_sha256(path: Path) -> str:
    """The sha256 of a file, or of a folder's manifest: canonical JSON of sorted pairs (relative path, sha256).

    Raises:
        BadInput: A file or folder cannot be read; names it.
    """
    try:
        if path.is_file():
            return cached_while_unchanged(
                f"file {path.absolute()}", [path], lambda: file_sha256(path)
            )
        files = [path / name for name in list_files(path)]
        return cached_while_unchanged(
            f"folder {path.absolute()}", files, lambda: _manifest_digest(path, files)
        )
    except OSError as error:
        found = f"{os.fsdecode(error.filename or path)!r}, which cannot be read ({error.strerror})"
        next_step = "give this user the right to read it, or remove it"
        raise BadInput([Problem(found, "a file or folder that can be read", next_step)]) from error


def require_sha256(path: Path, sha256: str) -> None:
    """Hold a file or folder to the sha256 it was asked for by.

    Raises:
        BadInput: It is not there, or it has another one; names both.
    """
    what = "folder" if path.is_dir() else "file"
    if not path.exists():
        found, next_step = (
            f"nothing at {str(path)!r}",
            "put it back where the plan found it, or plan again",
        )
        raise BadInput([Problem(found, f"the content with sha256 {sha256}", next_step)])
    if (found := content_sha256(path)) != sha256:
        next_step = "restore the content that was asked for, or correct `sha256` in the suite"
        raise BadInput(
            [
                Problem(
                    f"the {what} {str(path)!r} with sha256 {found}", f"sha256 {sha256}", next_step
                )
            ]
        )


def cached_while_unchanged(what: str, files: Iterable[Path], compute: Callable[[], str]) -> str:
    """What `compute` gives, or what it gave while `files` were the same.

    Args:
        what: Names the digest on this machine: what it is, and of what.
        files: Everything that it depends on.
        compute: Makes it; called when it is not remembered.
    """
    files = tuple(files)
    place = default_cache_root() / "digests" / f"{text_sha256(utf8_name(what))}.json"
    state, settled = _stat_digest(files)
    known = _read_cached(place, state)
    if known is not None:
        return known
    found = compute()
    if settled and _stat_digest(files)[0] == state:
        with suppress(OSError):  # a cache that cannot be written costs time, nothing else
            write_atomic(
                place, json.dumps({"what": what, "state": state, "digest": found}).encode()
            )
    return found


def list_files(folder: Path) -> list[str]:
    """Every file in a folder and the folders below, links followed: relative names with ``/``, sorted.

    What operating systems leave there by themselves is no part of it, see `SYSTEM_FILES`.
    """
    return sorted(name for name, is_file in _scan_folder(folder, "", ()) if is_file)


def list_non_files(folder: Path) -> list[str]:
    """What lies in a folder and the folders below and is neither: links to nowhere, pipes, devices; sorted."""
    return sorted(name for name, is_file in _scan_folder(folder, "", ()) if not is_file)


def utf8_name(name: str) -> str:
    """A file's name as text that UTF-8 can hold: bytes that are no UTF-8 become escapes."""
    return name.encode("utf-8", "backslashreplace").decode()


def _scan_folder(
    folder: Path, before: str, above: tuple[tuple[int, int], ...]
) -> Iterator[tuple[str, bool]]:
    """The names in a folder, and whether each is a file."""
    stat = folder.stat()
    here = stat.st_dev, stat.st_ino
    if here in above:  # a link to a folder that this one is in: what is there has been listed
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if SYSTEM_FILES.fullmatch(entry.name):
                continue
            kind = _entry_kind(entry)
            if kind == "folder":
                yield from _scan_folder(
                    folder / entry.name, f"{before}{entry.name}/", (*above, here)
                )
            else:
                yield before + entry.name, kind == "file"


def _entry_kind(entry: os.DirEntry[str]) -> Literal["folder", "file", "other"]:
    try:
        if entry.is_dir():
            return "folder"
        return "file" if entry.is_file() else "other"
    except OSError:  # a link to itself
        return "other"


def _manifest_digest(folder: Path, files: Iterable[Path]) -> str:
    read: dict[tuple[int, int], str] = {}

    def content(path: Path) -> str:
        stat = path.stat()
        same = stat.st_dev, stat.st_ino  # one file under several names is read once
        if same not in read:
            read[same] = file_sha256(path)
        return read[same]

    return content_id(
        [[utf8_name(path.relative_to(folder).as_posix()), content(path)] for path in files]
    )


def _stat_digest(files: Iterable[Path]) -> tuple[str, bool]:
    """The files' paths, sizes, modification times and inodes as one digest, and whether none changed just now."""
    content, newest = hashlib.sha256(), 0.0
    for path in files:
        stat = path.stat()
        numbers = f"\0{stat.st_size}\0{stat.st_mtime_ns}\0{stat.st_ino}\0"
        content.update(os.fsencode(path.absolute()) + numbers.encode())
        newest = max(newest, stat.st_mtime)
    return content.hexdigest(), newest < time.time() - MTIME_GRANULARITY_SECONDS


def _read_cached(place: Path, state: str) -> str | None:
    with suppress(
        OSError, ValueError, KeyError, TypeError
    ):  # absent, or not ours: it is made again
        known = json.loads(place.read_text(encoding="utf-8"))
        if known["state"] == state:
            return str(known["digest"])
    return None
