"""What all trackers share: from the events of a run to numbers, curves and images of trials.

A tracker is a registered plugin object. It begins at `run_started`; when its library is not installed or its
server refuses, it stays off for the rest of the run, and the runner warns of it once.
"""

from __future__ import annotations

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast
from urllib.parse import urlsplit, urlunsplit

from advtransfer.errors import MissingLibrary
from advtransfer.hookspecs import hookimpl
from advtransfer.types import Json

AXES = ("source", "adapter", "target", "n", "seed", "transfer")
"""Axes of a trial, which trackers show as parameters."""


class Tracker(ABC):
    """A tracker; subclasses say where one trial's numbers, curves and files go.

    Attributes:
        extra: Name of the plugin, and of the extra of ``advtransfer`` that installs its library.
        library: The module that it needs.
    """

    extra: str
    library: str

    def __init__(self) -> None:
        self._is_on = False
        self._names: dict[str, str] = {}
        self._heard_records: set[str] = set()

    @abstractmethod
    def open_run(self, run: Mapping[str, Json]) -> str:
        """Begin or continue the tracker's run, and return where it writes, on one line."""

    @abstractmethod
    def log_trial(self, name: str, axes: Mapping[str, Json], values: Mapping[str, float]) -> None:
        """Log a trial's axes and metrics, with the bounds of intervals as ``metric.low``, ``metric.high``."""

    @abstractmethod
    def log_curves(self, name: str, curves: Mapping[str, Sequence[tuple[int, float]]]) -> None:
        """Log (epoch, value) of each curve of a source or a trial."""

    @abstractmethod
    def log_file(self, name: str, path: Path) -> None:
        """Log a figure (as an image where its format allows) or the page."""

    @abstractmethod
    def close_run(self, summary: Mapping[str, float]) -> None:
        """Log the summary of this call, and end it; the run can be continued."""

    @hookimpl
    def run_started(self, run: Mapping[str, Json], plan: Mapping[str, Json]) -> str:
        """Begin, and tell the user where the numbers go."""
        self._is_on = False
        if importlib.util.find_spec(self.library) is None:
            command = f"pip install 'advtransfer[{self.extra}]'"
            raise MissingLibrary(self.library, f"plugin {self.extra!r}", command)
        self._heard_records = set()
        trials = cast("Sequence[Mapping[str, Json]]", plan["trials"])
        self._names = {
            str(id): str(name) for id, name in cast("Mapping[str, Json]", plan["sources"]).items()
        }
        self._names |= {str(trial["id"]): trial_title(trial) for trial in trials}
        destination = self.open_run(run)
        self._is_on = True
        return destination

    @hookimpl
    def record_written(self, record: Mapping[str, Json]) -> None:
        """Log the curves of a source or fit."""
        if not self._is_on:
            return
        id = str(record["id"])
        self._heard_records.add(id)
        curves = curve_points(cast("Sequence[Mapping[str, Json]]", record.get("curves") or ()))
        if curves:
            self.log_curves(self._names.get(id, f"{record['kind']} {id[:8]}"), curves)

    @hookimpl
    def trial_finished(
        self,
        trial: Mapping[str, Json],
        metrics: Mapping[str, float],
        intervals: Mapping[str, Sequence[float]],
    ) -> None:
        """Log a trial's metrics with the bounds of their intervals."""
        if not self._is_on:
            return
        values = dict(metrics)
        for metric, (low, high) in intervals.items():
            values |= {f"{metric}.low": low, f"{metric}.high": high}
        self.log_trial(trial_title(trial), {axis: trial[axis] for axis in AXES}, values)

    @hookimpl
    def run_finished(
        self, summary: Mapping[str, Json], files: Sequence[Mapping[str, Json]]
    ) -> None:
        """Log the page, its figures, and the files of the evaluations that this call made."""
        if not self._is_on:
            return
        self._is_on = False
        for file in files:
            # Files of earlier calls were logged then.
            if file["kind"] != "file" or str(file["record"]) in self._heard_records:
                self.log_file(self._file_title(file), Path(str(file["path"])))
        numbers = {name: value for name, value in summary.items() if isinstance(value, int | float)}
        self.close_run({name: float(value) for name, value in numbers.items()})

    def _file_title(self, file: Mapping[str, Json]) -> str:
        if file["kind"] != "file":
            return str(file["name"])
        trial = self._names.get(str(file["trial"]), "")
        return f"{trial}/{file['evaluation']}/{file['name']}"


def trial_title(trial: Mapping[str, Json]) -> str:
    """Return a name of a trial that no other trial of its plan has."""
    axes = [str(trial[axis]) for axis in AXES if trial[axis] is not None]
    return f"{' '.join(axes)} {str(trial['id'])[:6]}"


def curve_points(rows: Sequence[Mapping[str, Json]]) -> dict[str, list[tuple[int, float]]]:
    """Return the points of each curve, by the epoch of its row, or else the row's position from 1."""
    curves: dict[str, list[tuple[int, float]]] = {}
    for position, row in enumerate(rows, start=1):
        epoch = row.get("epoch")
        step = int(epoch) if isinstance(epoch, int | float) else position
        for name, value in row.items():
            if name != "epoch" and isinstance(value, int | float):
                curves.setdefault(name, []).append((step, float(value)))
    return curves


def plain_name(name: str, *, allowed: str = "") -> str:
    """Return a name with letters, digits, ``_``, ``-``, ``.`` and `allowed`; others become ``_``."""
    kept = [c if (c.isascii() and c.isalnum()) or c in f"_-.{allowed}" else "_" for c in name]
    # No part of a name may lead out of a folder.
    return "/".join(part.lstrip(".") or "_" for part in "".join(kept).split("/"))


def without_password(address: str) -> str:
    """Return an address without the user, password, query and fragment that it may hold."""
    parts = urlsplit(address)
    if not parts.netloc:
        return address.partition("?")[0]
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
