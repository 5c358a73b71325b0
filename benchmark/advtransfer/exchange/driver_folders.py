"""The run folder and cache of a driver, as workers elsewhere read and write them."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

from advtransfer import files
from advtransfer.cache import Cache
from advtransfer.cache.rows import ROWS_FILE, is_row_file
from advtransfer.errors import CacheError
from advtransfer.exchange.incoming import Incoming
from advtransfer.exchange.parcels import (
    CHUNK_BYTES,
    DocumentKind,
    FileEntry,
    JobInputs,
    Parcel,
    require_plain_names,
)
from advtransfer.result import Run
from advtransfer.result.record import arrays_path
from advtransfer.result.record_file import load_json_object
from advtransfer.result.validation import record_fault
from advtransfer.toolkit import file_digests
from advtransfer.types import Json


class DriverFolders:
    """The driver's end of the exchange. It runs where the folders are; `DriverFiles` says what it does.

    Args:
        run: The run folder.
        cache: The cache's folder.
        below: The second cache, which is only read.
        max_bytes: The size limit of the cache.
    """

    def __init__(
        self, run: Path, cache: Path, *, below: Path | None = None, max_bytes: int | None = None
    ) -> None:
        self.run = Run(run)
        self.cache = cache
        self.below = below
        self.max_bytes = max_bytes
        self._incoming: dict[str, tuple[Parcel, Incoming]] = {}
        self._listed: dict[Parcel, tuple[Path, tuple[FileEntry, ...]]] = {}

    # --- what a job reads ---

    def job_inputs(self, ids: Sequence[str], data: Sequence[str], environment: str) -> JobInputs:
        """Return the records of some nodes with their batteries, an environment, and pins of data sets."""
        records = [self.run.read_record(id) for id in ids if self.run.has_record(id)]
        batteries = [id for record in records for id in self.run.batteries_behind(record)]
        records += [self.run.read_record(id) for id in dict.fromkeys(batteries)]
        paths = [self.run.path / "data" / f"{id}.json" for id in data]
        pins = [load_json_object(path) for path in paths if path.is_file()]
        return JobInputs(tuple(records), self.run.read_environments()[environment], tuple(pins))

    def list_files(self, parcel: Parcel) -> tuple[FileEntry, ...] | None:
        """Return the files of a parcel; None where the driver does not have it."""
        if parcel.kind == "content":
            folder, names = self._user_content(parcel)
        elif parcel.kind == "artifact":
            found = self._artifact_folder(parcel)
            if found is None:
                return None
            folder, names = found, sorted(path.name for path in found.iterdir())
        else:
            raise ValueError(f"found a parcel of {parcel.kind}; expected one that workers read")
        entries = tuple(FileEntry.of_file(folder / name, name) for name in names)
        self._listed[parcel] = (folder, entries)
        return entries

    def read_chunk(self, parcel: Parcel, name: str, offset: int) -> bytes:
        """Return at most `CHUNK_BYTES` of a file that `list_files` has listed."""
        folder, entries = self._listed[parcel]
        if name not in {entry.name for entry in entries}:
            raise CacheError(f"found the file name {name!r}; expected one of the parcel's")
        with (folder / name).open("rb") as file:
            file.seek(offset)
            return file.read(CHUNK_BYTES)

    def _user_content(self, parcel: Parcel) -> tuple[Path, list[str]]:
        path = Path(parcel.path)
        # Only content whose digest the asker knows is given away, wherever it is.
        file_digests.require_sha256(path, parcel.id)
        if path.is_file():
            return path.parent, [path.name]
        return path, file_digests.list_files(path)

    def _artifact_folder(self, parcel: Parcel) -> Path | None:
        cache = self._cache(parcel)
        folder = cache.folder_of(parcel.id)
        if is_row_file(folder):
            return folder
        artifact = cache.get(parcel.id)
        return artifact.path if artifact else None

    def _cache(self, parcel: Parcel) -> Cache:
        return Cache(self.cache, line=parcel.key, below=self.below, max_bytes=self.max_bytes)

    # --- what a job writes ---

    def begin_parcel(self, parcel: Parcel, entries: Sequence[FileEntry]) -> str | None:
        """Begin to receive a parcel; return the name of the transfer, or None where the parcel is here already.

        Raises:
            CacheError: A name in it is not a plain one.
        """
        require_plain_names(entries)
        destination = self._destination(parcel)
        # Rows are added to those that are there.
        is_row_parcel = any(entry.name == ROWS_FILE for entry in entries)
        if destination.exists() and not is_row_parcel and self._is_intact(parcel, entries):
            return None
        transfer = secrets.token_hex(8)
        self._incoming[transfer] = parcel, Incoming(destination, entries)
        return transfer

    def write_chunk(self, transfer: str, name: str, offset: int, content: bytes) -> None:
        """Write a part of a file of a transfer that was begun."""
        _, incoming = self._incoming[transfer]
        incoming.write_chunk(name, offset, content)

    def finish_parcel(self, transfer: str) -> None:
        """Verify the digests of a parcel, and move it to its place.

        Raises:
            CacheError: A file is not the one that was announced.
        """
        parcel, incoming = self._incoming.pop(transfer)
        try:
            incoming.verify()
            self._place(parcel, incoming.folder)
        finally:
            incoming.discard()

    def _place(self, parcel: Parcel, folder: Path) -> None:
        if parcel.kind == "artifact":
            cache = self._cache(parcel)
            if is_row_file(folder):
                cache.publish_rows(folder, parcel.id)
            else:
                cache.publish_folder(folder, parcel.id)
            cache.make_room(keep=cache.folder_of(parcel.id))
            return
        destination = self._destination(parcel)
        if parcel.kind == "samples":
            (arrays,) = folder.iterdir()
            arrays.replace(destination)
            files.sync_folder(destination.parent)
            return
        # Figures of a job that died after sending them: those of its successor take their place.
        while not files.try_rename(folder, destination):
            with contextlib.suppress(FileNotFoundError):
                files.remove_atomic(destination)

    def _destination(self, parcel: Parcel) -> Path:
        match parcel.kind:
            case "artifact":
                return self._cache(parcel).folder_of(parcel.id)
            case "samples":
                return self.run.path / arrays_path(parcel.id)
            case "files":
                return self.run.path / "files" / parcel.id
            case "content":
                raise ValueError("found a user's content; expected something that workers write")

    def _is_intact(self, parcel: Parcel, entries: Sequence[FileEntry]) -> bool:
        if parcel.kind == "artifact":
            return self._cache(parcel).get(parcel.id) is not None
        destination = self._destination(parcel)
        paths = (
            [destination]
            if parcel.kind == "samples"
            else [destination / entry.name for entry in entries]
        )
        return all(
            path.is_file() and files.file_sha256(path) == entry.sha256
            for path, entry in zip(paths, entries, strict=True)
        )

    def write_document(self, kind: DocumentKind, document: Mapping[str, Json]) -> None:
        """Write a record, an attempt, an environment or a pin of a data set, as a worker here would.

        Raises:
            CacheError: A record is not valid, or a data set has another content than the run began with.
        """
        match kind:
            case "record":
                if fault := record_fault(document):
                    raise CacheError(f"a worker sent a record that is not valid: {fault}")
                if not self.run.has_record(str(document["id"])):
                    self.run.write_record(dict(document))
            case "attempt":
                self.run.write_attempt(dict(document))
            case "environment":
                self.run.write_environment(document)
            case "data":
                self.run.pin_data(str(document["data"]), str(document["content"]))
