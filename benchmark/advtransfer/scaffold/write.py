"""Write a distribution with a plugin of one kind from the templates."""

from __future__ import annotations

import keyword
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from advtransfer.errors import BadInput, Problem
from advtransfer.files import write_atomic
from advtransfer.hookspecs import ComponentKind

TEMPLATES = Path(__file__).parent / "templates"
SUFFIX = ".template"
"""The end of a template's file name, by which no tool takes it for the file that is made of it."""

NAME = re.compile(r"[a-z][a-z0-9]*([-_][a-z0-9]+)*")
_WORD = re.compile(r"\{\{(\w+)\}\}")

COMPONENTS: Mapping[ComponentKind, str] = {
    "dataset": "stripes",
    "source": "two_layers",
    "adapter": "nearest",
    "transfer": "ridge",
    "evaluation": "signed_steps",
    "executor": "serial",
}
"""The name of the factory that is written for each kind."""


def write_distribution(
    name: str, kind: ComponentKind, *, into: Path, version: str, plugins: Iterable[str]
) -> list[Path]:
    """Write the files of a distribution into a new folder of this name; return their paths.

    Args:
        name: The name of the plugin.
        kind: The kind of its component.
        into: The folder that the new one is made in.
        version: The version of advtransfer that it is written for.
        plugins: The names of installed plugins, which the new one may not have.

    Raises:
        BadInput: With everything that is wrong with the name and the folder.
    """
    folder = into / name
    problems = [*_name_problems(name, set(plugins)), *_folder_problems(into, folder)]
    if problems:
        raise BadInput(problems)
    words = template_words(name, kind, version)
    paths = []
    for group in ("common", kind):
        for template in sorted((TEMPLATES / group).rglob(f"*{SUFFIX}")):
            relative = _fill_words(str(template.relative_to(TEMPLATES / group)), words)
            path = folder / relative.removesuffix(SUFFIX)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, _fill_words(template.read_text("utf-8"), words).encode())
            paths.append(path)
    return paths


def template_words(name: str, kind: ComponentKind, version: str) -> dict[str, str]:
    """Return what the words of the templates stand for."""
    plugin = name.replace("-", "_")
    major, minor = version.split(".")[:2]
    return {
        "name": name,
        "plugin": plugin,
        "module": f"advtransfer_{plugin}",
        "distribution": f"advtransfer-{name.replace('_', '-')}",
        "kind": kind,
        "component": f"{plugin}/{COMPONENTS[kind]}",
        "requirement": f"advtransfer>={major}.{minor},<{major}.{int(minor) + 1}",
        "executor": f" --executor {plugin}/{COMPONENTS[kind]}" if kind == "executor" else "",
    }


def _fill_words(text: str, words: Mapping[str, str]) -> str:
    return _WORD.sub(lambda match: words[match[1]], text)


def _name_problems(name: str, plugins: set[str]) -> list[Problem]:
    step = "choose another name"
    plugin = name.replace("-", "_")
    problems = []
    if not NAME.fullmatch(name):
        expected = "small letters and digits in words that - or _ joins, a letter first"
        problems.append(Problem(f"the name {name!r}", expected, step))
    if keyword.iskeyword(plugin) or plugin in sys.stdlib_module_names:
        problems.append(Problem(f"{plugin!r}, a word of Python", "a name of your own", step))
    if plugin in plugins or name in plugins:
        found = f"an installed plugin of the name {plugin!r}"
        problems.append(Problem(found, "a name that no plugin has", step))
    return problems


def _folder_problems(into: Path, folder: Path) -> list[Problem]:
    if not into.is_dir():
        return [
            Problem(f"no folder {str(into)!r}", "one that is there", "make it, or name another")
        ]
    if folder.exists():
        found = f"{str(folder)!r}, which is there already"
        return [Problem(found, "a new folder", "remove it, or choose another name or --into")]
    return []
