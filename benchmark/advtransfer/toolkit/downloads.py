"""One download at a time on this machine, whatever the number of workers and runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from advtransfer.cache import Cache
from advtransfer.files import default_cache_root
from advtransfer.node import text_sha256


@contextmanager
def download_lock(name: str) -> Iterator[None]:
    """Inside, no other process of this user is in the same block with the same name.

    Args:
        name: What is downloaded, and where to.

    Raises:
        Busy: Another process is downloading it; a run tries the job again later.
    """
    with Cache(default_cache_root(), line="downloads").hold_lock(text_sha256(name)):
        yield
