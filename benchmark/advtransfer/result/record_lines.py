"""Files with one record a line of JSON, plain (``.jsonl``) or compressed (``.jsonl.xz``).

Reading is bounded: a small file can unpack to gigabytes.
"""

from __future__ import annotations

import lzma
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import cast

from advtransfer.errors import CacheError
from advtransfer.result.bounded_reading import (
    MAX_FILE_BYTES,
    MAX_RECORD_BYTES,
    open_file,
    parse_json,
)
from advtransfer.result.record import Record

PACKED_SUFFIX = ".jsonl.xz"
RECORD_FILE_PATTERNS = ("*.jsonl", f"*{PACKED_SUFFIX}")
XZ_PRESET = 6
MAX_READER_MEMORY = 32 << 20
"""Bytes that the decompressor may use; a file of `XZ_PRESET` takes 9 MiB."""
MAX_LINES = 500_000
MAX_FILE_UNPACKED_BYTES = 256 << 20
_CHUNK_BYTES = 1 << 18


def encode_lines(lines: Iterable[str]) -> bytes:
    """Return lines of JSON as UTF-8, lone surrogates escaped."""
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace")


def pack_lines(lines: Iterable[str]) -> bytes:
    """Return lines of JSON as the content of a ``.jsonl.xz`` file."""
    return lzma.compress(encode_lines(lines), format=lzma.FORMAT_XZ, preset=XZ_PRESET)


def read_lines(path: Path) -> Iterator[str]:
    """Yield the lines of a plain or compressed file.

    Raises:
        CacheError: The file is no xz file, is cut off, or has too long a line or too many bytes.
    """
    rest, count = b"", 0
    for chunk in _limited_chunks(path):
        *lines, rest = (rest + chunk).split(b"\n")
        if len(rest) > MAX_RECORD_BYTES:
            raise CacheError(
                f"{path} has a line of more than {MAX_RECORD_BYTES >> 20} MiB; "
                "expected records, one a line"
            )
        count += len(lines)
        if count > MAX_LINES:
            raise CacheError(
                f"{path} has more than {MAX_LINES:,} lines; expected records, one a line"
            )
        for line in lines:
            yield line.decode("utf-8", "replace")
    if rest:
        yield rest.decode("utf-8", "replace")


def read_json_lines(path: Path) -> Iterator[tuple[int, Record]]:
    """Yield the number and the JSON value of each line of a file; None where it is not JSON.

    Raises:
        CacheError: As `read_lines`.
    """
    for number, line in enumerate(read_lines(path), start=1):
        try:
            yield number, parse_json(line.encode())
        except (ValueError, RecursionError):
            yield number, cast(Record, None)


def _limited_chunks(path: Path) -> Iterator[bytes]:
    total = 0
    for chunk in _unpacked_chunks(path):
        total += len(chunk)
        if total > MAX_FILE_UNPACKED_BYTES:
            raise CacheError(
                f"{path} unpacks to more than {MAX_FILE_UNPACKED_BYTES >> 20} MiB; "
                "expected the records of a run"
            )
        yield chunk


def _unpacked_chunks(path: Path) -> Iterator[bytes]:
    with open_file(path, MAX_FILE_BYTES) as file:
        if not path.name.endswith(PACKED_SUFFIX):
            while chunk := file.read(_CHUNK_BYTES):
                yield chunk
            return
        unpacker = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_READER_MEMORY)
        try:
            while not unpacker.eof:
                packed = file.read(_CHUNK_BYTES) if unpacker.needs_input else b""
                if unpacker.needs_input and not packed:
                    raise CacheError(f"{path} is cut off; expected a whole xz file")
                yield unpacker.decompress(packed, _CHUNK_BYTES)
        except lzma.LZMAError as error:
            raise CacheError(f"{path} is no xz file ({error}); expected records") from error
        # Bytes after the end are in no record and in no root.
        if unpacker.unused_data or file.read(1):
            raise CacheError(f"{path} goes on after the end of its records; expected nothing")


def record_files(folder: Path) -> list[Path]:
    """Return the files of a bundle with records, plain and compressed, sorted."""
    records = folder / "records"
    return sorted(path for pattern in RECORD_FILE_PATTERNS for path in records.glob(pattern))
