"""Inheritance of suites (``extends``) and the suites that are shipped with advtransfer."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

from advtransfer.deprecation import SuiteRenamed
from advtransfer.suite import validators
from advtransfer.suite.located import (
    Located,
    Problems,
    did_you_mean,
    locate_plain,
    merge_located,
)
from advtransfer.suite.sections import NAMED_SECTIONS
from advtransfer.suite.yaml_reader import parse_yaml, read_yaml
from advtransfer.types import Json


def shipped_suites() -> Mapping[str, Path]:
    """Return the shipped suites, name to file, sorted by name.

    They are in the installed package or, in a source checkout, in the repository's ``suites/``.
    """
    return {path.stem: path for path in sorted(suites_folder().glob("*.yaml"))}


RENAMED_SUITES = {
    "class_share_cifar": "adversarial-knowledge-mini",
    "few_labels_fashion": "robust-transfer-mini-more",
    "few_labels_fashion_pooled": "robust-transfer-mini-more",
    "igam_mnist": "igam-mini-more",
    "source_quality_mnist": "source-quality-mini-more",
    "synthetic_alignment": "adversarial-knowledge-mini-more",
}
"""Names of shipped suites of earlier releases, with the suites that what they asked went into."""


def find_shipped(name: str) -> Path | None:
    """Return a shipped suite by its name, None for an unknown one; warn of a name of before."""
    shipped = shipped_suites()
    if name in RENAMED_SUITES and name not in shipped:
        warnings.warn(
            SuiteRenamed(
                f"the suite {name!r} is now in {RENAMED_SUITES[name]!r}, which is used in its place"
            ),
            stacklevel=2,
        )
        name = RENAMED_SUITES[name]
    return shipped.get(name)


def suites_folder() -> Path:
    """Return the folder of the shipped suites."""
    package = Path(str(files("advtransfer")))
    packaged = package / "suites"
    return packaged if packaged.is_dir() else package.parents[1] / "suites"


def read_with_parents(
    path: Path,
    *,
    file: str,
    problems: Problems,
    children: tuple[Path, ...] = (),
    text: str | None = None,
    may_extend: bool = True,
) -> tuple[Located, str | None]:
    """Return a suite merged over its parents, and the file's text, or None where it has a parent.

    Args:
        path: The file; parents are looked for beside it.
        file: Its name in messages.
        problems: Collects the mistakes.
        children: The suites that extend this one.
        text: The suite itself, where it is not in a file.
        may_extend: Whether it may have a parent; a suite of others may not name a file to open.

    Raises:
        BadInput: A file cannot be read as YAML, or a parent does not exist, is its own child, or may not be.
    """
    if text is None:
        suite, text = read_yaml(path, file=file, problems=problems)
    else:
        suite = parse_yaml(text, file=file, problems=problems)
    own = dict(
        validators.require_mapping(suite, expected="a suite, which is a mapping", problems=problems)
    )
    parent_name = own.pop("extends", None)
    if parent_name is None or parent_name.value is None:
        return replace(suite, value=_merge_suites({}, own, problems)), text
    if not may_extend:
        problems.add_and_raise(
            parent_name.name_location,
            found="`extends` in the suite of a run or submission",
            expected="all of the suite in its own file",
            next_step="take `suite.yaml` as `advtransfer run` wrote it",
        )
    chain = (*children, path.resolve())
    parent_path = _find_parent(parent_name, path=path, children=chain, problems=problems)
    parent, _ = read_with_parents(
        parent_path, file=str(parent_path), problems=problems, children=chain
    )
    inherited = _without_registration(parent.value if isinstance(parent.value, Mapping) else {})
    return replace(suite, value=_merge_suites(inherited, own, problems)), None


def _without_registration(sections: Mapping[str, Located]) -> Mapping[str, Located]:
    """Return what a suite passes on: all but ``leaderboard.registered``.

    That commit holds the suite itself, and not the one that changes its data, rows or attacks. So claims are
    inherited, and are exploratory until the suite that extends it names a commit of its own.
    """
    settings = sections.get("leaderboard")
    if settings is None or not isinstance(settings.value, Mapping):
        return sections
    passed_on = {name: item for name, item in settings.value.items() if name != "registered"}
    return {**sections, "leaderboard": replace(settings, value=passed_on)}


def _find_parent(
    parent_name: Located, *, path: Path, children: tuple[Path, ...], problems: Problems
) -> Path:
    """Return the file that ``extends`` names.

    It is a file beside the suite, with or without its ending, or else a shipped suite.
    """
    name = (
        validators.require_text(parent_name, expected="the name of a suite", problems=problems)
        or ""
    )
    shipped = shipped_suites()
    candidates = (path.parent / name, path.parent / f"{name}.yaml")
    parent = next((file for file in candidates if file.is_file()), None) or find_shipped(name)
    if parent is None:
        neighbours = [file.stem for file in path.parent.glob("*.yaml")]
        problems.add_and_raise(
            parent_name.location,
            found=parent_name.shown_text(),
            expected=f"a file beside the suite, or a shipped suite ({', '.join(shipped)})",
            next_step=did_you_mean(name, [*shipped, *neighbours], otherwise="correct it"),
        )
    if parent.resolve() in children:
        chain = " -> ".join(file.name for file in (*children, parent))
        problems.add_and_raise(
            parent_name.location,
            found=f"a suite that extends itself ({chain})",
            expected="another suite",
            next_step="remove the line",
        )
    return parent


def _merge_suites(
    lower: Mapping[str, Located], upper: Mapping[str, Located], problems: Problems
) -> dict[str, Located]:
    """Return the top level of a suite merged over that of its parent."""
    merged = dict(lower)
    for name, value in upper.items():
        if name in NAMED_SECTIONS:
            merged[name] = _merge_section(merged.get(name), value, problems)
        else:
            merged[name] = merge_located(merged[name], value) if name in merged else value
    return merged


def _merge_section(lower: Located | None, upper: Located, problems: Problems) -> Located:
    """Return a section merged over the parent's.

    Null in place of an entry removes that entry, null in place of the section removes all of them.
    """
    if not isinstance(upper.value, Mapping):
        return replace(upper, value={}) if upper.value is None else upper
    merged = dict(lower.value) if lower and isinstance(lower.value, Mapping) else {}
    for name, entry in upper.value.items():
        if entry.value is not None:
            merged[name] = merge_located(merged[name], entry) if name in merged else entry
        elif merged.pop(name, None) is None:
            problems.add(
                entry.name_location,
                found=f"null for {name!r}, which no parent has",
                expected="an entry",
                next_step="remove the line",
            )
    return replace(upper, value=merged)


def replace_entries(suite: Located, entries: Mapping[str, Json]) -> Located:
    """Return a suite with entries in its sections, in place of those of the same name.

    Args:
        suite: The top level of a suite.
        entries: A mapping of names to entries for each section.
    """
    sections = dict(suite.value) if isinstance(suite.value, Mapping) else {}
    located = locate_plain(entries, suite.location).value
    for name, section in (located if isinstance(located, Mapping) else {}).items():
        old = sections.get(name)
        before = old.value if old is not None and isinstance(old.value, Mapping) else {}
        added = section.value if isinstance(section.value, Mapping) else {}
        if added:
            sections[name] = replace(old or section, value={**before, **added})
    return replace(suite, value=sections)
