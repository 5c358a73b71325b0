"""The user's files and folders that a job reads, on a machine where they may be missing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

from advtransfer import files
from advtransfer.errors import CacheError
from advtransfer.exchange.incoming import receive_parcel
from advtransfer.exchange.parcels import DriverFiles, FileEntry, Parcel, require_plain_names
from advtransfer.jobs import Job
from advtransfer.node import Node, content_id
from advtransfer.toolkit import file_digests
from advtransfer.types import Json

JsonNode = Mapping[str, Any]
"""A node as `Node.to_json` gives it."""

CONTENTS = "contents"


def node_ids(job: Job) -> list[str]:
    """Return the ids of the records that a job makes."""
    # Any: nodes as JSON; their ids are checked against the job's
    asked = cast("Mapping[str, Any]", job.asked)
    return [Node.from_json(node).id for node in (asked["node"], *asked["results"])]


def data_ids(job: Job) -> list[str]:
    """Return the ids of the data sets that a job reads."""
    nodes = [Node.from_json(node) for node in _all_nodes(job) if node["kind"] == "data"]
    return sorted({node.id for node in nodes})


def place_user_content(job: Job, driver: DriverFiles, root: Path) -> Job:
    """Return a job whose nodes name files of this machine, received from the driver where they are not here.

    Args:
        job: The job.
        driver: The driver's folders.
        root: The folder that keeps what was received, for later jobs; names in it are made from digests.
    """
    paths = {
        sha256: path
        for node in _all_nodes(job)
        for sha256, path in node["files"].items()
        if not _is_here(path)
    }
    if not paths:
        return job
    here = {sha256: _receive(sha256, path, driver, root) for sha256, path in paths.items()}
    asked = {
        "node": _with_paths(cast(JsonNode, job.asked["node"]), here),
        "results": [
            _with_paths(node, here) for node in cast("list[JsonNode]", job.asked["results"])
        ],
    }
    return replace(job, asked=cast("Mapping[str, Json]", asked))


def _is_here(path: str) -> bool:
    return Path(path).exists()


def _receive(sha256: str, path: str, driver: DriverFiles, root: Path) -> str:
    """Return the path of a user's file or folder on this machine."""
    place = root / CONTENTS / sha256
    if not place.exists():
        parcel = Parcel("content", sha256, path=path)
        entries = _local_names(sha256, path, driver.list_files(parcel) or ())
        incoming = receive_parcel(driver, parcel, entries, place)
        try:
            files.try_rename(incoming.folder, place)
        finally:
            incoming.discard()
    (content,) = place.iterdir()
    return str(content)


def _local_names(sha256: str, path: str, entries: Sequence[FileEntry]) -> dict[str, FileEntry]:
    """Return the files of a content by their names here.

    Raises:
        CacheError: The driver announces another content, or names that could leave the folder.
    """
    require_plain_names(entries, nested=True)
    if [entry.sha256 for entry in entries] == [sha256]:
        # Readers choose by the suffix; the rest of the name is of no use here.
        suffix = re.search(r"(?:\.[A-Za-z0-9]{1,8}){1,2}$", Path(path).name)
        return {f"content{suffix[0] if suffix else ''}": entries[0]}
    manifest: list[Json] = [[file_digests.utf8_name(entry.name), entry.sha256] for entry in entries]
    if content_id(manifest) != sha256:
        raise CacheError(
            f"found a folder with another content than {sha256[:12]}... under {path!r} of the driver's machine; "
            "restore it, or run again to plan with what is there now"
        )
    return {f"content/{entry.name}": entry for entry in entries}


def _all_nodes(job: Job) -> Iterator[JsonNode]:
    # Any: nodes as JSON; their ids are checked against the job's
    asked = cast("Mapping[str, Any]", job.asked)
    for node in (asked["node"], *asked["results"]):
        yield from _nodes_below(node)


def _nodes_below(node: JsonNode) -> Iterator[JsonNode]:
    yield node
    for value in node["inputs"].values():
        for item in value if isinstance(value, list) else [value]:
            yield from _nodes_below(item)


def _with_paths(node: JsonNode, paths: Mapping[str, str]) -> dict[str, Any]:  # Any: a node as JSON
    inputs = {
        name: [_with_paths(item, paths) for item in value]
        if isinstance(value, list)
        else _with_paths(value, paths)
        for name, value in node["inputs"].items()
    }
    own = {sha256: paths.get(sha256, path) for sha256, path in node["files"].items()}
    return {**node, "inputs": inputs, "files": own}
