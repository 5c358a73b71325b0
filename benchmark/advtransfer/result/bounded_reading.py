"""Reading of files from elsewhere: size, depth and expansion are limited before anything is parsed.

A small file can ask for much: JSON nested 10^5 deep exhausts the stack, a kilobyte of zlib unpacks to
a megabyte, and a header can state 10^12 values. Every limit here is checked on bytes that are already
bounded, so that a refusal costs little time and memory.
"""

from __future__ import annotations

import binascii
import json
import os
import re
import stat
import struct
import zipfile
import zlib
from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from advtransfer.errors import CacheError
from advtransfer.result.record_lines import unpacked_file

if TYPE_CHECKING:
    import numpy.typing as npt

MAX_RECORD_BYTES = 8 * 2**20
"""Size of one record. Parsed JSON takes up to 25 times its text."""

MAX_FILE_BYTES = 256 * 2**20
"""Size of a plan or of a file of many records."""

MAX_LINES = 200_000
"""Number of records in one file."""

MAX_REFUSED_LINES = 1000
"""Number of lines that are no JSON, after which a file is no file of records."""

MAX_JSON_DEPTH = 64

MAX_ARRAYS = 16
"""Number of arrays in an ``.npz`` file."""

MAX_NPY_HEADER_BYTES = 2**12
"""Bytes of an array's file that are read for its header; numpy writes 128."""

ZIP64_LOCATOR = struct.Struct("<4s16x")
"""Signature; stands before the end of a zip file of more than 4 GiB or 65,535 files."""

ZIP_END = struct.Struct("<4s6xHI4xH")
"""End of a zip file: signature, number of files, bytes of their list, length of a comment."""

MAX_HEADER_BYTES = 2**20
"""Size of the header of a ``.safetensors`` file; a larger one describes more than test images."""

# Possessive, and an open string ends with the text: linear in the length of any input.
JSON_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+(?:"|\Z)', re.DOTALL)
NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
NOT_BRACKETS_OR_QUOTES = bytes(set(NOT_BRACKETS) - set(b'"'))


class RepeatedKeyError(ValueError):
    """A JSON object with a key twice, of which a reader would see the last value alone."""


def read_bytes(path: Path, *, limit: int = MAX_FILE_BYTES) -> bytes:
    """Return the content of a regular file that is no link.

    Raises:
        CacheError: It is a link, no regular file, larger than `limit` bytes, or cannot be read.
    """
    with _open_file(path, limit) as file:
        # Not up to the limit at once, for which Python would make room.
        size = os.fstat(file.fileno()).st_size
        content = file.read(size + 1)
        if len(content) > size:  # The file has grown meanwhile.
            content += file.read(limit + 1 - len(content))
    _require_size(path, len(content), limit)
    return content


def read_json(path: Path, *, limit: int = MAX_FILE_BYTES) -> Any:  # noqa: ANN401  # Any: JSON
    """Return the JSON value in a file.

    Raises:
        CacheError: As `read_bytes`; or it is not JSON, nested deeper than `MAX_JSON_DEPTH`, or has a key twice.
    """
    content = read_bytes(path, limit=limit)
    try:
        return parse_json(content)
    except RepeatedKeyError as error:
        raise CacheError(f"{path}: {error}") from error
    except (ValueError, RecursionError) as error:
        raise CacheError(f"{path} is not JSON ({error}); delete it and run again") from error


def iter_json_lines(
    path: Path, *, limit: int = MAX_FILE_BYTES, line_limit: int = MAX_RECORD_BYTES
) -> Iterator[tuple[int, Any]]:  # Any: JSON
    """Yield the number and the JSON value of each line; None where it is not JSON or too long.

    Raises:
        CacheError: As `read_bytes`; or an object of a line has a key twice.
    """
    with _open_file(path, limit) as packed:
        file = unpacked_file(packed, path, limit=limit)
        number, refused = 0, 0
        while line := file.readline(line_limit + 1):
            number += 1
            is_whole = len(line) <= line_limit
            while not is_whole and not line.endswith(b"\n") and line:
                line = file.readline(line_limit + 1)  # The rest is read past, not kept.
            try:
                value = parse_json(line) if is_whole else None
            except RepeatedKeyError as error:
                raise CacheError(f"{path}:{number}: {error}") from error
            except (ValueError, RecursionError):
                value = None
            refused += value is None
            if number > MAX_LINES or refused > MAX_REFUSED_LINES:
                raise CacheError(
                    f"{path} has more than {MAX_LINES:,} lines, or {MAX_REFUSED_LINES:,} that are no "
                    "JSON; expected records, one a line"
                )
            yield number, value


def parse_json(content: bytes) -> Any:  # noqa: ANN401  # Any: JSON
    """Return the value of a JSON text of at most `MAX_JSON_DEPTH` levels.

    Raises:
        RepeatedKeyError: An object has a key twice.
        ValueError: It is not JSON in UTF-8, or nested too deep.
    """
    if _is_deeper(content, MAX_JSON_DEPTH):
        raise ValueError(f"nested deeper than {MAX_JSON_DEPTH} levels, or unbalanced")
    return json.loads(content.decode("utf-8"), object_pairs_hook=_object_of_pairs)


def _object_of_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:  # Any: JSON
    """Return the object of these keys and values; a reader would see one of several values of a key."""
    value = dict(pairs)
    if len(value) < len(pairs):
        key, _ = Counter(key for key, _ in pairs).most_common(1)[0]
        raise RepeatedKeyError(
            f"found the key {key[:80]!r} twice in one object; expected it once; "
            "ask its author which value is meant"
        )
    return value


def _is_deeper(content: bytes, depth: int) -> bool:
    """Return whether brackets are nested deeper than about `depth`, or do not match."""
    if content.count(b"[") + content.count(b"{") <= depth:
        return False
    if b"\\" not in content:
        # Most strings hold no bracket. Without escapes, quotes next to each other can go, also the
        # end of one string with the begin of the next: what is inside of strings stays inside.
        content = content.translate(None, NOT_BRACKETS_OR_QUOTES).replace(b'""', b"")
    brackets = JSON_STRING.sub(b"", content).translate(None, NOT_BRACKETS)
    for _ in range(depth):
        if not brackets:
            break
        # Each round removes the innermost level, or two where lists and mappings alternate.
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
    return bool(brackets)


def unpack_zlib(text: str, *, size: int) -> bytes:
    """Return exactly `size` bytes that a base64 text holds, compressed by zlib.

    Raises:
        ValueError: The text is not base64 of zlib, or unpacks to more or fewer bytes.
    """
    try:
        unpacker = zlib.decompressobj()
        # One byte more than stated is enough to see that there is more.
        unpacked = unpacker.decompress(b64decode(text, validate=True), size + 1)
    except (binascii.Error, zlib.error) as error:
        raise ValueError(f"that cannot be unpacked ({error})") from error
    if len(unpacked) != size or not unpacker.eof:
        raise ValueError("of another length")
    return unpacked


def read_npz(
    path: Path,
    kinds: Mapping[str, str],
    *,
    limit: int = MAX_FILE_BYTES,
    check_shapes: Callable[[Mapping[str, tuple[int, ...]]], None] | None = None,
) -> dict[str, npt.NDArray[Any]]:  # Any: the caller names the types
    """Return the arrays of an ``.npz`` file, without pickles.

    Args:
        path: The file.
        kinds: The dtype that each array must have, by name, such as ``float32``; no other arrays
            may be there.
        limit: Largest size in bytes of the file, and of all arrays unpacked.
        check_shapes: Called with the shape that each array states, before any is unpacked; it may raise.

    Raises:
        CacheError: The file is a link, larger than the limit, or holds anything else.
    """
    try:
        with _open_file(path, limit) as file:
            _require_small_directory(file)
            return _read_arrays(file, kinds, limit, check_shapes)
    except (ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error, OSError) as error:
        expected = ", ".join(f"{name} ({kind})" for name, kind in kinds.items())
        raise CacheError(
            f"found {str(path)!r}, which is refused ({error}); expected an .npz with {expected}; "
            "save these arrays with numpy.savez"
        ) from error
    except (NotImplementedError, RuntimeError) as error:  # Encrypted, or another compression.
        raise CacheError(
            f"found {str(path)!r}, which zipfile cannot read ({error}); expected an .npz of numpy; "
            "save it with numpy.savez"
        ) from error


def _require_small_directory(file: IO[bytes]) -> None:
    """Refuse an archive whose list of files is long: zipfile would read all of it."""
    end = ZIP64_LOCATOR.size + ZIP_END.size
    file.seek(-min(end, file.seek(0, os.SEEK_END)), os.SEEK_END)
    content = file.read().rjust(end)
    (locator,) = ZIP64_LOCATOR.unpack_from(content)
    signature, count, size, comment = ZIP_END.unpack_from(content, ZIP64_LOCATOR.size)
    if signature != b"PK\5\6" or comment or locator == b"PK\6\7":
        raise ValueError("it is not a zip file as numpy writes it")
    if count > MAX_ARRAYS or size > MAX_HEADER_BYTES:
        raise ValueError(f"it holds {count:,} files")


def _read_arrays(
    file: IO[bytes],
    kinds: Mapping[str, str],
    limit: int,
    check_shapes: Callable[[Mapping[str, tuple[int, ...]]], None] | None,
) -> dict[str, npt.NDArray[Any]]:  # Any: the caller names the types
    with zipfile.ZipFile(file) as archive:
        members = archive.infolist()
        names = sorted(member.filename for member in members)
        expected = sorted(f"{name}.npy" for name in kinds)
        if len(members) > MAX_ARRAYS or names != expected:
            raise ValueError(f"it holds {len(names)} files: {str(names[:MAX_ARRAYS])[:200]}")
        shapes: dict[str, tuple[int, ...]] = {}
        for name, kind in kinds.items():
            with archive.open(f"{name}.npy") as member:
                shapes[name], _ = _array_header(member, kind)
        if check_shapes is not None:
            check_shapes(shapes)
        total = sum(member.file_size for member in members)
        if total > limit:
            raise ValueError(f"its arrays take {total:,} bytes unpacked, above {limit:,}")
        arrays: dict[str, npt.NDArray[Any]] = {}
        for name, kind in kinds.items():
            with archive.open(f"{name}.npy") as member:
                arrays[name] = _read_array(member, kind, limit)
    return arrays


def _array_header(file: IO[bytes], kind: str) -> tuple[tuple[int, ...], bytes]:
    """Return the shape that an array states, and the bytes of its content that are read already."""
    from io import BytesIO

    import numpy as np
    from numpy.lib import format as npy

    # numpy would read as many bytes of header as the file states.
    begin = BytesIO(file.read(MAX_NPY_HEADER_BYTES))
    version = npy.read_magic(begin)
    if version == (1, 0):
        shape, is_fortran, dtype = npy.read_array_header_1_0(begin)
    elif version == (2, 0):
        shape, is_fortran, dtype = npy.read_array_header_2_0(begin)
    else:
        raise ValueError(f"an array is of the format {version}")
    if dtype != np.dtype(kind) or is_fortran:
        raise ValueError(f"an array is {dtype}, expected {kind} in C order")
    return shape, begin.read()


def _read_array(file: IO[bytes], kind: str, limit: int) -> npt.NDArray[Any]:  # Any: `kind`
    import numpy as np

    shape, begin = _array_header(file, kind)
    size = np.dtype(kind).itemsize
    for length in shape:  # In Python integers, which do not overflow.
        size *= length
    if not 0 <= size <= limit:
        raise ValueError(f"an array states {size:,} bytes, above {limit:,}")
    data = begin + file.read(max(0, size + 1 - len(begin)))
    if len(data) != size:
        raise ValueError(f"an array states {size:,} bytes and has another number")
    return np.frombuffer(data, dtype=kind).reshape(shape)


def check_safetensors(path: Path, *, limit: int = MAX_FILE_BYTES) -> None:
    """Refuse a ``.safetensors`` file whose header is too large, too deep, or states other sizes.

    Its tensors are not compressed, so a file of bounded size is safe to read after this.

    Raises:
        CacheError: The file is refused.
    """
    try:
        with _open_file(path, limit) as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
            if length > min(MAX_HEADER_BYTES, size - 8):
                raise ValueError(f"its header states {length:,} bytes")
            header = parse_json(file.read(length))
        _check_tensors(header, size - 8 - length)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise CacheError(
            f"found {str(path)!r}, which is refused ({error}); expected tensors of the file's size; "
            "write it with safetensors"
        ) from error


def _check_tensors(header: Mapping[str, Any], data_bytes: int) -> None:  # Any: JSON
    ends = [tensor["data_offsets"][1] for name, tensor in header.items() if name != "__metadata__"]
    if any(type(end) is not int for end in ends) or max(ends, default=0) != data_bytes:
        raise ValueError("its tensors end elsewhere than the file")


def _open_file(path: Path, limit: int) -> IO[bytes]:
    """Open a regular file of at most `limit` bytes; a link as the last part is not followed."""
    # O_NONBLOCK: opening a named pipe would wait for a writer.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
    try:
        descriptor = os.open(path, flags)
    except OSError as error:
        if path.is_symlink():
            raise CacheError(
                f"found {str(path)!r}, a link; expected a file or folder of its own; replace it by one"
            ) from error
        raise CacheError(
            f"{path} cannot be read ({error.strerror}); delete it and run again"
        ) from error
    status = os.fstat(descriptor)
    try:
        if not stat.S_ISREG(status.st_mode):
            raise CacheError(f"{path} cannot be read (it is no file); delete it and run again")
        _require_size(path, status.st_size, limit)
        return os.fdopen(descriptor, "rb")
    except CacheError:
        os.close(descriptor)
        raise


def _require_size(path: Path, size: int, limit: int) -> None:
    if size > limit:
        raise CacheError(
            f"found {str(path)!r} of {size:,} bytes; expected at most {limit:,}; "
            "ask its author for a smaller one"
        )
