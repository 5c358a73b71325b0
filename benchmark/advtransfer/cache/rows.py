"""Numbered rows, such as a frozen network's features of images, in one file that is filled as they are computed.

    rows.bin    row k at offset k times the row size; sparse, so missing rows take no space
    sums.bin    the checksum of row k at offset 4 k; 0 for a missing row
    meta.json   shape, dtype and size of a row

A row is present if its checksum matches. So neither locks nor an order of writing are needed: a torn row counts
as missing, and workers that write the same row write the same bytes.
"""

from __future__ import annotations

import json
import os
import zlib
from array import array
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from advtransfer import files
from advtransfer.cache.artifact import explain_write_errors
from advtransfer.errors import CacheError
from advtransfer.types import Json

if TYPE_CHECKING:
    from torch import Tensor

ROWS_FORMAT = 1
CHECKSUM_TYPE = "I"
CHECKSUM_BYTES = 4
STAT_BLOCK_BYTES = (
    512  # The unit of `st_blocks` in POSIX, whatever the file system's block size is.
)
ROWS_FILE = "rows.bin"
CHECKSUMS_FILE = "sums.bin"
ROWS_META_FILE = "meta.json"


@dataclass(frozen=True, slots=True)
class RowFormat:
    """Shape, dtype and size in bytes of one row."""

    shape: tuple[int, ...]
    dtype: str
    bytes: int

    @classmethod
    def of_tensor(cls, row: Tensor) -> RowFormat:
        """Return the format of a tensor."""
        dtype = str(row.dtype).removeprefix("torch.")
        return cls(tuple(row.shape), dtype, row.numel() * row.element_size())


@dataclass(frozen=True, slots=True)
class RowFile:
    """The rows under one id.

    Args:
        folder: The folder of the file, created with the first row.
        facts: The other fields of ``meta.json``: id, line, kind and use.
    """

    folder: Path
    facts: Mapping[str, Json]

    def read(self, numbers: Sequence[int]) -> dict[int, Tensor]:
        """Return the rows that are present, on the CPU, by number."""
        import torch

        row_format = read_row_format(self.folder)
        if row_format is None or not numbers:
            return {}
        content = bytearray(len(numbers) * row_format.bytes)
        present = self._read_into(memoryview(content), numbers, row_format)
        flat = torch.frombuffer(content, dtype=getattr(torch, row_format.dtype))
        rows = flat.view(-1, *row_format.shape)
        return {number: row for number, row in zip(numbers, rows, strict=True) if number in present}

    def write(self, rows: Mapping[int, Tensor]) -> None:
        """Write rows of one shape and dtype.

        Raises:
            CacheError: They could not be written, or the file has rows of another shape or dtype.
        """
        with explain_write_errors(self.folder):
            self._write_files(rows)

    def _write_files(self, rows: Mapping[int, Tensor]) -> None:
        row_format = RowFormat.of_tensor(next(iter(rows.values())))
        stored_format = read_row_format(self.folder) or self._create_file(row_format)
        if stored_format != row_format:
            raise CacheError(
                f"found {stored_format} in {str(self.folder)!r}; expected {row_format}; "
                "remove that folder"
            )
        with (
            # The file may be evicted at this moment: then the rows are computed again when needed.
            suppress(FileNotFoundError),
            (self.folder / ROWS_FILE).open("r+b", buffering=0) as data,
            (self.folder / CHECKSUMS_FILE).open("r+b", buffering=0) as checksums,
        ):
            for number, row in rows.items():
                content = row.detach().cpu().numpy().tobytes()
                checksum = array(CHECKSUM_TYPE, [_row_checksum(content)])
                os.pwrite(data.fileno(), content, number * row_format.bytes)
                os.pwrite(checksums.fileno(), checksum, CHECKSUM_BYTES * number)

    def _read_into(
        self, buffer: memoryview, numbers: Sequence[int], row_format: RowFormat
    ) -> set[int]:
        """Read the rows into consecutive parts of `buffer`; return the numbers of those present."""
        present: set[int] = set()
        size = row_format.bytes
        try:
            # An open file stays readable when it is evicted.
            with (self.folder / ROWS_FILE).open("rb", buffering=0) as data:
                checksums = _read_checksums(self.folder)
                with suppress(OSError):  # A shared cache may be read-only.
                    os.utime(self.folder / ROWS_META_FILE)
                for index, number in enumerate(numbers):
                    part = buffer[index * size : (index + 1) * size]
                    if _read_row(part, data.fileno(), number, checksums):
                        present.add(number)
        except FileNotFoundError:  # Evicted at this moment.
            return set()
        return present

    def _create_file(self, row_format: RowFormat) -> RowFormat:
        """Create an empty file; return its format, or that of a file which another worker created."""
        temporary = files.temporary_path(self.folder)
        try:
            temporary.mkdir()
            self._write_meta(temporary / ROWS_META_FILE, row_format)
            for name in (ROWS_FILE, CHECKSUMS_FILE):
                (temporary / name).touch()
            while not files.try_rename(temporary, self.folder):
                if stored_format := read_row_format(self.folder):
                    return stored_format
                files.remove_atomic(
                    self.folder
                )  # Its meta.json is unreadable, so its rows are lost.
            return row_format
        finally:
            files.delete_if_present(temporary)

    def _write_meta(self, path: Path, row_format: RowFormat) -> None:
        description = {
            **self.facts,
            "format": ROWS_FORMAT,
            "shape": row_format.shape,
            "dtype": row_format.dtype,
            "bytes": row_format.bytes,
        }
        path.write_text(json.dumps(description, sort_keys=True) + "\n", encoding="utf-8")


def read_row_format(folder: Path) -> RowFormat | None:
    """Return the row format of the file in a folder, or None where there is no readable one."""
    try:
        description = json.loads((folder / ROWS_META_FILE).read_text(encoding="utf-8"))
        if description["format"] != ROWS_FORMAT:
            return None
        return RowFormat(tuple(description["shape"]), description["dtype"], description["bytes"])
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def is_row_file(folder: Path) -> bool:
    """Return whether a folder holds rows and not an artifact; does not import torch."""
    return (folder / ROWS_FILE).exists()


def allocated_bytes(folder: Path) -> int:
    """Return the bytes that a sparse row file takes on the disk; does not import torch."""
    return sum(file.stat().st_blocks * STAT_BLOCK_BYTES for file in folder.iterdir())


def row_file_fault(folder: Path) -> str | None:
    """Return the fault of a row file, or None; does not import torch."""
    row_format = read_row_format(folder)
    if row_format is None:
        return f"{ROWS_META_FILE} does not say what a row is"
    buffer = memoryview(bytearray(row_format.bytes))
    checksums = _read_checksums(folder)
    with (folder / ROWS_FILE).open("rb", buffering=0) as data:
        torn = [
            number
            for number, checksum in enumerate(checksums)
            if checksum and not _read_row(buffer, data.fileno(), number, checksums)
        ]
    if not torn:
        return None
    return f"rows that do not match their checksum: {len(torn)}, the first is {torn[0]}"


def merge_rows(origin: Path, folder: Path) -> bool:
    """Write the rows of a row file that another one lacks into it; return False where their formats differ.

    Does not import torch.
    """
    row_format = read_row_format(folder)
    if row_format is None or row_format != read_row_format(origin):
        return False
    buffer = memoryview(bytearray(row_format.bytes))
    own = memoryview(bytearray(row_format.bytes))
    theirs = _read_checksums(origin)
    with (
        (origin / ROWS_FILE).open("rb", buffering=0) as source,
        (folder / ROWS_FILE).open("r+b", buffering=0) as data,
        (folder / CHECKSUMS_FILE).open("r+b", buffering=0) as checksums,
    ):
        ours = _read_checksums(folder)
        for number in range(len(theirs)):
            is_here = _read_row(own, data.fileno(), number, ours)
            if not is_here and _read_row(buffer, source.fileno(), number, theirs):
                os.pwrite(data.fileno(), buffer, number * row_format.bytes)
                checksum = array(CHECKSUM_TYPE, [theirs[number]])
                os.pwrite(checksums.fileno(), checksum, CHECKSUM_BYTES * number)
    return True


def _read_row(buffer: memoryview, data: int, number: int, checksums: Sequence[int]) -> bool:
    """Read a row of the open file `data` into a buffer of its size; return whether it is present."""
    if number >= len(checksums) or not checksums[number]:
        return False
    bytes_read = os.preadv(data, [buffer], number * len(buffer))
    return bytes_read == len(buffer) and _row_checksum(buffer) == checksums[number]


def _read_checksums(folder: Path) -> Sequence[int]:
    content = (folder / CHECKSUMS_FILE).read_bytes()
    # Another worker may be writing the last one.
    complete = len(content) // CHECKSUM_BYTES
    checksums = array(CHECKSUM_TYPE)
    checksums.frombytes(content[: complete * CHECKSUM_BYTES])
    return checksums


def _row_checksum(row: bytes | memoryview) -> int:
    """Return the CRC-32 of a row; 1 instead of 0, which stands for a missing row."""
    return zlib.crc32(row) or 1
