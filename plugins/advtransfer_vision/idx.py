"""MNIST's own file format, IDX, read from the packed files, so that a folder that cannot be written serves as it is."""

from __future__ import annotations

import gzip
import hashlib
import math
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from advtransfer_vision.faults import fault

UNSIGNED_BYTES = b"\x00\x00\x08"  # how a file of uint8 begins


def read(path: Path, *, md5: str) -> Tensor:
    """The uint8 array in a ``.gz`` file of IDX, of whatever shape it says.

    Raises:
        BadInput: The file is not the official one.
    """
    packed = path.read_bytes()
    found = hashlib.md5(packed, usedforsecurity=False).hexdigest()
    if found != md5:
        next_step = "fetch the file again, from torchvision's address (`download: true` in an empty folder)"
        raise fault(f"{str(path)!r} with md5 {found}", expected=f"the official one, {md5}", next_step=next_step)
    content = gzip.decompress(packed)
    dimensions = content[3]
    start = 4 + 4 * dimensions
    shape = tuple(int.from_bytes(content[at : at + 4], "big") for at in range(4, start, 4))
    if not content.startswith(UNSIGNED_BYTES) or len(content) != start + math.prod(shape):
        raise fault(f"{str(path)!r} of another format", expected="IDX of unsigned bytes", next_step="fetch it again")
    array = np.frombuffer(content, np.uint8, offset=start).reshape(shape)
    return torch.from_numpy(array.copy())
