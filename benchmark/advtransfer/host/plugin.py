"""One installed plugin: import, error texts of a failed import, and the digest of its code.

The code of a plugin is every Python file (and compiled module) of its package, or its one module; and every module of
the same distribution that it imports by name. When it changes under one version, earlier results are stale. The host
is excluded (its changes raise component versions), and so are libraries (the environment holds their versions).
"""

from __future__ import annotations

import difflib
import importlib.util
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib import metadata
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import TracebackType

from advtransfer.errors import AdvTransferError, MissingLibrary, PluginError
from advtransfer.files import file_sha256
from advtransfer.hookspecs import GROUP
from advtransfer.node import Node, content_id
from advtransfer.text import error_text

# Where the name that is imported and the name that is installed differ.
_INSTALLED_AS = {
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
    "PIL": "pillow",
    "cv2": "opencv-python",
}

# An object reference of the packaging specification, `module` or `module:attribute`, perhaps with (obsolete) extras.
_OBJECT_REFERENCE = re.compile(r"[\w.]+\s*(:\s*[\w.]+\s*)?(\[.*\]\s*)?")


@dataclass(frozen=True, slots=True)
class Plugin:
    """A plugin that is installed, perhaps not yet imported, and the distribution that brings it.

    `module` is what its entry point says, ``module`` or ``module:attribute``; or the object itself.
    """

    name: str
    module: str | object
    distribution: str
    version: str

    @property
    def module_name(self) -> str:
        """The name of the module that holds the plugin."""
        if isinstance(self.module, str):
            return self.module.partition(":")[0].strip()
        owner = self.module if hasattr(self.module, "__name__") else type(self.module)
        return str(getattr(owner, "__module__", None) or getattr(owner, "__name__", ""))

    def load(self) -> object:
        """Import the plugin's module, or the object in it that the entry point names.

        Raises:
            PluginError: The import fails in any way, or the entry point names nothing.
            MissingLibrary: The plugin imports a library that is not installed.
        """
        if not isinstance(self.module, str):
            return self.module
        from importlib.metadata import EntryPoint

        if not _OBJECT_REFERENCE.fullmatch(self.module):
            raise PluginError(
                self.name,
                f"has the entry point {self.module!r}; expected module or module:attribute",
            )
        try:
            return EntryPoint(self.name, self.module, GROUP).load()
        except KeyboardInterrupt:
            raise
        except ModuleNotFoundError as error:
            raise self.missing_module_error(error, f"plugin {self.name!r}") from error
        except (
            BaseException
        ) as error:  # a plugin that exits, or raises what is no Exception, breaks itself alone
            raise PluginError(self.name, self._import_failure(error)) from error

    def missing_module_error(self, error: ModuleNotFoundError, component: str) -> AdvTransferError:
        """What is said of a module that the plugin imports and that is not there.

        A command to install is told only where the plugin's distribution names what brings the module: a package of
        the module's name may be anybody's.
        """
        module = str(error.name)
        library = module.partition(".")[0]
        own = self.module_name
        if module == own or own.startswith(f"{module}."):
            found = f"has the entry point {self.module!r}, but there is no module {module!r}"
            return PluginError(
                self.name,
                f"{found}; correct the entry point of {self.distribution}, and reinstall it",
            )
        place = self.error_location(error)
        if library == own.partition(".")[0] or sys.modules.get(library) is not None:
            return PluginError(
                self.name, f"imports {module!r}, which does not exist{place}; correct the import"
            )
        return MissingLibrary(
            library,
            component,
            install_command(library, self.distribution),
            where=f"it imports {module!r}{place}",
        )

    def error_location(self, error: BaseException) -> str:
        """Where in the plugin's files an error comes from, `` (file:line)``; empty where it comes from none."""
        if isinstance(error, SyntaxError) and error.filename:
            return f" ({error.filename}:{error.lineno})"
        lines = list(_frame_lines(error.__traceback__))
        package = self.module_name.partition(".")[0]
        own = [line for name, line in lines if name.partition(".")[0] == package]
        return f" ({(own or [line for _, line in lines])[-1]})" if lines else ""

    def _import_failure(self, error: BaseException) -> str:
        place = self.error_location(error)
        if isinstance(error, AttributeError) and not place:
            near = difflib.get_close_matches(str(error.name), dir(error.obj), n=1)
            hint = (
                f"did you mean {near[0]!r}?"
                if near
                else f"correct the entry point of {self.distribution}"
            )
            return f"has the entry point {self.module!r}, but {error}; {hint}"
        return f"fails to import: {error_text(error)}{place}"


def install_command(library: str, distribution: str) -> str | None:
    """The pip command that brings a library, where a distribution requires it, perhaps by an extra; None elsewhere."""
    from importlib.metadata import PackageNotFoundError, requires

    wanted = _normalized_name(_INSTALLED_AS.get(library, library))
    try:
        requirements = requires(distribution) or []
    except (
        PackageNotFoundError,
        ValueError,
    ):  # ValueError: a plugin without a distribution has no name for it
        return None
    for requirement in requirements:
        name = re.match(r"[A-Za-z0-9._-]+", requirement)
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", requirement)
        if name and _normalized_name(name[0]) == wanted:
            return (
                f"pip install '{distribution}[{extra[1]}]'" if extra else f"pip install {name[0]}"
            )
    return None


def _normalized_name(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _frame_lines(trace: TracebackType | None) -> list[tuple[str, str]]:
    """The module and ``file:line`` of each frame of a traceback, but for those of importing itself."""
    found = []
    while trace is not None:
        name = str(trace.tb_frame.f_globals.get("__name__", ""))
        if name.partition(".")[0] != "importlib" and name != __name__:
            found.append((name, f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"))
        trace = trace.tb_next
    return found


SHARED_FOLDERS = ("site-packages", "dist-packages")
"""Folders that many distributions lie in."""

HOST_PACKAGE = "advtransfer"

_IMPORT_STATEMENT = re.compile(r"^[ \t]*(?:from|import)[ \t]+([A-Za-z_]\w*)", re.MULTILINE)


def code_digest(plugin: Plugin) -> str | None:
    """The sha256 of a plugin's files with their names; None for one that was made in memory, which has none."""
    if not (files := code_files(plugin)):
        return None
    return content_id(sorted([name, file_sha256(path)] for name, path in files.items()))


def code_files(plugin: Plugin) -> dict[str, Path]:
    """The files of a plugin by their names below the folder that it is imported from; imports no plugin."""
    found: dict[str, Path] = {}
    waiting = [plugin.module_name]
    seen = set(waiting)
    while waiting:
        for folder, path in _package_files(waiting.pop()):
            found[path.relative_to(folder).as_posix()] = path
            beside = {
                name
                for name in _imported_modules(path)
                if name not in (*seen, HOST_PACKAGE) and _in_same_distribution(name, folder, plugin)
            }
            seen |= beside
            waiting += sorted(beside)
    return found


def plugins_of(node: Node) -> set[str]:
    """The plugins of a node and of all below it; the host's own nodes have none."""
    inputs = [
        one
        for value in node.inputs.values()
        for one in (value if isinstance(value, tuple) else (value,))
    ]
    own, _, _ = node.use.partition("/")
    return {own}.difference({"host"}).union(*map(plugins_of, inputs))


def _package_files(module: str) -> Iterator[tuple[Path, Path]]:
    """The files of the outermost regular package around a module, or its one file; after the folder they lie in."""
    names = module.split(".")
    for end in range(1, len(names) + 1):
        origin, below = _module_origin(".".join(names[:end]))
        if origin is None:
            continue  # a namespace package, which several distributions may share
        if below is None:
            yield origin.parents[end - 1], origin
        else:
            folder = below.parents[end - 1]
            yield from ((folder, path) for path in sorted(below.rglob("*")) if _is_code_file(path))
        return


def _module_origin(module: str) -> tuple[Path | None, Path | None]:
    """The file that a module is imported from, and the folder of the package that it is; None for neither."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):  # ValueError: it was put into sys.modules by hand
        spec = None
    origin = (
        spec.origin
        if spec is not None and spec.has_location
        else getattr(sys.modules.get(module), "__file__", None)
    )
    if origin is None or not Path(origin).is_file():
        return None, None
    path = Path(origin).resolve()
    return path, path.parent if path.name.startswith("__init__.") else None


def _is_code_file(path: Path) -> bool:
    return path.is_file() and (
        path.suffix == ".py" or path.name.endswith(tuple(EXTENSION_SUFFIXES))
    )


def _imported_modules(path: Path) -> set[str]:
    """The top-level names after ``import`` and ``from`` at the start of any line of a file."""
    if path.suffix != ".py":
        return set()
    return set(_IMPORT_STATEMENT.findall(path.read_text("utf-8", errors="replace")))


def _in_same_distribution(name: str, folder: Path, plugin: Plugin) -> bool:
    """Whether a top-level module beside the plugin's is of its distribution.

    That says so where it lists its modules. One that lists none, such as an editable install, has its folder to itself.
    """
    if not any(path.exists() for path in (folder / name, folder / f"{name}.py")):
        return False
    listed = _listed_modules(plugin.distribution)
    return name in listed if listed else folder.name not in SHARED_FOLDERS


@lru_cache
def _listed_modules(distribution: str) -> frozenset[str]:
    """The top-level modules among the files that a distribution lists."""
    try:
        files = metadata.files(distribution) or ()
    except (
        metadata.PackageNotFoundError,
        ValueError,
    ):  # ValueError: a plugin without a distribution has no name
        return frozenset()
    return frozenset(path.parts[0].removesuffix(".py") for path in files if path.suffix == ".py")
