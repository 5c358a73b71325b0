"""Archives of submissions that are too large for a repository: a zip file elsewhere, held by its digest.

The folder keeps manifest, root and outcomes. ``samples``, ``files`` and ``examples`` move into the
archive; where the rest is still above the limits, so do the complete records, and the folder keeps
short ones (`shorten_record`) with all that metrics, verdicts and ids are computed from.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias, cast

from advtransfer.errors import AdvTransferError, BadInput, CacheError, Problem
from advtransfer.files import delete_if_present, file_sha256
from advtransfer.leaderboard.validation import held_out_row
from advtransfer.publication.bundle_files import (
    MAX_BUNDLE_BYTES,
    MAX_BUNDLE_FILE_BYTES,
    name_fault,
)
from advtransfer.publication.cells import Fault
from advtransfer.publication.manifest import EXAMPLE_FOLDER, read_manifest
from advtransfer.result import Record, Run
from advtransfer.result.bundle import write_record_files
from advtransfer.types import Json

RecordJson: TypeAlias = Mapping[str, Any]  # Any: JSON

RECORD_FOLDER = "records"
MOVED_FOLDERS = ("samples", "files", EXAMPLE_FOLDER)
"""Folders that an archive takes whatever their size."""
KEPT_OBSERVATIONS = ("started", "code", "copied_from")
"""Of what was observed: when, which tells a copy from a second measurement, and by which code."""
RESERVED_BYTES = 64 << 10
"""Bytes for the manifest, which is written after the archive."""
MAX_ARCHIVE_BYTES = 1 << 30
MAX_ARCHIVE_FILE_BYTES = 256 << 20
MAX_ARCHIVE_FILES = 65_534
"""A zip file of more files needs zip64, whose directory may have any size."""
MAX_DIRECTORY_BYTES = 32 << 20
END_BYTES = 22
LOCATOR_BYTES = 20


@dataclass(frozen=True, slots=True)
class Archive:
    """Where a part of a large submission is kept: the file to write, and its later URL."""

    path: Path
    url: str


# --- publish ---


def shorten_record(record: RecordJson) -> Record:
    """Return a record without training curves, arrays and times; a shortened one stays as it is.

    What was measured on held-out images stays: `validation` columns are read from it.
    """
    observed = record["observed"]
    short: Record = {
        **record,
        "observed": {name: observed[name] for name in KEPT_OBSERVATIONS if name in observed},
    }
    if "curves" in record:
        row = held_out_row(record)
        short["curves"] = [dict(row)] if row else []
    if "samples" in record:
        short["samples"] = None
    return short


def move_to_archive(folder: Path, archive: Archive) -> Record:
    """Move what is too large into a zip file; return its entry in the manifest.

    The same files give the same bytes.

    Raises:
        BadInput: There are more files than a zip file can hold, or they are too large.
    """
    holds = [name for name in MOVED_FOLDERS if (folder / name).is_dir()]
    moved = [path for name in holds for path in files_below(folder / name)]
    remaining = sorted(set(files_below(folder)).difference(moved))
    if list(_excess(folder, remaining, reserved=RESERVED_BYTES)):
        holds.append(RECORD_FOLDER)
        moved += files_below(folder / RECORD_FOLDER)
    total = sum(path.stat().st_size for path in moved)
    if len(moved) > MAX_ARCHIVE_FILES or total > MAX_ARCHIVE_BYTES:
        found = f"{len(moved):,} files of {total:,} bytes for the archive"
        expected = f"at most {MAX_ARCHIVE_FILES:,} of {MAX_ARCHIVE_BYTES:,}"
        raise BadInput([Problem(found, expected, "publish a suite of fewer trials")])
    archive.path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive.path, "w") as file:
        for path in sorted(moved):
            entry = zipfile.ZipInfo(path.relative_to(folder).as_posix())
            file.writestr(entry, path.read_bytes())
    for name in MOVED_FOLDERS:
        delete_if_present(folder / name)
    if RECORD_FOLDER in holds:
        short = [shorten_record(record) for record in Run(folder).read_records()]
        write_record_files(folder, short)
    return {
        "url": archive.url,
        "sha256": file_sha256(archive.path),
        "bytes": archive.path.stat().st_size,
        "holds": cast("list[Json]", sorted(holds)),
    }


def require_size(folder: Path, archive: Archive | None) -> None:
    """Refuse a submission that is too large for a repository.

    Raises:
        BadInput: Names every file that is too large, and the whole if it is.
    """
    next_step = (
        "keep a part elsewhere: --external URL --archive FILE, or publish fewer --examples"
        if archive is None
        else "even outcomes alone are too large: publish a suite of fewer trials"
    )
    excess = list(_excess(folder, files_below(folder)))
    if excess:
        raise BadInput([Problem(found, expected, next_step) for found, expected in excess])


def files_below(folder: Path) -> list[Path]:
    """Return all files in a folder, sorted."""
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _excess(folder: Path, paths: Sequence[Path], *, reserved: int = 0) -> Iterator[tuple[str, str]]:
    """Yield what is too large among some files of a submission, and what is expected."""
    sizes = {path.relative_to(folder).as_posix(): path.stat().st_size for path in paths}
    for name, size in sizes.items():
        if size > MAX_BUNDLE_FILE_BYTES:
            yield f"{name!r} of {size:,} bytes", f"at most {MAX_BUNDLE_FILE_BYTES:,} in one file"
    total = sum(sizes.values())
    if total + reserved > MAX_BUNDLE_BYTES:
        yield f"a submission of {total:,} bytes", f"at most {MAX_BUNDLE_BYTES:,}"


# --- verify ---


@dataclass(slots=True)
class WholeBundle:
    """A bundle with what its archives hold, as far as these are at hand.

    Attributes:
        path: A folder with everything; that of the bundle itself without archives.
        has_records: Whether complete records came from an archive, in place of short ones.
        faults: Archives that are not those of the manifest, or hold something else.
        notes: What is elsewhere, and was not checked.
    """

    path: Path
    has_records: bool = False
    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


@contextmanager
def whole_bundle(folder: Path, archives: Sequence[Path] = ()) -> Iterator[WholeBundle]:
    """Give a bundle with the content of its archives for a while.

    Args:
        folder: A bundle whose files may be opened (`file_faults`).
        archives: Archives at hand; each must be one that the manifest names, by its digest.
    """
    whole = WholeBundle(folder)
    try:
        entries = cast("list[RecordJson]", read_manifest(folder)["external"])
    except AdvTransferError:
        entries = []  # Reported with the files.
    matched: dict[str, tuple[Path, RecordJson]] = {}
    for path in archives:
        try:
            digest, entry = _matching_entry(path, entries)
            _examine(path, entry)
        except (CacheError, OSError, zipfile.BadZipFile, NotImplementedError) as error:
            whole.faults.append(Fault(path.name, "", str(error).splitlines()[0]))
            continue
        matched[digest] = path, entry
    for entry in entries:
        if entry["sha256"] not in matched:
            whole.notes.append(_absence_note(entry))
    if not matched or whole.faults:
        yield whole
        return
    with tempfile.TemporaryDirectory(prefix="advtransfer-whole-") as scratch:
        whole.path = Path(scratch) / folder.resolve().name
        shutil.copytree(folder, whole.path, symlinks=True)
        for path, entry in matched.values():
            if RECORD_FOLDER in entry["holds"]:
                whole.has_records = True
                delete_if_present(whole.path / RECORD_FOLDER)
            try:
                _unpack(path, whole.path)
            except (zipfile.BadZipFile, OSError, EOFError) as error:
                whole.faults.append(Fault(path.name, "", f"found a damaged archive ({error})"))
        yield whole


def _absence_note(entry: RecordJson) -> str:
    holds = ", ".join(str(name)[:40] for name in entry["holds"][:10])
    text = (
        f"not checked: {holds}, which are in an archive of {entry['bytes']:,} bytes at "
        f"{ascii(entry['url'][:500])[1:-1]} (sha256 {entry['sha256'][:12]}); give it by --external FILE"
    )
    if RECORD_FOLDER in entry["holds"]:
        return f"{text}; the folder has short records, without training curves and times"
    return text


def _matching_entry(path: Path, entries: Sequence[RecordJson]) -> tuple[str, RecordJson]:
    """Return the digest of an archive, and its entry in the manifest.

    Raises:
        CacheError: It is no file, too large, or not one that the manifest names.
    """
    if path.is_symlink() or not path.is_file():
        raise CacheError("found no file; expected an archive of the manifest")
    size = path.stat().st_size
    sizes = {entry["bytes"] for entry in entries}
    if size > MAX_ARCHIVE_BYTES or size not in sizes:
        expected = " or ".join(f"{each:,}" for each in sorted(sizes)) or "no archive"
        raise CacheError(f"found {size:,} bytes; expected {expected}, as the manifest says")
    digest = file_sha256(path)
    for entry in entries:
        if entry["sha256"] == digest:
            return digest, entry
    expected = " or ".join(sorted(entry["sha256"][:12] for entry in entries))
    raise CacheError(f"found the sha256 {digest[:12]}; expected {expected}, as the manifest says")


def _examine(path: Path, entry: RecordJson) -> None:
    """Refuse an archive before anything is unpacked: its directory, names and sizes are bounded.

    Raises:
        CacheError: The archive holds anything else than stored files of the stated folders.
    """
    _examine_end(path)
    known = {*MOVED_FOLDERS, RECORD_FOLDER}.intersection(map(str, entry["holds"]))
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    names = [member.filename for member in members]
    if len(set(names)) < len(names):
        raise CacheError("found a name twice; expected every file once")
    total = 0
    for member in members:
        parts = member.filename.split("/")
        fault = next(filter(None, map(_part_fault, parts)), None)
        if fault or len(parts) < 2 or parts[0] not in known:
            raise CacheError(
                f"found {member.filename[:80]!r}; expected files below {', '.join(sorted(known))}"
            )
        # Stored files unpack to their own size, so nothing here can be a bomb.
        is_stored = member.compress_type == zipfile.ZIP_STORED and not member.flag_bits & 1
        if not is_stored or member.file_size != member.compress_size:
            raise CacheError(f"found {member.filename[:80]!r} compressed; expected stored files")
        total += member.file_size
        if member.file_size > MAX_ARCHIVE_FILE_BYTES or total > entry["bytes"]:
            raise CacheError(
                f"found {member.filename[:80]!r} too large; expected less than the file"
            )


def _part_fault(part: str) -> str | None:
    return name_fault(part) if part else "found an empty name"


def _examine_end(path: Path) -> None:
    """Refuse a zip file whose directory is too large to read, or stated in zip64."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        file.seek(max(0, size - END_BYTES - LOCATOR_BYTES))
        end = file.read()
    tail = end[-END_BYTES:]
    is_zip = len(tail) == END_BYTES and tail.startswith(b"PK\x05\x06")
    is_large = end[:-END_BYTES].startswith(b"PK\x06\x07")
    if not is_zip or is_large or int.from_bytes(tail[12:16], "little") > MAX_DIRECTORY_BYTES:
        raise CacheError(
            f"found another end than that of a zip file of at most {MAX_ARCHIVE_FILES:,} files; "
            "expected the archive that `advtransfer publish --archive` wrote"
        )


def _unpack(path: Path, folder: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        for member in archive.infolist():
            target = folder.joinpath(*member.filename.split("/"))
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(member) as packed, target.open("xb") as file:
                shutil.copyfileobj(packed, file)


def shortening_faults(folder: Run, whole: Run) -> Iterator[Fault]:
    """Yield where the short records of a folder are not those of the archive's complete ones."""
    short = {str(record["id"]): record for record in folder.read_records()}
    for record in whole.read_records():
        id = str(record["id"])
        if id not in short:
            yield Fault(
                RECORD_FOLDER, "", f"found no record {id[:12]}; expected that of the archive"
            )
        elif short.pop(id) != shorten_record(record):
            text = (
                f"found another record {id[:12]} than the archive has; expected that one, shortened"
            )
            yield Fault(RECORD_FOLDER, "", text)
    for id in sorted(short):
        yield Fault(
            RECORD_FOLDER, "", f"found the record {id[:12]}; expected it in the archive too"
        )
