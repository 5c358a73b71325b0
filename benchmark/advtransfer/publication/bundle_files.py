"""The files of a bundle: what may be opened at all, and what the manifest says of them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias, cast

from advtransfer.errors import AdvTransferError, CacheError
from advtransfer.node import content_id
from advtransfer.publication.cells import Fault
from advtransfer.publication.manifest import MANIFEST_FILE, make_manifest, read_manifest
from advtransfer.result import Run
from advtransfer.result.bounded_reading import read_json

RecordJson: TypeAlias = Mapping[str, Any]  # Any: JSON

FOREIGN_ERRORS = (
    AdvTransferError,
    OSError,
    TypeError,
    ValueError,
    KeyError,
    AttributeError,
    ArithmeticError,
)
"""What reading a bundle may raise: anybody may have written it, so that its fields may be of any kind."""

MAX_BUNDLE_FILE_BYTES = 2**20
MAX_BUNDLE_BYTES = 10 * 2**20
MAX_FILES = 10_000
DEVICE_NAMES = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")
"""Names of devices: a repository with such a file or folder cannot be checked out on Windows."""


def file_faults(folder: Path) -> list[Fault]:
    """Return the files of a bundle that may not be opened: links, names, sizes."""
    faults: list[Fault] = []
    count, total = 0, 0
    if folder.is_symlink() or not folder.is_dir():
        return [Fault(str(folder), "", "found no folder; expected that of a published bundle")]
    for parent, folders, files in os.walk(folder):
        for name in sorted([*folders, *files]):
            path = Path(parent) / name
            where = path.relative_to(folder).as_posix()
            status = path.lstat()
            if path.is_symlink() or not (path.is_file() or path.is_dir()):
                faults.append(Fault(where, "", "found a link or a device; expected a file"))
            elif fault := name_fault(name):
                faults.append(Fault(where.encode(errors="replace").decode(), "", fault))
            elif path.is_file():
                count, total = count + 1, total + status.st_size
                if status.st_size > MAX_BUNDLE_FILE_BYTES:
                    text = f"found {status.st_size:,} bytes; expected at most {MAX_BUNDLE_FILE_BYTES:,}"
                    faults.append(Fault(where, "", text))
        if count > MAX_FILES or total > MAX_BUNDLE_BYTES:
            limits = f"{MAX_FILES:,} files and {MAX_BUNDLE_BYTES:,} bytes"
            faults.append(Fault(".", "", f"found more than {limits}; expected at most these"))
            break
    return faults


def name_fault(name: str) -> str | None:
    """Return why a file name may not be published, or None."""
    is_safe = name.isprintable() and not set(name) & set('\\/:*?"<>|') and len(name) <= 200
    if not is_safe or name[0] in ".-" or name[-1] in ". " or DEVICE_NAMES.fullmatch(name):
        return "found this name; expected letters, digits and -_. in it, for every system"
    return None


def without_folder(error: BaseException, folder: Path) -> str:
    """Return an error with paths as they are inside of the folder."""
    return str(error).replace(f"{folder}/", "")


def environment_faults(folder: Path, used: Collection[str]) -> Iterator[Fault]:
    """Yield environments that are not those of their names, and those of `used` that are missing."""
    present: set[str] = set()
    for path in sorted((folder / "environments").glob("*")):
        where = f"environments/{path.name}"
        try:
            digest = content_id(read_json(path, limit=MAX_BUNDLE_FILE_BYTES))
        except (CacheError, ValueError, TypeError) as error:
            yield Fault(where, "", without_folder(error, folder))
            continue
        present.add(path.stem)
        if digest != path.stem or path.suffix != ".json":
            text = f"found the environment {digest[:12]}; expected that of its name"
            yield Fault(where, "", text)
    for digest in sorted(set(used) - present):
        text = f"found no {digest[:12]}, which records name; expected it"
        yield Fault("environments", "", text)


def manifest_differences(run: Run) -> Iterator[Fault]:
    """Yield where a manifest differs from what the files of its bundle give."""
    where = MANIFEST_FILE
    if not (run.path / where).is_file():
        yield Fault(where, "", "found no such file; expected that of a submission")
        return
    try:
        manifest = read_manifest(run.path)
        stated = {name: manifest[name] for name in ("name", "who", "licence", "citation", "board")}
        expected = make_manifest(
            run,
            **cast("dict[str, str]", stated),
            external=cast("list[RecordJson]", manifest["external"]),
        )
    except (AdvTransferError, OSError) as error:
        yield Fault(where, "", without_folder(error, run.path))
        return
    if manifest["name"] != run.path.resolve().name:
        text = (
            f"found the name {manifest['name']!r}; expected {run.path.resolve().name!r}, its folder"
        )
        yield Fault(where, "", text)
    yield from _listed_file_faults(
        cast("Mapping[str, RecordJson]", manifest["files"]),
        cast("Mapping[str, RecordJson]", expected["files"]),
    )
    for name in expected.keys() - {"files"}:
        if manifest.get(name) != expected[name]:
            texts = [
                json.dumps(each, ensure_ascii=False)
                for each in (manifest.get(name), expected[name])
            ]
            yield Fault(
                where,
                "",
                f"found {name} {texts[0][:100]}; expected {texts[1][:100]}, from the files",
            )


def _listed_file_faults(
    listed: Mapping[str, RecordJson], present: Mapping[str, RecordJson]
) -> Iterator[Fault]:
    """Yield the files that a manifest does not list, or lists with another digest."""
    for path in sorted(listed.keys() | present.keys()):
        if path not in present:
            yield Fault(path[:200], "", "found no such file; expected that of the manifest")
        elif path not in listed:
            yield Fault(path, "", "found a file that the manifest does not list; expected none")
        elif dict(listed[path]) != dict(present[path]):
            digest, expected = (str(each[path]["sha256"])[:12] for each in (present, listed))
            yield Fault(
                path, "", f"found the sha256 {digest}; expected {expected}, as the manifest says"
            )
