"""The cache as one object: get, put, lease, checkpoints, upkeep, and the run folders this machine knows."""

from __future__ import annotations

import logging
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from advtransfer import files
from advtransfer.cache import artifact, known, lease, upkeep
from advtransfer.cache.artifact import META, Artifact, Corrupt
from advtransfer.cache.lease import Lease
from advtransfer.cache.rows import Rows
from advtransfer.cache.upkeep import Checked, Entry, Pruned
from advtransfer.cache.writing import writing
from advtransfer.errors import BadInput, Busy, CacheError, Problem
from advtransfer.files import sha256_of, sync_folder
from advtransfer.types import Json, Tensors

logger = logging.getLogger(__name__)


def default_root() -> Path:
    """Where the cache lies: ``ADVTRANSFER_CACHE``, else ``advtransfer`` in ``XDG_CACHE_HOME`` or ``~/.cache``."""
    if told := os.environ.get("ADVTRANSFER_CACHE"):
        return Path(told)
    home = os.environ.get("XDG_CACHE_HOME")
    try:
        return (Path(home) if home else Path.home() / ".cache") / "advtransfer"
    except RuntimeError as error:
        problem = Problem("no home folder to keep the cache in", "one", "set ADVTRANSFER_CACHE to a folder")
        raise BadInput([problem]) from error


class Cache:
    """Artifacts by content id, shared by every worker on this file system.

    Args:
        root: The cache's folder; made when needed.
        line: Device type, threads and precision (``cpu-1-float32``); part of every address.
        max_bytes: Above this size each `put` evicts what was not used for longest; None for no limit.
        below: Another cache's folder that is only read, for what is not in this one.
    """

    def __init__(self, root: Path, *, line: str, max_bytes: int | None = None, below: Path | None = None) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", line):
            raise ValueError(
                f"found the line {line!r}; expected letters, digits, '.', '_' and '-', as in 'cpu-1-float32'"
            )
        self.root, self.line, self.max_bytes, self.below = root, line, max_bytes, below

    def get(self, id: str) -> Artifact | None:
        """The artifact, its content hashed; None when there is none or when it is corrupt (then it is set aside)."""
        folder = self._path("artifacts", id)
        found = artifact.read(folder, id=id, line=self.line)
        if isinstance(found, Corrupt):
            self._set_aside(folder, found)
            return None
        if found is not None:
            with suppress(OSError):  # a shared cache that one may only read still serves
                os.utime(folder / META)
        elif self.below is not None:
            lower = artifact.read(self._path("artifacts", id, root=self.below), id=id, line=self.line)
            return lower if isinstance(lower, Artifact) else None
        return found

    def refusal(self) -> str | None:
        """Why nothing can be kept here; None when it can."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            probe = files.beside(self.root / "probe")
            probe.touch()
            probe.unlink()
        except OSError as error:
            return error.strerror or str(error)
        leases, kept = self.root / "leases" / self.line, self.root / "artifacts" / self.line
        places = [leases, leases / ".guard", kept, *kept.glob("*"), self.root / "saved" / self.line]
        refused = [place for place in places if place.exists() and not os.access(place, os.W_OK)]
        return f"no permission to write {refused[0].relative_to(self.root)}" if refused else None

    def put(self, id: str, tensors: Tensors, facts: Mapping[str, Json], *, kind: str = "", use: str = "") -> Artifact:
        """Keep tensors and facts under an id, and drop its checkpoint.

        An intact artifact that is already there stays, since records may hold its digest; it is what you get back.

        Args:
            id: The node's id.
            tensors: By name; brought to the CPU.
            facts: JSON without NaN; read back exactly.
            kind: The node's kind, for `entries`.
            use: The component that built it, ``plugin/factory``, for `entries`.

        Raises:
            CacheError: It could not be written, or not be read back.
        """
        folder = self._path("artifacts", id)
        with writing(folder):
            beside = files.beside(folder)
        try:
            with writing(folder):
                beside.mkdir()
                artifact.write(beside, id=id, line=self.line, tensors=tensors, facts=facts, kind=kind, use=use)
            kept = self._publish(beside, folder)
        finally:
            files.discard(beside)
        self.forget_saved(id)
        self.make_room(keep=folder)
        return kept

    def rows(self, id: str, *, kind: str = "", use: str = "") -> Rows:
        """The rows under an id, to be read and written by number; for `kind` and `use` see `put`."""
        return Rows(self._path("artifacts", id), {"id": id, "line": self.line, "kind": kind, "use": use})

    def lease(self, id: str, *, seconds: float = 300.0) -> AbstractContextManager[Lease]:
        """The right to build a node, while the context lasts; raises Busy when somebody alive has it."""
        return lease.hold(self._lease(id), seconds=seconds)

    def saved(self, id: str) -> Tensors | None:
        """The checkpoint of an unfinished build; None when there is none or it is corrupt (then it is set aside)."""
        path = self._path("saved", id)
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        found = artifact.unpack(content)
        if isinstance(found, Corrupt):
            self._set_aside(path, found)
            return None
        return found

    def save(self, id: str, tensors: Tensors) -> None:
        """Keep the state of an unfinished build in place of the one before."""
        path = self._path("saved", id)
        with writing(path):
            files.write_whole(path, *artifact.pack(tensors))

    def forget_saved(self, id: str) -> None:
        """Drop a checkpoint."""
        self._path("saved", id).unlink(missing_ok=True)

    def remove(self, id: str, *, line: str | None = None) -> int:
        """Remove a node's artifact and checkpoint (of another `line` when given); returns the bytes; raises Busy."""
        there = Cache(self.root, line=line or self.line)
        if lease.held(there._lease(id)):
            raise Busy(
                f"found node {id!r} leased; expected nobody to build or use it; stop the run that does, then retry"
            )
        paths = [path for path in (there._path("artifacts", id), there._path("saved", id)) if path.exists()]
        freed = sum(map(upkeep.size, paths))
        for path in paths:
            files.remove(path)
        return freed

    def drop(self, id: str) -> None:
        """Remove the artifact under an id, if there is one; for who builds it anew."""
        with suppress(FileNotFoundError):
            files.remove(self._path("artifacts", id))

    def entries(self) -> Iterator[Entry]:
        """Every artifact and checkpoint of every line, by line and id."""
        return upkeep.entries(self.root)

    def verify(self) -> list[Checked]:
        """Hash everything, of every line; nothing is removed but leftovers of killed writers."""
        return list(upkeep.verify(self.root))

    def prune(self, max_bytes: int) -> Pruned:
        """Remove the least recently used, of every line, until `max_bytes` are left; what is leased stays.

        Leftovers of killed writers and what was set aside as corrupt (told when it was found) go first.
        """
        upkeep.sweep(self.root)
        files.discard(self.root / "corrupt")
        return upkeep.prune(self.root, max_bytes=max_bytes)

    def make_room(self, *, keep: Path) -> None:
        """Bring the cache below its largest size; what lies in `keep` stays."""
        if self.max_bytes is not None:
            upkeep.prune(self.root, max_bytes=self.max_bytes, keep=keep)

    def know_run(self, path: Path) -> None:
        """Note a run folder, so that other runs find its records."""
        known.note(self.root / "runs", path)

    def known_runs(self) -> list[Path]:
        """The run folders noted here that still exist, sorted."""
        roots = [self.root] if self.below is None else [self.root, self.below]
        return sorted({path for root in roots for path in known.noted(root / "runs")})

    def _path(self, part: str, id: str, *, root: Path | None = None) -> Path:
        if not re.fullmatch(r"[0-9a-f]{8,}", id):
            raise ValueError(f"found the id {id!r}; expected at least 8 hexadecimal digits")
        return (root or self.root) / part / self.line / id[:2] / id

    def _lease(self, id: str) -> Path:
        return upkeep.lease_path(self.root, id=self._path("artifacts", id).name, line=self.line)

    def _publish(self, beside: Path, folder: Path) -> Artifact:
        """Rename a finished folder into place, unless an intact one is there."""
        while not files.renamed(beside, folder):
            if kept := self.get(folder.name):  # a corrupt one is set aside, so that the next try has room
                return self._agreeing(kept, beside)
        sync_folder(folder.parent)
        kept = self.get(folder.name)
        if kept is None:
            raise CacheError(f"found artifact {folder.name!r} unreadable right after writing it; check the disk")
        return kept

    def _agreeing(self, kept: Artifact, beside: Path) -> Artifact:
        if (again := sha256_of(beside / artifact.DATA)) != kept.digest:
            logger.warning("node %s was built twice with other bits: %s is kept, not %s", kept.id, kept.digest, again)
        return kept

    def _set_aside(self, path: Path, fault: Corrupt) -> None:
        aside = self.root / "corrupt" / self.line / f"{path.name}.{secrets.token_hex(4)}"
        with suppress(OSError):  # another reader has just set it aside, or the cache may only be read
            aside.parent.mkdir(parents=True, exist_ok=True)
            path.rename(aside)
        logger.warning(
            "node %s was corrupt and will be built again: %s; set aside in %s", path.name, fault.reason, aside
        )
