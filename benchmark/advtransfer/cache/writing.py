"""What is said when the cache cannot be written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from advtransfer.errors import CacheError


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Inside, a system's error becomes a CacheError that says what to do."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise CacheError(
            f"could not write {str(path)!r}: {error}; expected room and permission there; "
            "remove what is not used, or point ADVTRANSFER_CACHE to another disk"
        ) from error
