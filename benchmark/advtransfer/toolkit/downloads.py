"""A lock for downloads, which allows one at a time whatever the number of workers and runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from advtransfer.cache import Cache
from advtransfer.files import default_cache_root
from advtransfer.node import text_sha256


@contextmanager
def download_lock(name: str) -> Iterator[None]:
    """Keep other processes of this user out of blocks with the same name.

    Args:
        name: The name of the download: its source and its destination.

    Raises:
        Busy: Another process is downloading it; a run tries the job again later.
    """
    with Cache(default_cache_root(), line="downloads").hold_lock(text_sha256(name)):
        yield
