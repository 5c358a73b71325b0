"""What moves between a driver and a worker elsewhere: parcels of files by id, and records as JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from advtransfer.errors import CacheError
from advtransfer.files import file_sha256
from advtransfer.types import Json

CHUNK_BYTES = 4 * 2**20
"""Largest number of bytes in one call; a worker has one call of these open at a time."""

ParcelKind: TypeAlias = Literal["artifact", "content", "samples", "files"]
DocumentKind: TypeAlias = Literal["data", "environment", "attempt", "record"]

_ID = re.compile(r"[0-9a-f]{8,64}")
_ENVIRONMENT_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*")


@dataclass(frozen=True, slots=True)
class Parcel:
    """The files under one id.

    Args:
        kind: An artifact or rows of the cache; a file or folder of the user; the arrays or the figures beside
            a record.
        id: The content id, or the sha256 of a user's file or folder.
        key: The environment key of an artifact; empty for the other kinds.
        path: Where the driver's machine has a user's file or folder.
    """

    kind: ParcelKind
    id: str
    key: str = ""
    path: str = ""

    def __post_init__(self) -> None:
        if not _ID.fullmatch(self.id) or (self.key and not _ENVIRONMENT_KEY.fullmatch(self.key)):
            raise ValueError(f"found the parcel {self.id!r} {self.key!r}; expected hexadecimal ids")


@dataclass(frozen=True, slots=True)
class FileEntry:
    """One file of a parcel: its name inside, its size and its sha256."""

    name: str
    bytes: int
    sha256: str

    @classmethod
    def of_file(cls, path: Path, name: str) -> FileEntry:
        """Return the entry of a file on this machine."""
        return cls(name, path.stat().st_size, file_sha256(path))


@dataclass(frozen=True, slots=True)
class JobInputs:
    """What a job reads of the run folder: records, the environment, and the pinned content of data sets."""

    records: tuple[Mapping[str, Json], ...]
    environment: Mapping[str, Json]
    data: tuple[Mapping[str, Json], ...]


class DriverFiles(Protocol):
    """The folders of the driver as a worker elsewhere reaches them."""

    def job_inputs(
        self, ids: Sequence[str], data: Sequence[str], environment: str
    ) -> JobInputs: ...

    def list_files(self, parcel: Parcel) -> tuple[FileEntry, ...] | None: ...

    def read_chunk(self, parcel: Parcel, name: str, offset: int) -> bytes: ...

    def begin_parcel(self, parcel: Parcel, entries: Sequence[FileEntry]) -> str | None: ...

    def write_chunk(self, transfer: str, name: str, offset: int, content: bytes) -> None: ...

    def finish_parcel(self, transfer: str) -> None: ...

    def write_document(self, kind: DocumentKind, document: Mapping[str, Json]) -> None: ...


def require_plain_names(entries: Sequence[FileEntry], *, nested: bool = False) -> None:
    """Refuse names that could leave the folder of a parcel.

    Raises:
        CacheError: A name is empty, absolute, steps upwards, or is one for another system's paths.
    """
    for entry in entries:
        steps = entry.name.split("/")
        is_plain = all(step not in ("", ".", "..") for step in steps)
        if (
            not is_plain
            or "\0" in entry.name
            or "\\" in entry.name
            or (len(steps) > 1 and not nested)
        ):
            raise CacheError(
                f"found the file name {entry.name[:200]!r} in a parcel; expected a plain one"
            )
