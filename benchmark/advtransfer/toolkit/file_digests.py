"""The sha256 of files and folders, cached for each user so that large ones are read only once.

A cached digest is keyed by path, size, modification time and inode of every file it was made from.
It is wrong for a file that was changed in place and then given its old modification time: remove
``<cache>/digests`` after that.
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
from advtransfer.types import Json

MTIME_GRANULARITY_SECONDS = 2.0
"""The longest tick of a file system's clock; a file changed twice in one tick keeps its time."""

SYSTEM_FILES = re.compile(
    r"\.DS_Store|\.localized|Icon\r|\._.*|__MACOSX|\.(?:Spotlight-V100|Trashes|fseventsd|TemporaryItems)"  # macOS
    r"|(?:eh)?thumbs\.db|desktop\.ini|\$RECYCLE\.BIN|System Volume Information"  # Windows
    r"|\.directory|\.nfs[0-9a-f]+|@eaDir",  # KDE, NFS, Synology
    re.IGNORECASE,
)
"""Names of files that operating systems create in folders; digests do not depend on them."""


def content_sha256(path: Path) -> str:
    """Return the sha256 of a file, or of the manifest of a folder.

    The manifest is the canonical JSON of the sorted pairs (relative path, sha256).

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
    """Check that a file or folder has the sha256 that the plan or the suite gives.

    Raises:
        BadInput: It does not exist, or has another sha256; names both.
    """
    if not path.exists():
        found = f"nothing at {str(path)!r}"
        next_step = "put it back where the plan found it, or plan again"
        raise BadInput([Problem(found, f"the content with sha256 {sha256}", next_step)])
    actual = content_sha256(path)
    if actual != sha256:
        kind = "folder" if path.is_dir() else "file"
        found = f"the {kind} {str(path)!r} with sha256 {actual}"
        next_step = "restore the original content, or correct `sha256` in the suite"
        raise BadInput([Problem(found, f"sha256 {sha256}", next_step)])


def cached_while_unchanged(what: str, files: Iterable[Path], compute: Callable[[], str]) -> str:
    """Return the cached digest while `files` are unchanged, else compute and cache it.

    Args:
        what: The name of the digest on this machine: its kind and its subject.
        files: All files that it depends on.
        compute: Computes the digest when it is not cached.
    """
    files = tuple(files)
    cache_file = default_cache_root() / "digests" / f"{text_sha256(utf8_name(what))}.json"
    state, is_settled = _stat_digest(files)
    cached = _read_cached(cache_file, state)
    if cached is not None:
        return cached
    digest = compute()
    # Files that changed while they were read, or just before, may have another content by now
    # under the same state.
    if is_settled and _stat_digest(files)[0] == state:
        content = json.dumps({"what": what, "state": state, "digest": digest})
        with suppress(OSError):  # a cache that cannot be written costs only time
            write_atomic(cache_file, content.encode())
    return digest


def list_files(folder: Path) -> list[str]:
    """Return the sorted relative names (with ``/``) of all files in a folder and its subfolders.

    Links are followed, and `SYSTEM_FILES` are left out.
    """
    return sorted(name for name, is_file in _scan_folder(folder, "", ()) if is_file)


def list_non_files(folder: Path) -> list[str]:
    """Return the sorted relative names of broken links, pipes and devices in a folder tree."""
    return sorted(name for name, is_file in _scan_folder(folder, "", ()) if not is_file)


def utf8_name(name: str) -> str:
    """Return the name of a file as valid UTF-8 text; other bytes become escapes."""
    return name.encode("utf-8", "backslashreplace").decode()


def _scan_folder(
    folder: Path, prefix: str, ancestors: tuple[tuple[int, int], ...]
) -> Iterator[tuple[str, bool]]:
    """Yield each name in a folder tree, with True for files.

    Args:
        folder: The folder.
        prefix: The relative path of the folder with a trailing ``/``; empty at the root.
        ancestors: Device and inode of the folders above.
    """
    stat = folder.stat()
    identity = stat.st_dev, stat.st_ino
    if identity in ancestors:
        # A link to a folder above this one: following it would never end.
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if SYSTEM_FILES.fullmatch(entry.name):
                continue
            kind = _entry_kind(entry)
            if kind == "folder":
                subfolder = folder / entry.name
                yield from _scan_folder(subfolder, f"{prefix}{entry.name}/", (*ancestors, identity))
            else:
                yield prefix + entry.name, kind == "file"


def _entry_kind(entry: os.DirEntry[str]) -> Literal["folder", "file", "other"]:
    try:
        if entry.is_dir():
            return "folder"
        return "file" if entry.is_file() else "other"
    except OSError:  # such as a link to itself
        return "other"


def _manifest_digest(folder: Path, files: Iterable[Path]) -> str:
    """Return the content id of the list of pairs (relative path, sha256)."""
    digests: dict[tuple[int, int], str] = {}
    manifest: list[Json] = []
    for path in files:
        stat = path.stat()
        # By inode, so that one file under several names is read once.
        identity = stat.st_dev, stat.st_ino
        if identity not in digests:
            digests[identity] = file_sha256(path)
        manifest.append([utf8_name(path.relative_to(folder).as_posix()), digests[identity]])
    return content_id(manifest)


def _stat_digest(files: Iterable[Path]) -> tuple[str, bool]:
    """Return a digest of the files' paths, sizes, times and inodes, and True if none is too new.

    A file is too new to cache if a later change could leave its modification time the same.
    """
    content = hashlib.sha256()
    newest = 0.0
    for path in files:
        stat = path.stat()
        numbers = f"\0{stat.st_size}\0{stat.st_mtime_ns}\0{stat.st_ino}\0"
        content.update(os.fsencode(path.absolute()) + numbers.encode())
        newest = max(newest, stat.st_mtime)
    return content.hexdigest(), newest < time.time() - MTIME_GRANULARITY_SECONDS


def _read_cached(cache_file: Path, state: str) -> str | None:
    """Return the cached digest if it was computed in this state."""
    # A file that is absent or unreadable is no error: the digest is computed again.
    with suppress(OSError, ValueError, KeyError, TypeError):
        entry = json.loads(cache_file.read_text(encoding="utf-8"))
        if entry["state"] == state:
            return str(entry["digest"])
    return None
