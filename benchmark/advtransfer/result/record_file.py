"""One record's file: its JSON, and the fault that keeps it from being believed."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import cast

from advtransfer.errors import CacheError
from advtransfer.result.bounded_reading import MAX_FILE_BYTES, MAX_RECORD_BYTES, read_json
from advtransfer.result.record import Record
from advtransfer.result.validation import path_without_links, record_fault


def load_json_object(path: Path, *, limit: int = MAX_FILE_BYTES) -> Record:
    """Return the JSON object in a file of at most `limit` bytes.

    Raises:
        CacheError: The file cannot be read, is too large, or holds no JSON object.
    """
    value = read_json(path, limit=limit)
    if not isinstance(value, dict):
        raise CacheError(
            f"{path} holds {type(value).__name__}, expected a JSON object; delete it and run again"
        )
    return cast(Record, value)


def examine_record(path: Path, run: Path) -> tuple[Record | None, str | None]:
    """Return the record in a file of a run folder and None, or None and its fault."""
    try:
        path_without_links(run, path)
        path.stat()
    except (CacheError, OSError) as error:
        return None, f"found a file that cannot be read ({error}); expected a record"
    try:
        record = load_json_object(path, limit=MAX_RECORD_BYTES)
    except CacheError as error:
        return None, f"found what is no record ({error}); expected one"
    fault = record_fault(record, id=path.stem)
    return (None, fault) if fault else (record, None)


def file_fault(path: Path, run: Path) -> str | None:
    """Return the fault of the record in a file, or None; validate again only a changed file."""
    try:
        path_without_links(run, path)
        state = path.stat()
    except (CacheError, OSError) as error:
        return f"found a file that cannot be read ({error}); expected a record"
    return _cached_file_fault(path, run, state.st_mtime_ns, state.st_size, state.st_ino)


@lru_cache(maxsize=1024)
def _cached_file_fault(path: Path, run: Path, *state: int) -> str | None:
    return examine_record(path, run)[1]
