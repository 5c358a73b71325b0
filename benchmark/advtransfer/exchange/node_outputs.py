"""What a job made on another machine than the driver's: sent to the driver as far as it is finished."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from advtransfer.exchange.incoming import send_parcel
from advtransfer.exchange.parcels import DocumentKind, DriverFiles, Parcel
from advtransfer.exchange.remote_cache import DriverCache
from advtransfer.result import Run
from advtransfer.result.record import arrays_path
from advtransfer.result.record_file import load_json_object

DOCUMENTS: tuple[tuple[DocumentKind, str], ...] = (
    ("data", "data/*.json"),
    ("environment", "environments/*.json"),
    ("record", "records/*/*.json"),
    ("attempt", "attempts/*/*.json"),
)
"""Documents of a run folder in the order in which they are sent: a record refers to an environment."""


class NodeOutputs:
    """The run folder of one job, and which of its files the driver has.

    Args:
        run: The run folder here.
        driver: The driver's folders.
        cache: What the job used of the driver's cache.
        known: Ids of records that came from the driver.
    """

    def __init__(
        self, run: Run, driver: DriverFiles, cache: DriverCache, *, known: set[str]
    ) -> None:
        self.run = run
        self.driver = driver
        self.cache = cache
        self._sent = {path for path in self._documents("records/*/*.json") if path.stem in known}

    def send_artifacts(self) -> None:
        """Send what the job added to the cache here."""
        self.cache.send_changes()

    def send_records(self) -> None:
        """Send finished records and attempts, and what they refer to."""
        for kind, pattern in DOCUMENTS:
            for path in self._documents(pattern):
                if path in self._sent:
                    continue
                if kind == "record":
                    self._send_files(path.stem)
                self.driver.write_document(kind, load_json_object(path))
                self._sent.add(path)

    def _send_files(self, id: str) -> None:
        """Send the arrays and the figures beside a record."""
        arrays = self.run.path / arrays_path(id)
        if arrays.is_file():
            send_parcel(self.driver, Parcel("samples", id), arrays.parent, [arrays.name])
        figures = self.run.path / "files" / id
        if figures.is_dir():
            names = sorted(path.name for path in figures.iterdir())
            send_parcel(self.driver, Parcel("files", id), figures, names)

    def _documents(self, pattern: str) -> Iterator[Path]:
        yield from sorted(self.run.path.glob(pattern))
