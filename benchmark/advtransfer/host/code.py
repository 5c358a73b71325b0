"""The code of a plugin as one digest: when it changes under one version, what was measured with it is no longer known.

A plugin's code is every Python file (and compiled module) of its package, or of the one module that it is; and, since
a distribution may bring several top-level modules, of every module of the same distribution that it imports by name.
Not in it: the host, whose changes raise the versions of components, and libraries, which the environment tells.
"""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Iterator
from functools import lru_cache
from importlib import metadata
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from advtransfer.files import sha256_of
from advtransfer.host.plugin import Plugin
from advtransfer.node import Node, canonical, digest

SHARED = ("site-packages", "dist-packages")
"""Folders that many distributions lie in."""

HOST = "advtransfer"

_IMPORT = re.compile(r"^[ \t]*(?:from|import)[ \t]+([A-Za-z_]\w*)", re.MULTILINE)


def code_digest(plugin: Plugin) -> str | None:
    """The sha256 of a plugin's files with their names; None for one that was made in memory, which has none."""
    if not (files := code_files(plugin)):
        return None
    return digest(canonical(sorted([name, sha256_of(path)] for name, path in files.items())))


def code_files(plugin: Plugin) -> dict[str, Path]:
    """The files of a plugin by their names below the folder that it is imported from; imports no plugin."""
    found: dict[str, Path] = {}
    waiting = [plugin.module_name]
    seen = set(waiting)
    while waiting:
        for folder, path in _files_of(waiting.pop()):
            found[path.relative_to(folder).as_posix()] = path
            beside = {name for name in _imported(path) if name not in (*seen, HOST) and _is_own(name, folder, plugin)}
            seen |= beside
            waiting += sorted(beside)
    return found


def plugins_of(node: Node) -> set[str]:
    """The plugins of a node and of all below it; the host's own nodes have none."""
    inputs = [one for value in node.inputs.values() for one in (value if isinstance(value, tuple) else (value,))]
    own, _, _ = node.use.partition("/")
    return {own}.difference({"host"}).union(*map(plugins_of, inputs))


def _files_of(module: str) -> Iterator[tuple[Path, Path]]:
    """The files of the outermost regular package around a module, or its one file; after the folder they lie in."""
    names = module.split(".")
    for end in range(1, len(names) + 1):
        origin, below = _found(".".join(names[:end]))
        if origin is None:
            continue  # a namespace package, which several distributions may share
        if below is None:
            yield origin.parents[end - 1], origin
        else:
            folder = below.parents[end - 1]
            yield from ((folder, path) for path in sorted(below.rglob("*")) if _is_code(path))
        return


def _found(module: str) -> tuple[Path | None, Path | None]:
    """The file that a module is imported from, and the folder of the package that it is; None for neither."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):  # ValueError: it was put into sys.modules by hand
        spec = None
    origin = (
        spec.origin if spec is not None and spec.has_location else getattr(sys.modules.get(module), "__file__", None)
    )
    if origin is None or not Path(origin).is_file():
        return None, None
    path = Path(origin).resolve()
    return path, path.parent if path.name.startswith("__init__.") else None


def _is_code(path: Path) -> bool:
    return path.is_file() and (path.suffix == ".py" or path.name.endswith(tuple(EXTENSION_SUFFIXES)))


def _imported(path: Path) -> set[str]:
    """The top-level names after ``import`` and ``from`` at the start of any line of a file."""
    if path.suffix != ".py":
        return set()
    return set(_IMPORT.findall(path.read_text("utf-8", errors="replace")))


def _is_own(name: str, folder: Path, plugin: Plugin) -> bool:
    """Whether a top-level module beside the plugin's is of its distribution.

    That says so where it lists its modules. One that lists none, such as an editable install, has its folder to itself.
    """
    if not any(path.exists() for path in (folder / name, folder / f"{name}.py")):
        return False
    listed = _listed(plugin.distribution)
    return name in listed if listed else folder.name not in SHARED


@lru_cache
def _listed(distribution: str) -> frozenset[str]:
    """The top-level modules among the files that a distribution lists."""
    try:
        files = metadata.files(distribution) or ()
    except (metadata.PackageNotFoundError, ValueError):  # ValueError: a plugin without a distribution has no name
        return frozenset()
    return frozenset(path.parts[0].removesuffix(".py") for path in files if path.suffix == ".py")
