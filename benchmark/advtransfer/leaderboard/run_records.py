"""A run or a bundle as plain data: what `run_data` reduces to the numbers of a page."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from advtransfer.result.challenges import Challenge
from advtransfer.types import Json


@dataclass(frozen=True, slots=True)
class RunRecords:
    """A run as plain data.

    Attributes:
        plan: Content of ``plan.json``.
        records: The records; iterated over once.
        attempts: The latest attempt of each id without a record.
        environments: Environments of the records, by digest.
        files: Sizes in bytes of the records' files that exist, by their path in the records.
        folder: Path from the page to the run folder, for links.
        root: The run folder, for the arrays stored beside the records; None without arrays.
        subfolders: The folder below `root` and `folder` that has the arrays and files of a record,
            by record id; none for the records of one run.
        damaged: Reasons why records are damaged, by their path.
        challenges: Examples of others that broke samples of the run's models.
    """

    plan: Mapping[str, Json]
    records: Iterable[Mapping[str, Json]]
    attempts: Iterable[Mapping[str, Json]] = ()
    environments: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)
    files: Mapping[str, int] = field(default_factory=dict)
    folder: str = ""
    root: Path | None = None
    subfolders: Mapping[str, str] = field(default_factory=dict)
    damaged: Mapping[str, str] = field(default_factory=dict)
    challenges: Sequence[Challenge] = ()
