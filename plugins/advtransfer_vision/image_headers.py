"""The headers of image files, read before anything is trained: what is no image is found at once, and all of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from advtransfer.digests import remembered
from advtransfer.errors import BadInput, Problem
from advtransfer_vision.framing import FORMATS, Framing, check_size, opened

MOST_PROBLEMS = 10
"""Files that are told by name; of more, only the count is."""


def check_headers(folder: Path, names: Sequence[str], framing: Framing) -> None:
    """Refuse files that are no images of 8 bits a channel; files that were found in order are not opened again.

    Damage behind the header is found when an image is decoded.

    Raises:
        BadInput: There are such files; names the first of them.
    """

    def read() -> str:
        problems = [problem for name in names for problem in _problems(folder / name, framing)]
        if len(problems) > MOST_PROBLEMS:
            more = f"{len(problems) - MOST_PROBLEMS} more files of {str(folder)!r} that are no such images"
            problems[MOST_PROBLEMS:] = [Problem(more, "images of 8 bits a channel", "remove or convert them")]
        if problems:
            raise BadInput(problems)
        return "images"

    what = f"image headers 1 ({', '.join(FORMATS)}; {framing}) below {folder.absolute()}"
    remembered(what, (folder / name for name in names), read)


def _problems(path: Path, framing: Framing) -> tuple[Problem, ...]:
    try:
        with opened(path) as image:
            check_size(path, image.size, framing)
            return ()
    except BadInput as error:
        return error.problems
