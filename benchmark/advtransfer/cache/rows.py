"""Rows by number, such as a frozen network's features of images, written as they are computed and kept in one file.

    rows.bin    row k at offset k times its size; sparse, so missing rows take no space
    sums.bin    the checksum of row k at offset 4 k; 0 where there is none
    meta.json   shape, type and size of a row

A row is present if its checksum is right. So neither locks nor an order of writing are needed: a torn row counts as
missing, and workers that write the same row write the same bytes.
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
ROWS_FILE, CHECKSUMS_FILE, ROWS_META_FILE = "rows.bin", "sums.bin", "meta.json"


@dataclass(frozen=True, slots=True)
class RowFormat:
    """What one row is; `bytes` is its size."""

    shape: tuple[int, ...]
    dtype: str
    bytes: int

    @classmethod
    def of_tensor(cls, row: Tensor) -> RowFormat:
        """That of a tensor."""
        return cls(
            tuple(row.shape),
            str(row.dtype).removeprefix("torch."),
            row.numel() * row.element_size(),
        )


@dataclass(frozen=True, slots=True)
class RowFile:
    """The rows under one id.

    Args:
        folder: Where they lie; made with the first row.
        facts: What ``meta.json`` says beside what a row is: id, line, kind and use.
    """

    folder: Path
    facts: Mapping[str, Json]

    def read(self, numbers: Sequence[int]) -> dict[int, Tensor]:
        """Those of the rows that are there, on the CPU."""
        import torch

        row = read_row_format(self.folder)
        if row is None or not numbers:
            return {}
        content = bytearray(len(numbers) * row.bytes)
        here = self._read_into(numbers, row, memoryview(content))
        tensor = torch.frombuffer(content, dtype=getattr(torch, row.dtype)).view(-1, *row.shape)
        return {number: tensor[place] for place, number in enumerate(numbers) if number in here}

    def write(self, rows: Mapping[int, Tensor]) -> None:
        """Keep rows of one shape and type.

        Raises:
            CacheError: They could not be written, or rows of another shape or type lie there.
        """
        with explain_write_errors(self.folder):
            self._write_files(rows)

    def _write_files(self, rows: Mapping[int, Tensor]) -> None:
        asked = RowFormat.of_tensor(next(iter(rows.values())))
        found = read_row_format(self.folder) or self._create_file(asked)
        if found != asked:
            raise CacheError(
                f"found {found} in {str(self.folder)!r}; expected {asked}; remove that folder"
            )
        with (
            suppress(
                FileNotFoundError
            ),  # evicted this moment: computed again when they are asked for
            (self.folder / ROWS_FILE).open("r+b", buffering=0) as data,
            (self.folder / CHECKSUMS_FILE).open("r+b", buffering=0) as sums,
        ):
            for number, row in rows.items():
                content = row.detach().cpu().numpy().tobytes()
                os.pwrite(data.fileno(), content, number * asked.bytes)
                os.pwrite(sums.fileno(), array("I", [_row_checksum(content)]), 4 * number)

    def _read_into(self, numbers: Sequence[int], row: RowFormat, room: memoryview) -> set[int]:
        """Fill the rows in `room` that are there; their numbers. What is evicted meanwhile stays readable."""
        try:
            with (self.folder / ROWS_FILE).open("rb", buffering=0) as data:
                sums = _read_checksums(self.folder)
                with suppress(OSError):  # a shared cache that one may only read still serves
                    os.utime(self.folder / ROWS_META_FILE)
                places = (room[at * row.bytes : (at + 1) * row.bytes] for at in range(len(numbers)))
                asked = zip(numbers, places, strict=True)
                return {
                    number
                    for number, place in asked
                    if _read_row(place, data.fileno(), number, sums)
                }
        except FileNotFoundError:  # evicted this moment
            return set()

    def _create_file(self, row: RowFormat) -> RowFormat:
        """What a row is in the store that was just made, by this or another worker."""
        beside = files.temporary_path(self.folder)
        try:
            beside.mkdir()
            said = {
                **self.facts,
                "format": ROWS_FORMAT,
                "shape": row.shape,
                "dtype": row.dtype,
                "bytes": row.bytes,
            }
            (beside / ROWS_META_FILE).write_text(
                json.dumps(said, sort_keys=True) + "\n", encoding="utf-8"
            )
            for name in (ROWS_FILE, CHECKSUMS_FILE):
                (beside / name).touch()
            while not files.try_rename(beside, self.folder):
                if found := read_row_format(self.folder):
                    return found
                files.remove_atomic(self.folder)  # nobody can read it
            return row
        finally:
            files.delete_if_present(beside)


def read_row_format(folder: Path) -> RowFormat | None:
    """What a row is in the store in a folder; None when there is no such store."""
    try:
        said = json.loads((folder / ROWS_META_FILE).read_text(encoding="utf-8"))
        return (
            RowFormat(tuple(said["shape"]), said["dtype"], said["bytes"])
            if said["format"] == ROWS_FORMAT
            else None
        )
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def is_row_file(folder: Path) -> bool:
    """Whether rows lie in a folder, not an artifact; needs no torch."""
    return (folder / ROWS_FILE).exists()


def allocated_bytes(folder: Path) -> int:
    """The bytes that a store takes on the disk; needs no torch."""
    return sum(file.stat().st_blocks * 512 for file in folder.iterdir())


def row_file_fault(folder: Path) -> str | None:
    """What is wrong with a store; needs no torch."""
    row = read_row_format(folder)
    if row is None:
        return f"{ROWS_META_FILE} does not say what a row is"
    room, sums = memoryview(bytearray(row.bytes)), _read_checksums(folder)
    with (folder / ROWS_FILE).open("rb", buffering=0) as data:
        torn = [
            number
            for number, one in enumerate(sums)
            if one and not _read_row(room, data.fileno(), number, sums)
        ]
    return (
        f"rows that do not match their checksum: {len(torn)}, the first is {torn[0]}"
        if torn
        else None
    )


def _read_row(room: memoryview, data: int, number: int, sums: Sequence[int]) -> bool:
    """Read a row into `room`; whether it is there."""
    if number >= len(sums) or not sums[number]:
        return False
    return (
        os.preadv(data, [room], number * len(room)) == len(room)
        and _row_checksum(room) == sums[number]
    )


def _read_checksums(folder: Path) -> Sequence[int]:
    content = (folder / CHECKSUMS_FILE).read_bytes()
    sums = array("I")
    sums.frombytes(content[: len(content) // 4 * 4])
    return sums


def _row_checksum(row: bytes | memoryview) -> int:
    """The row's CRC-32; 0 stands for no row."""
    return zlib.crc32(row) or 1
