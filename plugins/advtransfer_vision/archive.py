"""NumPy archives (``.npz``), read without pickles; arrays stored without compression are mapped, not read."""

from __future__ import annotations

import struct
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from advtransfer_vision.faults import fault

Array: TypeAlias = "np.ndarray[tuple[int, ...], np.dtype[Any]]"  # Any: the file says of what
LOCAL_HEADER = 30  # bytes of a zip entry's own header before its name


@dataclass(frozen=True, slots=True)
class Archive:
    """The arrays of one file, by key."""

    path: Path

    def keys(self) -> list[str]:
        """The arrays there are, in the order of the file.

        Raises:
            BadInput: The file is not an archive.
        """
        try:
            with zipfile.ZipFile(self.path) as file:
                return [name.removesuffix(".npy") for name in file.namelist() if name.endswith(".npy")]
        except (zipfile.BadZipFile, OSError) as error:
            next_step = "write it with numpy.savez, or numpy.savez_compressed"
            raise fault(f"{str(self.path)!r} ({error})", expected="a NumPy archive", next_step=next_step) from error

    def __contains__(self, key: str) -> bool:
        return key in self.keys()

    def __getitem__(self, key: str) -> Array:
        """The array; mapped where the archive holds it uncompressed (`numpy.savez`), else read (`savez_compressed`).

        Raises:
            BadInput: It is not there, is damaged, or is an array of Python objects.
        """
        if key not in self:
            found = f"no array {key!r} in {str(self.path)!r} (there are {', '.join(self.keys())})"
            raise fault(found, expected="it", next_step="name the arrays with the options x_train, y_train ...")
        try:
            return self._array(key)
        except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            found = f"array {key!r} of {str(self.path)!r}, which cannot be read ({error})"
            expected = "an intact array of numbers or text (Python objects are pickles, which may run code)"
            raise fault(found, expected=expected, next_step="write the file again") from error

    def _array(self, key: str) -> Array:
        with zipfile.ZipFile(self.path) as file:
            entry = file.getinfo(f"{key}.npy")
        mapped = _mapped(self.path, entry) if entry.compress_type == zipfile.ZIP_STORED else None
        if mapped is not None:
            return mapped
        with np.load(self.path, allow_pickle=False) as arrays:
            array: Array = arrays[key]
        return array


def _mapped(path: Path, entry: zipfile.ZipInfo) -> Array | None:
    """The stored entry as an array over the file, copied on write; None where it must be read after all."""
    with path.open("rb") as file:
        file.seek(entry.header_offset)
        name, extra = struct.unpack("<HH", file.read(LOCAL_HEADER)[-4:])
        file.seek(name + extra, 1)
        version = np.lib.format.read_magic(file)
        readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
        if version not in readers:
            return None
        shape, fortran, dtype = readers[version](file)
        if dtype.hasobject or 0 in shape:
            return None
        array: Array = np.memmap(path, dtype, mode="c", offset=file.tell(), shape=shape, order="F" if fortran else "C")
        return array
