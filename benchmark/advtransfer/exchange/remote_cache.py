"""The driver's cache as a cache on another machine uses it: asked once for what is missing, told of what is new."""

from __future__ import annotations

import logging
from pathlib import Path

from advtransfer.cache import Cache
from advtransfer.cache.artifact import DATA_FILE, META_FILE
from advtransfer.cache.rows import CHECKSUMS_FILE, ROWS_FILE, ROWS_META_FILE, is_row_file
from advtransfer.errors import CacheError
from advtransfer.exchange.incoming import receive_parcel, send_parcel
from advtransfer.exchange.parcels import DriverFiles, Parcel
from advtransfer.files import file_sha256
from advtransfer.node import text_sha256

logger = logging.getLogger(__name__)

ARTIFACT_FILES = {DATA_FILE, META_FILE}
ROW_FILES = {ROWS_FILE, CHECKSUMS_FILE, ROWS_META_FILE}


class DriverCache:
    """The cache of the driver during one job; `advtransfer.cache.RemoteCache` says what it does."""

    def __init__(self, driver: DriverFiles) -> None:
        self.driver = driver
        self._asked: set[str] = set()
        self._changed: dict[str, Cache] = {}
        self._fetched_rows: dict[str, str] = {}

    def fetch(self, cache: Cache, id: str) -> bool:
        """Copy what the driver has under an id into a cache here; return False where it has nothing.

        Raises:
            Busy: Another worker of this machine is copying it.
        """
        if id in self._asked:
            return False
        folder = cache.folder_of(id)
        parcel = Parcel("artifact", id, cache.environment_key)
        with cache.hold_lock(text_sha256(f"copy {id}")):
            entries = () if folder.exists() else self.driver.list_files(parcel) or ()
            self._asked.add(id)
            if {entry.name for entry in entries} not in (ARTIFACT_FILES, ROW_FILES):
                return folder.exists()
            try:
                named = {entry.name: entry for entry in entries}
                incoming = receive_parcel(self.driver, parcel, named, folder)
            except CacheError as error:
                # Rows are written while they are read; what is missing here is built here.
                logger.warning("%s was not copied from the driver: %s", id[:12], error)
                return False
            try:
                if is_row_file(incoming.folder):
                    cache.publish_rows(incoming.folder, id)
                    self._fetched_rows[id] = file_sha256(folder / CHECKSUMS_FILE)
                else:
                    cache.publish_folder(incoming.folder, id)
            finally:
                incoming.discard()
        return True

    def note_change(self, cache: Cache, id: str) -> None:
        """Note that something was written here under an id."""
        self._changed[id] = cache

    def send_changes(self) -> None:
        """Send what was written here to the driver, as far as it is still here."""
        for id, cache in self._changed.items():
            folder = cache.folder_of(id)
            names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
            if names == ROW_FILES and not self._has_new_rows(folder, id):
                continue
            if names not in (ARTIFACT_FILES, ROW_FILES):
                continue
            parcel = Parcel("artifact", id, cache.environment_key)
            try:
                send_parcel(self.driver, parcel, folder, sorted(names))
            except (CacheError, FileNotFoundError) as error:
                # Another worker of this machine writes rows of it, or it was evicted.
                logger.warning("%s was not sent to the driver: %s", id[:12], error)
        self._changed.clear()

    def _has_new_rows(self, folder: Path, id: str) -> bool:
        return self._fetched_rows.get(id) != file_sha256(folder / CHECKSUMS_FILE)
