"""``extends``: a suite over its parent, merged by section and name, with every value's own place kept."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from advtransfer.suite import expect
from advtransfer.suite.document import read
from advtransfer.suite.marked import Marked, merged
from advtransfer.suite.problems import Problems, did_you_mean
from advtransfer.suite.sections import NAMED
from advtransfer.suite.shipped import shipped


def inherited(
    path: Path, *, file: str, problems: Problems, children: tuple[Path, ...] = ()
) -> tuple[Marked, str | None]:
    """The suite with its parents' values beneath; and the file's text, or None where it has a parent.

    Raises:
        BadInput: A file cannot be read as YAML at all, or a parent does not exist or is its own child.
    """
    suite, text = read(path, file=file, problems=problems)
    own = dict(expect.mapping(suite, expected="a suite, which is a mapping", problems=problems))
    named = own.pop("extends", None)
    if named is None or named.value is None:
        return replace(suite, value=_over({}, own, problems)), text
    above = (*children, path.resolve())
    parent = _parent(named, path=path, children=above, problems=problems)
    below, _ = inherited(parent, file=str(parent), problems=problems, children=above)
    lower = below.value if isinstance(below.value, Mapping) else {}
    return replace(suite, value=_over(lower, own, problems)), None


def _parent(named: Marked, *, path: Path, children: tuple[Path, ...], problems: Problems) -> Path:
    """The file that ``extends`` names: beside the suite, with or without its ending, or a shipped suite."""
    name = expect.text(named, expected="the name of a suite", problems=problems) or ""
    known = shipped()
    beside = (path.parent / name, path.parent / f"{name}.yaml")
    found = next((one for one in beside if one.is_file()), known.get(name))
    if found is None:
        problems.stop(
            named.mark,
            found=named.shown(),
            expected=f"a file beside the suite, or a shipped suite ({', '.join(known)})",
            next_step=did_you_mean(
                name, [*known, *(one.stem for one in path.parent.glob("*.yaml"))], otherwise="correct it"
            ),
        )
    if found.resolve() in children:
        chain = " -> ".join(one.name for one in (*children, found))
        found_text = f"a suite that extends itself ({chain})"
        problems.stop(named.mark, found=found_text, expected="another suite", next_step="remove the line")
    return found


def _over(lower: Mapping[str, Marked], upper: Mapping[str, Marked], problems: Problems) -> dict[str, Marked]:
    """The top level of a suite over its parent's."""
    together = dict(lower)
    for name, one in upper.items():
        if name in NAMED:
            together[name] = _section(together.get(name), one, problems)
        else:
            together[name] = merged(together[name], one) if name in together else one
    return together


def _section(lower: Marked | None, upper: Marked, problems: Problems) -> Marked:
    """A section over the parent's: null removes an entry, or, in place of the section, all of them."""
    if not isinstance(upper.value, Mapping):
        return replace(upper, value={}) if upper.value is None else upper
    together = dict(lower.value) if lower and isinstance(lower.value, Mapping) else {}
    for name, one in upper.value.items():
        if one.value is not None:
            together[name] = merged(together[name], one) if name in together else one
        elif together.pop(name, None) is None:
            found = f"null for {name!r}, which no parent has"
            problems.add(one.name_mark, found=found, expected="an entry", next_step="remove the line")
    return replace(upper, value=together)
