"""Files and folders that a suite names: where they lie on this machine, and the sha256 of what is in them."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

from advtransfer import digests
from advtransfer.errors import BadInput
from advtransfer.options import Content as ContentKind
from advtransfer.suite import expect
from advtransfer.suite.marked import Marked
from advtransfer.suite.problems import Problems


class Content(NamedTuple):
    """What is in a file or folder, and where that was found."""

    sha256: str
    path: str


class Contents:
    """Finds content under ADVTRANSFER_DATA, then beside the suite, and digests each once."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._digest = cache(digests.of)

    def find(self, value: Marked, *, what: ContentKind, declared: Marked | None) -> Content | None:
        """The content that a path means; `declared` is a sha256 that spares the reading, and is checked by the run."""
        name = expect.text(value, expected=f"the path of a {what}", problems=self._problems)
        path = self._path(name, value, what) if name else None
        if path is None:
            return None
        if declared is None:
            return self._read(path, value)
        if isinstance(declared.value, str) and re.fullmatch(r"[0-9a-f]{64}", declared.value):
            return Content(declared.value, str(path))
        next_step = f"`sha256sum {path}` computes it"
        expect.wrong(declared, expected="64 hexadecimal digits", next_step=next_step, problems=self._problems)
        return None

    def _read(self, path: Path, value: Marked) -> Content | None:
        try:
            return Content(self._digest(path), str(path))
        except BadInput as error:
            for one in error.problems:
                self._problems.add(value.mark, found=one.found, expected=one.expected, next_step=one.next_step)
            return None

    def _path(self, name: str, value: Marked, what: ContentKind) -> Path | None:
        data = os.environ.get("ADVTRANSFER_DATA")
        folders = [*([Path(data)] if data else []), Path(value.mark.file).parent]
        for path in (folder / name for folder in folders):
            if _is_there(path, what):
                return path.resolve()
        searched = " or ".join(str(folder.resolve()) for folder in folders)
        next_step = (
            "correct the path" if data else "set ADVTRANSFER_DATA to the folder that holds it, or correct the path"
        )
        expect.wrong(value, expected=f"a {what} in {searched}", next_step=next_step, problems=self._problems)
        return None


def _is_there(path: Path, what: ContentKind) -> bool:
    try:
        return path.is_file() if what == "file" else path.is_dir()
    except OSError:  # a name that is too long, or a folder above it that may not be searched
        return False
