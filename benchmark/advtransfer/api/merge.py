"""``advtransfer.merge``: run folders of one suite, joined."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterable

from advtransfer.api.arguments import ArgumentChecker
from advtransfer.api.report import Report
from advtransfer.errors import AdvTransferWarning
from advtransfer.runner.merge import merge_runs


def merge_folders(
    runs: Iterable[str | os.PathLike[str]], *, into: str | os.PathLike[str], mixed: bool = False
) -> Report:
    """Join run folders of one suite, such as the halves of a run, and return the report of all.

    Args:
        runs: The folders.
        into: The folder to write, which must not exist.
        mixed: Join runs with other devices, thread counts, precisions, batteries or environments too; where two
            environments gave a node other records, the first folder's stays.

    Raises:
        BadInput: The folders are no runs of one suite, are damaged, or contradict each other; holds every problem.
    """
    check = ArgumentChecker()
    if isinstance(runs, str | os.PathLike) or not isinstance(runs, Iterable):
        check.refuse("runs", runs, "a list of run folders")
        runs = []
    paths = [check.folder("runs", path) for path in runs]
    target = check.folder("into", into)
    is_mixed = check.flag("mixed", mixed)
    check.raise_if_any()
    return Report(merge_runs(paths, target, mixed=is_mixed, warn=_warn).run)


def _warn(text: str) -> None:
    warnings.warn(text, AdvTransferWarning, stacklevel=2)
