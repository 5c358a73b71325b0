"""What is said when the run folder or the cache cannot be written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from advtransfer.cache import Cache
from advtransfer.errors import BadInput, Problem
from advtransfer.files import REFUSALS


@contextmanager
def writing_run(folder: Path) -> Iterator[None]:
    """Inside, a disk that refuses to be written becomes a message; what was recorded before it stays.

    Raises:
        BadInput: The disk is full or read-only, or there is no permission.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in REFUSALS:
            raise
        found = f"no way to write {str(error.filename2 or error.filename or folder)!r} ({error.strerror})"
        next_step = "make room there, or choose another folder with --runs; what is recorded stays"
        raise BadInput([Problem(found, "room and permission in the run folder", next_step)]) from error


def usable_cache(root: Path, *, line: str, run: Path) -> tuple[Path, Path | None, str | None]:
    """Where a run keeps what it builds, where else it looks, and what is to be said of that.

    A cache that can be read only, such as another user's, still serves: what is built goes beside the records.

    Raises:
        BadInput: There is no such folder, and it cannot be made.
    """
    refused = Cache(root, line=line).refusal()
    if refused is None:
        return root, None, None
    if not root.is_dir():
        next_step = "set ADVTRANSFER_CACHE to a folder that can be"
        raise BadInput([Problem(f"no cache at {str(root)!r} ({refused})", "a folder that can be made", next_step)])
    own = run / "cache"
    told = (
        f"the cache {root} cannot be written ({refused}): it is read, and what is built goes to {own}; "
        "set ADVTRANSFER_CACHE to a folder of your own"
    )
    return own, root, told
