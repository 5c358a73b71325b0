"""The manifest of a submission: its origin, its files with digests, and the Merkle root of its records."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias, cast

from advtransfer.errors import BadInput, CacheError, Problem
from advtransfer.files import file_sha256
from advtransfer.node import canonical_json
from advtransfer.publication.merkle import merkle_root
from advtransfer.result import Record, Run
from advtransfer.result.challenges import CHALLENGE_FOLDER
from advtransfer.result.record_file import load_json_object
from advtransfer.result.validation import ID_PATTERN, field_type_faults, path_without_links
from advtransfer.types import Json

JsonObject: TypeAlias = Mapping[str, Any]
"""A JSON object of a file. Any: its fields are checked by `manifest_faults`."""

MANIFEST_FORMAT = 1
MANIFEST_FILE = "manifest.json"
EXAMPLE_FOLDER = "examples"
MAX_MANIFEST_BYTES = 1 << 20
MANIFEST_FIELDS: Mapping[str, type | tuple[type, ...]] = {
    "format": int,
    "suite": str,
    "name": str,
    "who": str,
    "licence": str,
    "citation": str,
    "board": str,
    "code": list,
    "plugins": list,
    "libraries": dict,
    "machines": list,
    "trials": int,
    "records": int,
    "leaves": int,
    "root": str,
    "files": dict,
    "external": list,
    "date": str,
}
FILE_FIELDS: Mapping[str, type] = {"bytes": int, "sha256": str}
EXTERNAL_FIELDS: Mapping[str, type] = {"url": str, "sha256": str, "bytes": int, "holds": list}


def bundle_leaves(
    run: Run, records: Iterable[Record], external: Iterable[JsonObject] = ()
) -> list[bytes]:
    """Return the leaves of a submission's Merkle tree, in their order.

    These are the canonical JSON (RFC 8785) of each record in the order of their ids, of each
    attempt in the order of theirs, of the plan, the bytes of ``suite.yaml``, the canonical JSON of
    each environment in the order of their digests, the bytes of each file of examples in the order
    of the paths, and the canonical JSON of ``{bytes, sha256}`` of each archive in the order of their
    digests: what is in an archive is held by its digest, wherever it is kept.

    Args:
        run: The submission.
        records: Its records.
        external: Its archives, as in the manifest.

    Raises:
        BadInput: Names every value that has no canonical JSON (lone surrogates, integers above 2^53).
    """
    by_id = {str(record["id"]): record for record in records}
    attempts = run.latest_attempts()
    environments = run.read_environments()
    values: list[tuple[str, Json]] = [
        *((f"the record {id[:12]}", by_id[id]) for id in sorted(by_id)),
        *((f"the attempt {id[:12]}", attempts[id]) for id in sorted(attempts)),
        ("plan.json", run.read_plan()),
    ]
    suite = path_without_links(run.path, run.path / "suite.yaml").read_bytes()
    described = [(f"the environment {id[:12]}", environments[id]) for id in sorted(environments)]
    # Last, so that a submission without examples keeps the root that it had before there were any.
    examples = [
        path_without_links(run.path, path).read_bytes()
        for path in sorted((run.path / EXAMPLE_FOLDER).rglob("*"))
        if path.is_file()
    ]
    archives = [
        (f"the archive {sha256[:12]}", {"bytes": size, "sha256": sha256})
        for sha256, size in sorted((each["sha256"], each["bytes"]) for each in external)
    ]
    return [
        *_canonical_bytes(values),
        suite,
        *_canonical_bytes(described),
        *examples,
        *_canonical_bytes(archives),
    ]


def bundle_root(run: Run) -> str:
    """Return the Merkle root of a submission (see `bundle_leaves`)."""
    external = cast("list[JsonObject]", read_manifest(run.path)["external"])
    return merkle_root(bundle_leaves(run, run.read_records(), external))


def make_manifest(
    run: Run,
    *,
    name: str,
    who: str,
    licence: str,
    citation: str,
    board: str,
    external: Iterable[JsonObject] = (),
) -> Record:
    """Return the manifest of a bundle whose other files are all written.

    The same records and arguments give the same manifest: its date is that of the newest record.

    Args:
        run: The bundle.
        name: The name of the submission, which is that of its folder.
        who: The people who submit it.
        licence: The SPDX id of the licence of the records.
        citation: The file in the bundle with the citation.
        board: The digest of the board's version.
        external: Archives elsewhere, as ``{url, sha256, bytes, holds}``, `holds` the
            folders that are in it.
    """
    plan = run.read_plan()
    records = list(run.read_records())
    archives = [dict(archive) for archive in external]
    leaves = bundle_leaves(run, records, archives)
    environments = run.read_environments()
    libraries = _library_versions(environments.values())
    return {
        "format": MANIFEST_FORMAT,
        "suite": str(plan["suite"]),
        "name": name,
        "who": who,
        "licence": licence,
        "citation": citation,
        "board": board,
        "code": libraries.get("advtransfer", []),
        "plugins": cast("list[Json]", _plugin_entries(records)),
        "libraries": libraries,
        "machines": cast("list[Json]", sorted(environments)),
        "trials": len(cast("list[Json]", plan["trials"])),
        "records": len(records),
        "leaves": len(leaves),
        "root": merkle_root(leaves),
        "files": file_entries(run.path),
        "external": cast("list[Json]", archives),
        "date": newest_date(records),
    }


def file_entries(folder: Path) -> dict[str, Json]:
    """Return ``{path: {bytes, sha256}}`` of all files of a bundle, except its manifest and challenges.

    Challenges come later, from others, and are no part of what was submitted.

    Raises:
        CacheError: A file or folder is a link; names it.
    """
    entries: dict[str, Json] = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        is_later = name == MANIFEST_FILE or path.parent == folder / CHALLENGE_FOLDER
        if path_without_links(folder, path).is_file() and not is_later:
            entries[name] = {"bytes": path.stat().st_size, "sha256": file_sha256(path)}
    return entries


def read_manifest(folder: Path) -> Record:
    """Return the manifest of a submission.

    Raises:
        BadInput: There is none, it is too large, or has other fields than a manifest.
    """
    path = folder / MANIFEST_FILE
    expected = "the folder of a submission, such as leaderboard/results/quickstart/advtransfer"
    next_step = "give such a folder, or make one with `advtransfer publish`"
    try:
        path_without_links(folder, path)
        if not path.is_file():
            raise BadInput([Problem(f"no {MANIFEST_FILE} in {str(folder)!r}", expected, next_step)])
        size = path.stat().st_size
        if size > MAX_MANIFEST_BYTES:
            found = f"{str(path)!r} of {size:,} bytes"
            raise BadInput([Problem(found, f"at most {MAX_MANIFEST_BYTES:,}", next_step)])
        manifest = load_json_object(path)
    except CacheError as error:
        raise BadInput([Problem(str(error), "a manifest", next_step)]) from error
    faults = list(manifest_faults(manifest))
    if faults:
        raise BadInput([Problem(f"{path}: {fault}", "a manifest", next_step) for fault in faults])
    return manifest


def manifest_faults(manifest: JsonObject) -> Iterator[str]:
    """Yield every fault in the types of a manifest's fields, as ``found ...; expected ...``."""
    faults = list(field_type_faults(manifest, MANIFEST_FIELDS))
    yield from faults
    if faults:
        return
    if manifest["format"] != MANIFEST_FORMAT:
        yield f"found format {manifest['format']!r}; expected {MANIFEST_FORMAT}"
    for name in ("board", "root"):
        if not ID_PATTERN.fullmatch(manifest[name]):
            yield f"found {name} {manifest[name][:80]!r}; expected 64 hexadecimal digits"
    for entries, fields in (
        (manifest["files"].values(), FILE_FIELDS),
        (manifest["external"], EXTERNAL_FIELDS),
    ):
        for entry in entries:
            if isinstance(entry, dict):
                yield from field_type_faults(entry, fields, of="a file's ")
            else:
                yield f"found a file {str(entry)[:80]!r}; expected {', '.join(fields)}"
    if manifest["citation"] not in manifest["files"]:
        yield f"found the citation {manifest['citation'][:80]!r}; expected one of its files"


def citation_digest(manifest: JsonObject) -> str:
    """Return the sha256 of the file with the citation of a submission, as its manifest lists it."""
    return str(manifest["files"][manifest["citation"]]["sha256"])


def newest_date(records: Iterable[JsonObject]) -> str:
    """Return the date on which the newest record was begun (UTC, ISO 8601), or an empty string."""
    started = [record["observed"].get("started") for record in records]
    numbers = [time for time in started if isinstance(time, int | float)]
    if not numbers:
        return ""
    return datetime.fromtimestamp(max(numbers), UTC).date().isoformat()


def _plugin_entries(records: Iterable[JsonObject]) -> list[dict[str, str | None]]:
    """Return ``{name, distribution, version, code}`` of each plugin and version behind the records."""
    entries: set[tuple[str, str | None, str | None, str | None]] = set()
    code_only: set[tuple[str, str]] = set()
    for record in records:
        plugin = record["provenance"]["plugin"]
        code = record["observed"].get("code") or {}
        name = str(plugin.get("name"))
        entries.add((name, plugin.get("distribution"), plugin.get("version"), code.get(name)))
        code_only |= set(code.items())
    # Plugins that only brought an input, such as data, have no record of their own.
    with_record = {(name, code) for name, _, _, code in entries}
    entries |= {(name, None, None, code) for name, code in code_only - with_record}
    fields = ("name", "distribution", "version", "code")
    ordered = sorted(entries, key=lambda entry: tuple(text or "" for text in entry))
    return [dict(zip(fields, entry, strict=True)) for entry in ordered]


def _library_versions(environments: Iterable[JsonObject]) -> dict[str, Json]:
    """Return the versions of each library over all environments, sorted."""
    versions: dict[str, set[str]] = {}
    for environment in environments:
        libraries = environment.get("libraries")
        for name, version in libraries.items() if isinstance(libraries, Mapping) else ():
            versions.setdefault(name, set()).add(str(version))
    return {name: cast("list[Json]", sorted(versions[name])) for name in sorted(versions)}


def _canonical_bytes(values: Iterable[tuple[str, Json]]) -> list[bytes]:
    leaves: list[bytes] = []
    problems: list[Problem] = []
    for name, value in values:
        try:
            leaves.append(canonical_json(value).encode())
        except ValueError as error:
            expected = "values that canonical JSON (RFC 8785) can hold"
            problems.append(Problem(f"{name}: {error}", expected, "correct it, and run again"))
    if problems:
        raise BadInput(problems)
    return leaves
