"""Files with one record a line of JSON, plain (``.jsonl``) or compressed (``.jsonl.xz``)."""

from __future__ import annotations

import io
import lzma
from collections.abc import Iterable
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from advtransfer.errors import CacheError

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

PACKED_SUFFIX = ".jsonl.xz"
RECORD_FILE_PATTERNS = ("*.jsonl", f"*{PACKED_SUFFIX}")
XZ_PRESET = 6
MAX_UNPACKER_MEMORY = 32 << 20
"""Bytes that the decompressor may use; a file of `XZ_PRESET` takes 9 MiB."""
MAX_EXPANSION = 100
"""Bytes that a packed byte may unpack to; published records take 4 to 13."""
FREE_BYTES = 1 << 20
"""Bytes that any file may unpack to: short files of equal lines expand more than long ones."""
_CHUNK_BYTES = 1 << 16


def encode_lines(lines: Iterable[str]) -> bytes:
    """Return lines of JSON as UTF-8, lone surrogates escaped."""
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace")


def pack_lines(lines: Iterable[str]) -> bytes:
    """Return lines of JSON as the content of a ``.jsonl.xz`` file."""
    return lzma.compress(encode_lines(lines), format=lzma.FORMAT_XZ, preset=XZ_PRESET)


def record_files(folder: Path) -> list[Path]:
    """Return the files of a bundle with records, plain and compressed, sorted."""
    records = folder / "records"
    return sorted(path for pattern in RECORD_FILE_PATTERNS for path in records.glob(pattern))


def plan_files(folder: Path) -> list[Path]:
    """Return the files of a bundle whose plan is too large for ``plan.json``, sorted.

    The first line of the first one is the plan without its trials, every other line a trial.
    """
    return sorted(folder.glob(f"plan-*{PACKED_SUFFIX}"))


def unpacked_file(file: IO[bytes], path: Path, *, limit: int) -> IO[bytes]:
    """Return a file of lines as it is or, if its name says so, a reader of what xz packed in it.

    Args:
        file: The open file.
        path: Its path.
        limit: Bytes that it may unpack to; reading on raises CacheError.
    """
    if not path.name.endswith(PACKED_SUFFIX):
        return file
    return cast("IO[bytes]", io.BufferedReader(_XzReader(file, path, limit), _CHUNK_BYTES))


class _XzReader(io.RawIOBase):
    """The unpacked bytes of one xz stream, with bounded memory, length and expansion."""

    def __init__(self, file: IO[bytes], path: Path, limit: int) -> None:
        self._file = file
        self._path = path
        self._limit = limit
        self._packed_bytes = 0
        self._unpacked_bytes = 0
        self._unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_UNPACKER_MEMORY)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill a buffer; return the number of bytes, 0 at the end.

        Raises:
            CacheError: The file is no xz file, is cut off or goes on, or unpacks to too much.
        """
        view = memoryview(buffer).cast("B")
        unpacked = b""
        while not unpacked and not self._unpacker.eof:
            unpacked = self._unpack_some(len(view))
        # Bytes after the end would be in no record and in no digest of one.
        if not unpacked and (self._unpacker.unused_data or self._file.read(1)):
            raise CacheError(f"{self._path} goes on after its records; expected nothing there")
        self._unpacked_bytes += len(unpacked)
        # By what was read so far, so that a bomb of any size is refused after its first bytes.
        allowed = min(self._limit, FREE_BYTES + MAX_EXPANSION * self._packed_bytes)
        if self._unpacked_bytes > allowed:
            raise CacheError(f"{self._path} unpacks to too many bytes; expected records of a run")
        view[: len(unpacked)] = unpacked
        return len(unpacked)

    def _unpack_some(self, size: int) -> bytes:
        needs_input = self._unpacker.needs_input
        packed = self._file.read(_CHUNK_BYTES) if needs_input else b""
        self._packed_bytes += len(packed)
        if needs_input and not packed:
            raise CacheError(f"{self._path} is cut off; expected a whole xz file")
        try:
            return self._unpacker.decompress(packed, size)
        except lzma.LZMAError as error:
            raise CacheError(f"{self._path} is no xz file ({error}); expected records") from error
