"""Inheritance of suites (``extends``) and the suites that are shipped with advtransfer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

from advtransfer.suite import validators
from advtransfer.suite.located import Located, Problems, did_you_mean, merge_located
from advtransfer.suite.sections import NAMED_SECTIONS
from advtransfer.suite.yaml_reader import read_yaml


def shipped_suites() -> Mapping[str, Path]:
    """Name to file, sorted: inside the installed package, or, in a source checkout, in the repository's ``suites/``."""
    package = Path(str(files("advtransfer")))
    inside = package / "suites"
    folder = inside if inside.is_dir() else package.parents[1] / "suites"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def read_with_parents(
    path: Path, *, file: str, problems: Problems, children: tuple[Path, ...] = ()
) -> tuple[Located, str | None]:
    """The suite with its parents' values beneath; and the file's text, or None where it has a parent.

    Raises:
        BadInput: A file cannot be read as YAML at all, or a parent does not exist or is its own child.
    """
    suite, text = read_yaml(path, file=file, problems=problems)
    own = dict(
        validators.require_mapping(suite, expected="a suite, which is a mapping", problems=problems)
    )
    named = own.pop("extends", None)
    if named is None or named.value is None:
        return replace(suite, value=_merge_suites({}, own, problems)), text
    above = (*children, path.resolve())
    parent = _find_parent(named, path=path, children=above, problems=problems)
    below, _ = read_with_parents(parent, file=str(parent), problems=problems, children=above)
    lower = below.value if isinstance(below.value, Mapping) else {}
    return replace(suite, value=_merge_suites(lower, own, problems)), None


def _find_parent(
    named: Located, *, path: Path, children: tuple[Path, ...], problems: Problems
) -> Path:
    """The file that ``extends`` names: beside the suite, with or without its ending, or a shipped suite."""
    name = validators.require_text(named, expected="the name of a suite", problems=problems) or ""
    known = shipped_suites()
    beside = (path.parent / name, path.parent / f"{name}.yaml")
    found = next((one for one in beside if one.is_file()), known.get(name))
    if found is None:
        problems.add_and_raise(
            named.location,
            found=named.shown_text(),
            expected=f"a file beside the suite, or a shipped suite ({', '.join(known)})",
            next_step=did_you_mean(
                name,
                [*known, *(one.stem for one in path.parent.glob("*.yaml"))],
                otherwise="correct it",
            ),
        )
    if found.resolve() in children:
        chain = " -> ".join(one.name for one in (*children, found))
        found_text = f"a suite that extends itself ({chain})"
        problems.add_and_raise(
            named.location, found=found_text, expected="another suite", next_step="remove the line"
        )
    return found


def _merge_suites(
    lower: Mapping[str, Located], upper: Mapping[str, Located], problems: Problems
) -> dict[str, Located]:
    """The top level of a suite over its parent's."""
    together = dict(lower)
    for name, one in upper.items():
        if name in NAMED_SECTIONS:
            together[name] = _merge_section(together.get(name), one, problems)
        else:
            together[name] = merge_located(together[name], one) if name in together else one
    return together


def _merge_section(lower: Located | None, upper: Located, problems: Problems) -> Located:
    """A section over the parent's: null removes an entry, or, in place of the section, all of them."""
    if not isinstance(upper.value, Mapping):
        return replace(upper, value={}) if upper.value is None else upper
    together = dict(lower.value) if lower and isinstance(lower.value, Mapping) else {}
    for name, one in upper.value.items():
        if one.value is not None:
            together[name] = merge_located(together[name], one) if name in together else one
        elif together.pop(name, None) is None:
            found = f"null for {name!r}, which no parent has"
            problems.add(
                one.name_location, found=found, expected="an entry", next_step="remove the line"
            )
    return replace(upper, value=together)
