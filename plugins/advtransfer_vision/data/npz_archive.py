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
from typing import Any, TypeAlias

import numpy as np

from advtransfer.toolkit.file_digests import cached_while_unchanged
from advtransfer_vision.data.messages import data_error

Array: TypeAlias = "np.ndarray[tuple[int, ...], np.dtype[Any]]"  # Any: the file says of what
LOCAL_HEADER_BYTES = 30  # bytes of a zip entry's own header before its name
READ_BYTES = 2**20
READ_ERRORS = (
    ValueError,
    OSError,
    EOFError,
    OverflowError,  # a shape beyond all numbers
    NotImplementedError,  # a compression that Python does not know
    RuntimeError,  # an encrypted entry
    SyntaxError,  # a header that is no literal, as are the three after it
    TypeError,
    KeyError,
    tokenize.TokenError,
    struct.error,
    lzma.LZMAError,
    zlib.error,
    zipfile.BadZipFile,
)
"""What zipfile and NumPy raise for entries that are damaged, or are no arrays of numbers and text."""


@dataclass(frozen=True, slots=True)
class NpzArchive:
    """The arrays of one file, by key."""

    path: Path

    def keys(self) -> list[str]:
        """The arrays there are, in the order of the file.

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
        if twice := sorted({name for name in names if names.count(name) > 1}):
            found = f"two arrays {twice[0]!r} in {str(self.path)!r}"
            raise data_error(found, expected="one of each name", next_step="write the file again")
        return names

    def __contains__(self, key: str) -> bool:
        return key in self.keys()

    def __getitem__(self, key: str) -> Array:
        """The array; mapped where the archive holds it uncompressed (`numpy.savez`), else read (`savez_compressed`).

        Raises:
            BadInput: It is not there, is damaged, or is an array of Python objects.
        """
        if key not in self:
            there = ", ".join(self.keys()) or "none"
            found = f"no array {key!r} in {str(self.path)!r} (there are {there})"
            raise data_error(
                found,
                expected="it",
                next_step="name the arrays with the options x_train, y_train ...",
            )
        try:
            return self._read_array(key)
        except MemoryError as error:
            found = f"array {key!r} of {str(self.path)!r}, which is larger than the memory"
            next_step = "write it with numpy.savez: what is stored without compression is not read as a whole"
            raise data_error(found, expected="an array that fits", next_step=next_step) from error
        except READ_ERRORS as error:
            found = f"array {key!r} of {str(self.path)!r}, which cannot be read ({error})"
            expected = "an intact array of numbers or text (Python objects are pickles, which may run code)"
            raise data_error(found, expected=expected, next_step="write the file again") from error

    def _read_array(self, key: str) -> Array:
        with zipfile.ZipFile(self.path) as file:
            entry = file.getinfo(f"{key}.npy")
        mapped = _map_array(self.path, entry) if entry.compress_type == zipfile.ZIP_STORED else None
        if mapped is not None:
            cached_while_unchanged(
                f"crc 1 of {key} in {self.path.absolute()}",
                [self.path],
                lambda: self._check_entry(entry),
            )
            return mapped
        with np.load(self.path, allow_pickle=False) as arrays:
            array: Array = arrays[key]
        return array

    def _check_entry(self, entry: zipfile.ZipInfo) -> str:
        """Read an entry through, which holds it to its checksum."""
        with zipfile.ZipFile(self.path) as file, file.open(entry) as content:
            while content.read(READ_BYTES):
                pass
        return "intact"


def _map_array(path: Path, entry: zipfile.ZipInfo) -> Array | None:
    """The stored entry as an array over the file, copied on write; None where it must be read after all.

    Raises:
        ValueError: Its array is longer or shorter than the entry.
    """
    with path.open("rb") as file:
        file.seek(entry.header_offset)
        name, extra = struct.unpack("<HH", file.read(LOCAL_HEADER_BYTES)[-4:])
        file.seek(name + extra, 1)
        start = file.tell()
        version = np.lib.format.read_magic(file)
        readers = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        if version not in readers:
            return None
        shape, fortran, dtype = readers[version](file)
        if dtype.hasobject or 0 in shape:
            return None
        bytes_there = entry.file_size - (file.tell() - start)
        if math.prod(shape) * dtype.itemsize != bytes_there:
            raise ValueError(f"an array of shape {shape} and type {dtype} in {bytes_there} bytes")
        array: Array = np.memmap(
            path, dtype, mode="c", offset=file.tell(), shape=shape, order="F" if fortran else "C"
        )
        return array
