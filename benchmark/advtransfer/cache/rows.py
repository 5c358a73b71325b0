"""Rows by number, such as a frozen network's features of images: filled as they are asked for, and kept in one file.

    rows.bin    row k at offset k times its size; sparse, so rows that nobody asked for take no room
    sums.bin    the checksum of row k at offset 4 k; 0 where there is none
    meta.json   what the rows are: their shape, type and size

A row is there when its checksum is right. So neither locks nor an order of writing are needed: a torn row is no row,
and workers that fill the same one write the same bytes.
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
from advtransfer.cache.writing import writing
from advtransfer.errors import CacheError
from advtransfer.types import Json

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = 1
DATA, SUMS, META = "rows.bin", "sums.bin", "meta.json"


@dataclass(frozen=True, slots=True)
class Row:
    """What one row is; `bytes` is its size."""

    shape: tuple[int, ...]
    dtype: str
    bytes: int

    @classmethod
    def of(cls, row: Tensor) -> Row:
        """That of a tensor."""
        return cls(tuple(row.shape), str(row.dtype).removeprefix("torch."), row.numel() * row.element_size())


@dataclass(frozen=True, slots=True)
class Rows:
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

        row = row_of(self.folder)
        if row is None or not numbers:
            return {}
        content = bytearray(len(numbers) * row.bytes)
        here = self._read(numbers, row, memoryview(content))
        tensor = torch.frombuffer(content, dtype=getattr(torch, row.dtype)).view(-1, *row.shape)
        return {number: tensor[place] for place, number in enumerate(numbers) if number in here}

    def write(self, rows: Mapping[int, Tensor]) -> None:
        """Keep rows of one shape and type.

        Raises:
            CacheError: They could not be written, or rows of another shape or type lie there.
        """
        with writing(self.folder):
            self._write(rows)

    def _write(self, rows: Mapping[int, Tensor]) -> None:
        asked = Row.of(next(iter(rows.values())))
        found = row_of(self.folder) or self._made(asked)
        if found != asked:
            raise CacheError(f"found {found} in {str(self.folder)!r}; expected {asked}; remove that folder")
        with (
            suppress(FileNotFoundError),  # evicted this moment: computed again when they are asked for
            (self.folder / DATA).open("r+b", buffering=0) as data,
            (self.folder / SUMS).open("r+b", buffering=0) as sums,
        ):
            for number, row in rows.items():
                content = row.detach().cpu().numpy().tobytes()
                os.pwrite(data.fileno(), content, number * asked.bytes)
                os.pwrite(sums.fileno(), array("I", [_sum(content)]), 4 * number)

    def _read(self, numbers: Sequence[int], row: Row, room: memoryview) -> set[int]:
        """Fill the rows in `room` that are there; their numbers. What is evicted meanwhile stays readable."""
        try:
            with (self.folder / DATA).open("rb", buffering=0) as data:
                sums = _sums(self.folder)
                with suppress(OSError):  # a shared cache that one may only read still serves
                    os.utime(self.folder / META)
                places = (room[at * row.bytes : (at + 1) * row.bytes] for at in range(len(numbers)))
                asked = zip(numbers, places, strict=True)
                return {number for number, place in asked if _filled(place, data.fileno(), number, sums)}
        except FileNotFoundError:  # evicted this moment
            return set()

    def _made(self, row: Row) -> Row:
        """What a row is in the store that was just made, by this or another worker."""
        beside = files.beside(self.folder)
        try:
            beside.mkdir()
            said = {**self.facts, "format": FORMAT, "shape": row.shape, "dtype": row.dtype, "bytes": row.bytes}
            (beside / META).write_text(json.dumps(said, sort_keys=True) + "\n", encoding="utf-8")
            for name in (DATA, SUMS):
                (beside / name).touch()
            while not files.renamed(beside, self.folder):
                if found := row_of(self.folder):
                    return found
                files.remove(self.folder)  # nobody can read it
            return row
        finally:
            files.discard(beside)


def row_of(folder: Path) -> Row | None:
    """What a row is in the store in a folder; None when there is no such store."""
    try:
        said = json.loads((folder / META).read_text(encoding="utf-8"))
        return Row(tuple(said["shape"]), said["dtype"], said["bytes"]) if said["format"] == FORMAT else None
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def is_store(folder: Path) -> bool:
    """Whether rows lie in a folder, not an artifact; needs no torch."""
    return (folder / DATA).exists()


def allocated(folder: Path) -> int:
    """The bytes that a store takes on the disk; needs no torch."""
    return sum(file.stat().st_blocks * 512 for file in folder.iterdir())


def fault(folder: Path) -> str | None:
    """What is wrong with a store; needs no torch."""
    row = row_of(folder)
    if row is None:
        return f"{META} does not say what a row is"
    room, sums = memoryview(bytearray(row.bytes)), _sums(folder)
    with (folder / DATA).open("rb", buffering=0) as data:
        torn = [number for number, one in enumerate(sums) if one and not _filled(room, data.fileno(), number, sums)]
    return f"rows that do not match their checksum: {len(torn)}, the first is {torn[0]}" if torn else None


def _filled(room: memoryview, data: int, number: int, sums: Sequence[int]) -> bool:
    """Read a row into `room`; whether it is there."""
    if number >= len(sums) or not sums[number]:
        return False
    return os.preadv(data, [room], number * len(room)) == len(room) and _sum(room) == sums[number]


def _sums(folder: Path) -> Sequence[int]:
    content = (folder / SUMS).read_bytes()
    sums = array("I")
    sums.frombytes(content[: len(content) // 4 * 4])
    return sums


def _sum(row: bytes | memoryview) -> int:
    """The row's CRC-32; 0 stands for no row."""
    return zlib.crc32(row) or 1
