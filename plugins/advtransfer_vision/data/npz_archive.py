"""NumPy archives (``.npz``), read without pickles; arrays stored without compression are mapped, not read."""

from __future__ import annotations

import lzma
import math
import struct
import tokenize
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from advtransfer.toolkit.file_digests import cached_while_unchanged
from advtransfer_vision.data.messages import data_error

Array: TypeAlias = "np.ndarray[tuple[int, ...], np.dtype[Any]]"  # Any: the file says of what
LOCAL_HEADER_BYTES = 30
"""Size of a zip entry's local header before the entry's name."""
READ_BYTES = 2**20
READ_ERRORS = (
    ValueError,
    OSError,
    EOFError,
    OverflowError,  # a shape beyond the largest integer
    NotImplementedError,  # a compression that Python does not support
    RuntimeError,  # an encrypted entry
    # A header that is no Python literal raises one of these four.
    SyntaxError,
    TypeError,
    KeyError,
    tokenize.TokenError,
    struct.error,
    lzma.LZMAError,
    zlib.error,
    zipfile.BadZipFile,
)
"""Errors of zipfile and NumPy for entries that are damaged, or are no arrays of numbers or text."""


@dataclass(frozen=True, slots=True)
class NpzArchive:
    """The arrays of one file, by key."""

    path: Path

    def keys(self) -> list[str]:
        """Return the keys of all arrays, in the order of the file.

        Raises:
            BadInput: The file is not an archive, or holds two arrays of one name.
        """
        try:
            with zipfile.ZipFile(self.path) as file:
                names = [
                    name.removesuffix(".npy") for name in file.namelist() if name.endswith(".npy")
                ]
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            next_step = "write it with numpy.savez, or numpy.savez_compressed"
            raise data_error(
                f"{str(self.path)!r} ({error})", expected="a NumPy archive", next_step=next_step
            ) from error
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            found = f"two arrays {repeated[0]!r} in {str(self.path)!r}"
            raise data_error(found, expected="one of each name", next_step="write the file again")
        return names

    def __contains__(self, key: str) -> bool:
        return key in self.keys()

    def __getitem__(self, key: str) -> Array:
        """Return an array: mapped if stored uncompressed (`numpy.savez`), else read (`savez_compressed`).

        Raises:
            BadInput: The array is missing, damaged, or holds Python objects.
        """
        keys = self.keys()
        if key not in keys:
            raise data_error(
                f"no array {key!r} in {str(self.path)!r} (there are {', '.join(keys) or 'none'})",
                expected="it",
                next_step="name the arrays with the options x_train, y_train ...",
            )
        try:
            return self._read_array(key)
        except MemoryError as error:
            found = f"array {key!r} of {str(self.path)!r}, which is larger than the memory"
            next_step = "write it with numpy.savez: arrays stored without compression are not read as a whole"
            raise data_error(found, expected="an array that fits", next_step=next_step) from error
        except READ_ERRORS as error:
            found = f"array {key!r} of {str(self.path)!r}, which cannot be read ({error})"
            expected = "an intact array of numbers or text (Python objects are pickles, which may run code)"
            raise data_error(found, expected=expected, next_step="write the file again") from error

    def _read_array(self, key: str) -> Array:
        with zipfile.ZipFile(self.path) as file:
            entry = file.getinfo(f"{key}.npy")
        mapped = _map_array(self.path, entry) if entry.compress_type == zipfile.ZIP_STORED else None
        if mapped is None:
            # Pickles may run code.
            with np.load(self.path, allow_pickle=False) as arrays:
                array: Array = arrays[key]
            return array
        # A mapping bypasses zipfile's checksum, so the entry is read through once.
        cached_while_unchanged(
            f"crc 1 of {key} in {self.path.absolute()}",
            [self.path],
            lambda: self._check_entry(entry),
        )
        return mapped

    def _check_entry(self, entry: zipfile.ZipInfo) -> str:
        """Read an entry to its end, where zipfile compares its checksum."""
        with zipfile.ZipFile(self.path) as file, file.open(entry) as content:
            while content.read(READ_BYTES):
                pass
        return "intact"


def _map_array(path: Path, entry: zipfile.ZipInfo) -> Array | None:
    """Map the array of an uncompressed entry, copied on write; return None if it cannot be mapped.

    Raises:
        ValueError: The array is longer or shorter than the entry.
    """
    readers = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    with path.open("rb") as file:
        # The name and the extra field may be longer here than in the zip's directory, from which
        # the offset of the content can therefore not be computed.
        file.seek(entry.header_offset)
        name_length, extra_length = struct.unpack("<HH", file.read(LOCAL_HEADER_BYTES)[-4:])
        file.seek(name_length + extra_length, 1)
        start = file.tell()
        version = np.lib.format.read_magic(file)
        if version not in readers:
            return None
        shape, is_fortran, dtype = readers[version](file)
        offset = file.tell()
    # Python objects are pickles, and NumPy cannot map an empty array.
    if dtype.hasobject or 0 in shape:
        return None
    content_bytes = entry.file_size - (offset - start)
    if math.prod(shape) * dtype.itemsize != content_bytes:
        raise ValueError(f"an array of shape {shape} and type {dtype} in {content_bytes} bytes")
    order: Literal["F", "C"] = "F" if is_fortran else "C"
    array: Array = np.memmap(path, dtype, mode="c", offset=offset, shape=shape, order=order)
    return array
