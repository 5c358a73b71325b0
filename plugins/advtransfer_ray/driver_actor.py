"""The driver's end on its node: an actor that reads and writes the driver's folders, and gathers what workers tell."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, cast

import ray

from advtransfer.exchange import DocumentKind, DriverFolders, FileEntry, JobInputs, Parcel
from advtransfer.types import Json

Handle: TypeAlias = Any
"""A handle of an actor, a reference of a task or a remote function; Any, since Ray's have no types of their own."""

NEWS = "news"
"""The group of the actor's calls that carry news."""


class DriverEnd:
    """What the actor holds: the folders of the run, and the news of its workers.

    Calls of `files` follow each other, so that one chunk is on its way at a time. Those of the group `NEWS`
    have a thread of their own, so that a long transfer does not hold them up.
    """

    def __init__(self, run: Path, cache: Path, below: Path | None, max_bytes: int | None) -> None:
        self._folders = DriverFolders(run, cache, below=below, max_bytes=max_bytes)
        self._news: deque[Mapping[str, Json]] = deque()

    def files(self, method: str, *arguments: object) -> object:
        """Call a method of `DriverFolders`."""
        return getattr(self._folders, method)(*arguments)

    def tell(self, news: Mapping[str, Json]) -> None:
        """Keep a message until the driver asks for it."""
        self._news.append(news)

    def take_news(self) -> list[Mapping[str, Json]]:
        """Return the messages since the last call."""
        taken = list(self._news)
        self._news.clear()
        return taken


class ActorFiles:
    """`advtransfer.exchange.DriverFiles` by calls of the actor."""

    def __init__(self, actor: Handle) -> None:
        self._actor = actor

    def _call(self, method: str, *arguments: object) -> object:
        try:
            return ray.get(self._actor.files.remote(method, *arguments))
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None

    def job_inputs(self, ids: Sequence[str], data: Sequence[str], environment: str) -> JobInputs:
        return cast(JobInputs, self._call("job_inputs", ids, data, environment))

    def list_files(self, parcel: Parcel) -> tuple[FileEntry, ...] | None:
        return cast("tuple[FileEntry, ...] | None", self._call("list_files", parcel))

    def read_chunk(self, parcel: Parcel, name: str, offset: int) -> bytes:
        return cast(bytes, self._call("read_chunk", parcel, name, offset))

    def begin_parcel(self, parcel: Parcel, entries: Sequence[FileEntry]) -> str | None:
        return cast("str | None", self._call("begin_parcel", parcel, entries))

    def write_chunk(self, transfer: str, name: str, offset: int, content: bytes) -> None:
        self._call("write_chunk", transfer, name, offset, content)

    def finish_parcel(self, transfer: str) -> None:
        self._call("finish_parcel", transfer)

    def write_document(self, kind: DocumentKind, document: Mapping[str, Json]) -> None:
        self._call("write_document", kind, document)


def send_news(actor: Handle, news: Mapping[str, Json]) -> Handle:
    """Send a message to the driver without waiting; return the reference of the call."""
    return actor.tell.options(concurrency_group=NEWS).remote(dict(news))


def receive_news(actor: Handle) -> list[Mapping[str, Json]]:
    """Return the messages that workers sent since the last call."""
    taken = ray.get(actor.take_news.options(concurrency_group=NEWS).remote())
    return cast("list[Mapping[str, Json]]", taken)
