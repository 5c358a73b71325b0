"""Whether a worker sees the driver's folders: tested by files with a random content, not configured."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from advtransfer import files


@dataclass(frozen=True, slots=True)
class FolderMarks:
    """Files that the driver wrote into its folders, and their content."""

    paths: tuple[Path, ...]
    content: str

    def are_visible(self) -> bool:
        """Return whether this process sees all of them."""
        return all(_read_text(path) == self.content for path in self.paths)


@contextmanager
def mark_folders(*folders: Path) -> Iterator[FolderMarks]:
    """Mark folders while the code inside runs; a mark that a killed driver leaves is swept as its other files are."""
    content = secrets.token_hex(16)
    paths = tuple(files.temporary_path(folder / "shared") for folder in folders)
    try:
        for path in paths:
            path.write_text(content)
        yield FolderMarks(tuple(path.absolute() for path in paths), content)
    finally:
        for path in paths:
            path.unlink(missing_ok=True)


def _read_text(path: Path) -> str | None:
    try:
        return path.read_text()
    except (OSError, ValueError):
        return None
