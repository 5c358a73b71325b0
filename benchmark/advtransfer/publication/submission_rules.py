"""Rules of submissions, which `advtransfer publish` and `advtransfer verify` share.

A submission becomes a folder of a repository that others check out, on every system, and a line of a page. So its
name, its credits and its files are held to the same rules by those who write it and by those who take it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

from advtransfer.errors import AdvTransferError, Problem
from advtransfer.publication.bundle_files import DEVICE_NAMES
from advtransfer.publication.cells import Fault
from advtransfer.publication.manifest import EXAMPLE_FOLDER, MANIFEST_FILE, read_manifest
from advtransfer.result.challenges import CHALLENGE_FOLDER
from advtransfer.result.record_lines import PACKED_SUFFIX

JsonObject: TypeAlias = Mapping[str, Any]  # Any: JSON

NAME_PATTERN = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,62}[A-Za-z0-9])?")
RESERVED_NAMES = frozenset({"boards", "results", "versions", "manifests"})
"""Folders of published results, which no suite and no submission may be named like."""
MAX_CITATION_BYTES = 64 << 10
MAX_WHO_LENGTH = 200
LICENCES = frozenset(
    {
        "0BSD",
        "AGPL-3.0-only",
        "AGPL-3.0-or-later",
        "Apache-2.0",
        "BSD-2-Clause",
        "BSD-3-Clause",
        "BSL-1.0",
        "CC-BY-4.0",
        "CC-BY-SA-4.0",
        "CC-BY-NC-4.0",
        "CC-BY-NC-SA-4.0",
        "CC0-1.0",
        "CDLA-Permissive-2.0",
        "CDLA-Sharing-1.0",
        "ECL-2.0",
        "EPL-2.0",
        "EUPL-1.2",
        "GPL-2.0-only",
        "GPL-2.0-or-later",
        "GPL-3.0-only",
        "GPL-3.0-or-later",
        "ISC",
        "LGPL-2.1-only",
        "LGPL-2.1-or-later",
        "LGPL-3.0-only",
        "LGPL-3.0-or-later",
        "MIT",
        "MIT-0",
        "MPL-2.0",
        "ODC-By-1.0",
        "ODbL-1.0",
        "PDDL-1.0",
        "Unlicense",
        "Zlib",
    }
)
"""Identifiers of the SPDX list that data and code are published under."""

_ID = "[0-9a-f]{64}"
_PACKED = re.escape(PACKED_SUFFIX)
BUNDLE_FILES = re.compile(
    "|".join(
        (
            re.escape(MANIFEST_FILE),
            r"suite\.yaml|citation|CITATION\.cff|attempts\.jsonl",
            rf"plan\.json|plan-[0-9]{{4}}{_PACKED}",
            rf"records/(?:source|fit|result|battery)(?:-[0-9a-f])?(?:\.jsonl|{_PACKED})",
            rf"environments/{_ID}\.json",
            rf"samples/[0-9a-f]{{2}}/{_ID}\.safetensors",
            rf"files/{_ID}/[^/]+",
            rf"{EXAMPLE_FOLDER}/(?:sample\.json|{_ID}/[^/]+\.npz)",
            # Held against the challenges themselves.
            rf"{CHALLENGE_FOLDER}/[^/]+",
        )
    )
)
"""Paths of the files that a bundle may have (``docs/publishing.md``)."""
CITATION_FILES = ("citation", "CITATION.cff")


def name_problems(name: str, *, beside: Path | None = None) -> Iterator[Problem]:
    """Yield why a submission cannot have this name in a folder of submissions.

    Args:
        name: The name, which becomes a folder's.
        beside: The folder of the submissions of its board; None where it is not known yet.
    """
    taken = name.lower() in RESERVED_NAMES or DEVICE_NAMES.fullmatch(name)
    if taken or not NAME_PATTERN.fullmatch(name):
        expected = (
            "a name of 1 to 64 letters, digits and ._- that every system can have as a folder"
        )
        yield Problem(f"the name {name[:80]!r}", expected, "choose another")
        return
    siblings = _folder_names(beside) if beside else []
    alike = [each for each in siblings if each != name and each.lower() == name.lower()]
    if alike:
        found = f"the name {name!r} beside {alike[0]!r}, which is the same folder on some systems"
        yield Problem(found, "another name", "choose one that differs in more than case")


def suite_folder_problems(folder: Path, suite: str | None) -> Iterator[Problem]:
    """Yield why the folder of a submission is not one of its board: its name must be exactly the suite's.

    Args:
        folder: The folder of the submission, ``results/<suite>/<name>`` or anywhere else.
        suite: The suite of the board, None where there is no board of it.
    """
    parent = folder.resolve().parent
    if suite is None or parent.name == suite:
        return
    is_published = parent.parent.name == "results"
    if is_published or parent.name.casefold() == suite.casefold():
        found = f"a submission in the folder {parent.name[:80]!r}"
        yield Problem(found, f"{suite!r}, the suite of its board", "move it there")


def credit_problems(who: str, licence: str) -> Iterator[Problem]:
    """Yield what is wrong in the credits of a submission, which a page shows."""
    if not who.strip() or not who.isprintable() or len(who) > MAX_WHO_LENGTH:
        expected = f"names on one line, at most {MAX_WHO_LENGTH} characters"
        yield Problem(f"who {who[:80]!r}", expected, "correct it")
    if licence not in LICENCES and not re.fullmatch(r"LicenseRef-[A-Za-z0-9.-]{1,50}", licence):
        alike = [known for known in sorted(LICENCES) if known.lower() == licence.lower()]
        next_step = f"write {alike[0]}" if alike else "see https://spdx.org/licenses"
        yield Problem(
            f"the licence {licence[:80]!r}",
            "an SPDX id, such as MIT or CC-BY-4.0, or LicenseRef- with a name",
            next_step,
        )


def citation_problems(path: Path) -> Iterator[Problem]:
    """Yield why a file is no citation."""
    try:
        read_citation(path)
    except (OSError, ValueError) as error:
        expected = f"a text of at most {MAX_CITATION_BYTES:,} bytes"
        found = f"the citation {str(path)!r} ({error})"
        yield Problem(found, expected, "give a file such as CITATION.cff")


def read_citation(path: Path) -> bytes:
    """Return the content of a citation.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no text, empty, or too large.
    """
    if not path.is_file():
        raise ValueError("no file")
    if path.stat().st_size > MAX_CITATION_BYTES:
        raise ValueError(f"{path.stat().st_size:,} bytes")
    content = path.read_bytes()
    if not content.decode("utf-8").strip():
        raise ValueError("empty")
    if "\0" in content.decode("utf-8"):
        raise ValueError("no text")
    return content


def url_problems(url: str) -> Iterator[Problem]:
    """Yield why an archive cannot have this URL."""
    if not re.fullmatch(r"https://[!-~]{4,500}", url):
        yield Problem(f"the URL {url[:80]!r}", "one that begins with https://", "correct it")


def suite_name_problems(suite: str) -> Iterator[Problem]:
    """Yield why a suite of this name cannot be published."""
    if suite.lower() in {*RESERVED_NAMES, "readme.md"}:
        yield Problem(
            f"a suite named {suite!r}",
            "another name, since the published folder uses this one",
            "rename the suite file, and run it again",
        )


def submission_problems(folder: Path, manifest: JsonObject) -> Iterator[Problem]:
    """Yield where a published submission breaks the rules that `advtransfer publish` keeps.

    Args:
        folder: The submission.
        manifest: Its manifest, whose fields have the right types.
    """
    place = folder.resolve()
    yield from name_problems(place.name, beside=place.parent)
    yield from suite_name_problems(str(manifest["suite"]))
    yield from credit_problems(manifest["who"], manifest["licence"])
    for archive in manifest["external"]:
        yield from url_problems(archive["url"])
    citation = manifest["citation"]
    if citation in CITATION_FILES:
        yield from citation_problems(folder / citation)
    else:
        found = f"the citation {citation[:80]!r}"
        yield Problem(found, f"the file {' or '.join(CITATION_FILES)}", "publish it again")


def path_problems(paths: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield the paths of a bundle that it may not have, each with the fault."""
    seen: dict[str, str] = {}
    for path in sorted(paths):
        if not BUNDLE_FILES.fullmatch(path):
            yield path, "found a file that no bundle has; expected those of docs/publishing.md"
        for place in (PurePosixPath(path), *PurePosixPath(path).parents):
            known = seen.setdefault(str(place).lower(), str(place))
            if known != str(place):
                yield (
                    path,
                    f"found {place} beside {known}; expected names that differ in more than case",
                )
                break


def rule_faults(folder: Path, suite: str | None) -> Iterator[Fault]:
    """Yield where a bundle breaks these rules; `suite` is that of its board, None without one."""
    files = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    for path, text in path_problems(files):
        yield Fault(path[:200], "", text)
    try:
        manifest = read_manifest(folder)
    except AdvTransferError:
        return  # Reported with the files.
    for each in (*suite_folder_problems(folder, suite), *submission_problems(folder, manifest)):
        text = f"found {each.found}; expected {each.expected}".replace(f"{folder}/", "")
        yield Fault(MANIFEST_FILE, "", text)


def _folder_names(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir()) if folder.is_dir() else []
