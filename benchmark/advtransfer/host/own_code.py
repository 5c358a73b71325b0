"""Digest of the host's own code, for files that only the very code that wrote them may use."""

from __future__ import annotations

import hashlib
import os
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[1]


@cache
def own_code_digest() -> bytes:
    """Return the digest of every Python file of this package and its name."""
    digest = hashlib.sha256()
    for folder, folders, files in os.walk(PACKAGE):
        folders.sort()
        for name in sorted(files):
            if name.endswith(".py"):
                path = os.path.join(folder, name)  # noqa: PTH118  # ten times as fast as a Path
                with open(path, "rb") as file:  # noqa: PTH123  # likewise
                    content = file.read()
                digest.update(f"{os.path.relpath(path, PACKAGE)} {len(content)}\n".encode())
                digest.update(content)
    return digest.digest()
