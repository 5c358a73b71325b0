"""A parcel that is being received: its files grow chunk by chunk, and get their name when every digest is right."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from advtransfer import files
from advtransfer.errors import CacheError
from advtransfer.exchange.parcels import CHUNK_BYTES, DriverFiles, FileEntry, Parcel


class Incoming:
    """A temporary folder beside its final place that receives the files of one parcel."""

    def __init__(self, destination: Path, entries: Sequence[FileEntry]) -> None:
        self.folder = files.temporary_path(destination)
        self.entries = {entry.name: entry for entry in entries}
        self.folder.mkdir()
        for name in self.entries:
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()

    def write_chunk(self, name: str, offset: int, content: bytes) -> None:
        """Write a part of a file.

        Raises:
            CacheError: The part lies outside the file.
        """
        entry = self.entries[name]
        if len(content) > CHUNK_BYTES or offset + len(content) > entry.bytes:
            raise CacheError(f"found bytes beyond the end of {name!r} ({entry.bytes:,} bytes)")
        with (self.folder / name).open("r+b") as file:
            file.seek(offset)
            file.write(content)

    def verify(self) -> None:
        """Wait until the files are on the disk, and check their digests.

        Raises:
            CacheError: A file is not the one that was announced.
        """
        for name, entry in self.entries.items():
            path = self.folder / name
            # Rows are sparse, so the last bytes of their file may never be sent.
            os.truncate(path, entry.bytes)
            with path.open("rb") as file:
                os.fsync(file.fileno())
            digest = files.file_sha256(path)
            if digest != entry.sha256:
                raise CacheError(
                    f"found {name!r} with sha256 {digest} after its transfer; expected {entry.sha256}; "
                    "it changed while it was read, or was damaged on the way: run again"
                )
        files.sync_folder(self.folder)

    def discard(self) -> None:
        """Delete what was received, unless it was moved to its final place."""
        files.delete_if_present(self.folder)


def receive_parcel(
    source: DriverFiles, parcel: Parcel, entries: Mapping[str, FileEntry], destination: Path
) -> Incoming:
    """Return a parcel of the driver, received and verified; the caller moves it to its place, or discards it.

    Args:
        source: The driver's folders.
        parcel: What to receive.
        entries: Its files, by their names here.
        destination: The place that it will have.

    Raises:
        CacheError: A file is not the one that the driver announced.
    """
    incoming = Incoming(destination, [replace(entries[name], name=name) for name in entries])
    try:
        for name, entry in entries.items():
            for offset in range(0, entry.bytes, CHUNK_BYTES):
                content = source.read_chunk(parcel, entry.name, offset)
                incoming.write_chunk(name, offset, content)
        incoming.verify()
    except BaseException:
        incoming.discard()
        raise
    return incoming


def send_parcel(to: DriverFiles, parcel: Parcel, folder: Path, names: Sequence[str]) -> None:
    """Send files of a folder to the driver, unless it has them already."""
    entries = [FileEntry.of_file(folder / name, name) for name in names]
    transfer = to.begin_parcel(parcel, entries)
    if transfer is None:
        return
    for entry in entries:
        with (folder / entry.name).open("rb") as file:
            offset = 0
            while content := file.read(CHUNK_BYTES):
                to.write_chunk(transfer, entry.name, offset, content)
                offset += len(content)
    to.finish_parcel(transfer)
