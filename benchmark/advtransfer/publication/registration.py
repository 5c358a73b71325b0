"""Claims that stood before the run: a submission's claims are held against the commit that its suite names.

A suite cannot name the commit that it is in. So claims, margins and expected power are committed first, and the next
commit writes the first one's name into ``leaderboard.registered``. The commit is looked up in the repository of the
shipped suites; without git or its history it is noted that it was not.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeAlias

from advtransfer.errors import BadInput
from advtransfer.leaderboard.claims_config import registered_commit
from advtransfer.planning import Plan
from advtransfer.publication.cells import SUITE_FILE, Fault
from advtransfer.suite.extends import read_with_parents, suites_folder
from advtransfer.suite.located import Problems
from advtransfer.suite.yaml_reader import parse_yaml
from advtransfer.types import Json

RecordJson: TypeAlias = Mapping[str, Any]  # Any: JSON
GIT_SECONDS = 30
SHOWN = ("title", "version", "leaderboard")
"""Sections of a suite that change no measurement."""


@dataclass(slots=True)
class Registration:
    """What was found of a submission's claims: faults, and notes on what cannot be seen here."""

    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def check_registration(
    bundle: Path, plan: Plan, records: Iterable[RecordJson], *, suites: Path | None = None
) -> Registration:
    """Return where the claims of a bundle differ from those of the commit that its suite names.

    Args:
        bundle: The bundle.
        plan: Its plan.
        records: Its valid records.
        suites: The folder of suites in a git checkout, by default that of the shipped ones.
    """
    found = Registration()
    claims = plan.leaderboard.get("claims")
    if not claims:
        return found
    commit = registered_commit(plan.leaderboard)
    if not commit:
        found.notes.append("its claims name no commit (`registered`), so they are exploratory")
        return found
    folder = suites or suites_folder()
    kind = (_git(folder, "cat-file", "-t", commit) or "").strip()
    if kind not in ("", "commit"):
        found.faults.append(_kind_fault(commit, kind))
        return found
    date = _git(folder, "show", "--no-patch", "--format=%ct", commit) if kind else None
    if date is None:
        text = f"the commit {commit[:12]} of its claims"
        if (folder / f"{plan.suite}.yaml").is_file() and _has_whole_history(folder):
            found.faults.append(
                Fault(
                    SUITE_FILE,
                    "",
                    f"found no {text[4:]} in this repository, which has its whole history; expected the one that held "
                    "them before the run; write that commit in `registered`, or leave it out: the claims are then "
                    "exploratory",
                )
            )
        else:
            found.notes.append(
                f"{text} cannot be looked up here: that the claims stood before the run is as the suite says"
            )
        return found
    found.faults += _changed_faults(bundle, plan.suite, commit, folder)
    found.faults += _earlier_faults(records, commit, int(date))
    return found


def _kind_fault(commit: str, kind: str) -> Fault:
    """Return the fault of an id that names a tree, a blob or an annotated tag, and no commit."""
    named = f"{commit[:12]}^{{commit}}" if kind == "tag" else "HEAD"
    text = (
        f"found the {kind} {commit[:12]} in `registered`; expected the commit that held the claims before the run; "
        f"write what `git rev-parse {named}` says of it"
    )
    return Fault(SUITE_FILE, "", text)


def _changed_faults(bundle: Path, suite: str, commit: str, folder: Path) -> Iterator[Fault]:
    """Yield a fault where a bundle's suite asks for something else than the one in the commit."""
    name = f"{suite}.yaml"
    place = f"{name} in the commit {commit[:12]}"
    written = _committed_sections(name, commit, folder)
    if written is None:
        found = f"found no suite {place}, which its claims name; expected the one that was committed before the run"
        yield Fault(SUITE_FILE, "", found)
        return
    stated = _sections_of(bundle / SUITE_FILE, may_extend=False) or {}
    if changed := _changed_names(stated, written):
        found = f"found other {', '.join(changed)} than those of {place}; expected the same"
        next_step = "restore them and run it again, or leave `registered` out: the claims are then exploratory"
        yield Fault(SUITE_FILE, "", f"{found}; {next_step}")


def _changed_names(stated: Mapping[str, Json], written: Mapping[str, Json]) -> list[str]:
    """Return the sections in which two suites differ; of claims, the names of those that differ."""
    names = sorted(name for name in {*stated, *written} if stated.get(name) != written.get(name))
    if "claims" in names:
        sides = [_claims_by_name(each.get("claims")) for each in (stated, written)]
        claims = sorted(
            name for name in {*sides[0], *sides[1]} if sides[0].get(name) != sides[1].get(name)
        )
        names[names.index("claims")] = f"claims ({', '.join(claims)})" if claims else "claims"
    return names


def _claims_by_name(claims: Json) -> dict[str, Json]:
    entries = claims if isinstance(claims, list) else []
    return {str(claim.get("name")): claim for claim in entries if isinstance(claim, Mapping)}


def _earlier_faults(records: Iterable[RecordJson], commit: str, committed: int) -> Iterator[Fault]:
    """Yield a fault where a result was measured before its claims were committed."""
    started = [
        record["observed"].get("started") for record in records if record["kind"] == "result"
    ]
    first = min((time for time in started if isinstance(time, int | float)), default=None)
    if first is not None and first < committed:
        days = [
            f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M}" for time in (first, committed)
        ]
        text = (
            f"found a result of {days[0]}; expected none before its claims were committed ({commit[:12]}, {days[1]}); "
            "run the suite again with an empty cache, or leave `registered` out: the claims are then exploratory"
        )
        yield Fault("records", "", text)


def _committed_sections(name: str, commit: str, folder: Path) -> dict[str, Json] | None:
    """Return what the suite of a commit asks for, merged over those of the commit that it extends; None without one."""
    with TemporaryDirectory() as temporary:
        copies = Path(temporary)
        file: str | None = name
        # A suite that extends itself is an error of reading.
        while file is not None and not (copies / file).exists():
            text = _git(folder, "show", f"{commit}:./{file}") if Path(file).name == file else None
            if text is None:
                return None
            (copies / file).write_text(text, "utf-8")
            file = _parent_file(text, file)
        return _sections_of(copies / name)


def _parent_file(text: str, file: str) -> str | None:
    """Return the file that a suite extends; None where it extends none or is no suite."""
    try:
        extends = parse_yaml(text, file=file, problems=Problems(file)).child("extends")
    except BadInput:
        return None
    if extends is None or not isinstance(extends.value, str):
        return None
    return f"{extends.value.removesuffix('.yaml')}.yaml"


def _sections_of(path: Path, *, may_extend: bool = True) -> dict[str, Json] | None:
    """Return what a suite asks for by section, with the claims apart; None where it is no suite.

    Its title, how the page shows the results, and the notes of claims may change after these were committed.
    """
    problems = Problems(path.name)
    try:
        top, _ = read_with_parents(path, file=path.name, problems=problems, may_extend=may_extend)
        problems.raise_if_any()
    except BadInput:
        return None
    suite = top.to_plain()
    if not isinstance(suite, Mapping):
        return None
    settings = suite.get("leaderboard")
    claims = settings.get("claims") if isinstance(settings, Mapping) else None
    if isinstance(claims, list):
        claims = [_without_note(claim) for claim in claims]
    sections = {name: value for name, value in suite.items() if name not in SHOWN}
    return {**sections, "claims": claims}


def _without_note(claim: Json) -> Json:
    if not isinstance(claim, Mapping):
        return claim
    return {name: value for name, value in claim.items() if name != "note"}


def _has_whole_history(folder: Path) -> bool:
    """Return whether a folder is in a repository that is no shallow copy, so that it has every commit."""
    return (_git(folder, "rev-parse", "--is-shallow-repository") or "").strip() == "false"


def _git(folder: Path, *arguments: str) -> str | None:
    """Return what git prints, None where it is not installed, or the folder or commit is not known to it."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            text=True,
            check=True,
            timeout=GIT_SECONDS,
        )
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
    return done.stdout
