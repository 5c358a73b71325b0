"""One installed plugin: import, error texts of a failed import, and the digest of its code.

The code of a plugin is its package (or single module) and every module of the same distribution that it
imports by name. Where it changes without a new version, earlier results are stale. The host is excluded,
since its changes raise component versions; so are libraries, whose versions the environment holds.
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

# Libraries that pip knows by another name than Python does.
_INSTALLED_AS = {
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
    "PIL": "pillow",
    "cv2": "opencv-python",
}

# An object reference of the packaging specification: `module` or `module:attribute`, with obsolete extras.
_OBJECT_REFERENCE = re.compile(r"[\w.]+\s*(:\s*[\w.]+\s*)?(\[.*\]\s*)?")


@dataclass(frozen=True, slots=True)
class Plugin:
    """An installed plugin, imported or not, and its distribution.

    `module` is the value of its entry point, ``module`` or ``module:attribute``; in tests, the object itself.
    """

    name: str
    module: str | object
    distribution: str
    version: str

    @property
    def module_name(self) -> str:
        """The name of the plugin's module."""
        if isinstance(self.module, str):
            return self.module.partition(":")[0].strip()
        owner = self.module if hasattr(self.module, "__name__") else type(self.module)
        return str(getattr(owner, "__module__", None) or getattr(owner, "__name__", ""))

    def load(self) -> object:
        """Import and return the plugin's module, or the object in it that the entry point names.

        Raises:
            PluginError: The import fails in any way, or the entry point is wrong.
            MissingLibrary: The plugin imports a library that is not installed.
        """
        if not isinstance(self.module, str):
            return self.module
        from importlib.metadata import EntryPoint

        if not _OBJECT_REFERENCE.fullmatch(self.module):
            message = f"has the entry point {self.module!r}; expected module or module:attribute"
            raise PluginError(self.name, message)
        try:
            return EntryPoint(self.name, self.module, GROUP).load()
        except KeyboardInterrupt:
            raise
        except ModuleNotFoundError as error:
            raise self.missing_module_error(error, f"plugin {self.name!r}") from error
        except (
            BaseException
        ) as error:  # SystemExit too: a plugin that exits must not end the program.
            raise PluginError(self.name, self._import_failure(error)) from error

    def missing_module_error(self, error: ModuleNotFoundError, component: str) -> AdvTransferError:
        """Return the error for a module that the plugin imports and that does not exist."""
        module = str(error.name)
        library = module.partition(".")[0]
        own_module = self.module_name
        if module == own_module or own_module.startswith(f"{module}."):
            found = f"has the entry point {self.module!r}, but there is no module {module!r}"
            next_step = f"correct the entry point of {self.distribution}, and reinstall it"
            return PluginError(self.name, f"{found}; {next_step}")
        location = self.error_location(error)
        if library == own_module.partition(".")[0] or sys.modules.get(library) is not None:
            message = f"imports {module!r}, which does not exist{location}; correct the import"
            return PluginError(self.name, message)
        # The command comes from the distribution's requirements: on PyPI, a package with the
        # module's name may be an unrelated one.
        command = install_command(library, self.distribution)
        where = f"it imports {module!r}{location}"
        return MissingLibrary(library, component, command, where=where)

    def error_location(self, error: BaseException) -> str:
        """Return the last line of the plugin in the traceback as `` (file:line)``, or an empty text.

        Where no line is the plugin's own, it is the last line of all.
        """
        if isinstance(error, SyntaxError) and error.filename:
            return f" ({error.filename}:{error.lineno})"
        frames = _frame_lines(error.__traceback__)
        if not frames:
            return ""
        package = self.module_name.partition(".")[0]
        own_lines = [line for name, line in frames if name.partition(".")[0] == package]
        all_lines = [line for _, line in frames]
        return f" ({(own_lines or all_lines)[-1]})"

    def _import_failure(self, error: BaseException) -> str:
        location = self.error_location(error)
        # Without a location the error comes from the entry point: it names an attribute that is missing.
        if isinstance(error, AttributeError) and not location:
            similar = difflib.get_close_matches(str(error.name), dir(error.obj), n=1)
            hint = f"correct the entry point of {self.distribution}"
            if similar:
                hint = f"did you mean {similar[0]!r}?"
            return f"has the entry point {self.module!r}, but {error}; {hint}"
        return f"fails to import: {error_text(error)}{location}"


def install_command(library: str, distribution: str) -> str | None:
    """Return the pip command for a library that a distribution requires, perhaps by an extra; else None."""
    from importlib.metadata import PackageNotFoundError, requires

    package = _normalized_name(_INSTALLED_AS.get(library, library))
    try:
        requirements = requires(distribution) or []
    except (
        PackageNotFoundError,
        ValueError,
    ):  # ValueError: a plugin without a distribution has no name.
        return None
    for requirement in requirements:
        name = re.match(r"[A-Za-z0-9._-]+", requirement)
        if name and _normalized_name(name[0]) == package:
            extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", requirement)
            return (
                f"pip install '{distribution}[{extra[1]}]'" if extra else f"pip install {name[0]}"
            )
    return None


def _normalized_name(name: str) -> str:
    """Return a distribution's name in the normalised form of PEP 503."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _frame_lines(trace: TracebackType | None) -> list[tuple[str, str]]:
    """Return module and ``file:line`` of the frames of a traceback, without those of the import system."""
    lines = []
    while trace is not None:
        frame = trace.tb_frame
        name = str(frame.f_globals.get("__name__", ""))
        if name.partition(".")[0] != "importlib" and name != __name__:
            lines.append((name, f"{frame.f_code.co_filename}:{trace.tb_lineno}"))
        trace = trace.tb_next
    return lines


SHARED_FOLDERS = ("site-packages", "dist-packages")
"""Folders into which many distributions are installed."""

HOST_PACKAGE = "advtransfer"
HOST_NAME = "host"
"""The plugin name of nodes that the host itself makes, such as subsets and batteries."""

_IMPORT_STATEMENT = re.compile(r"^[ \t]*(?:from|import)[ \t]+([A-Za-z_]\w*)", re.MULTILINE)


def code_digest(plugin: Plugin) -> str | None:
    """Return the sha256 of a plugin's files and their names; None for a plugin without files (in memory)."""
    files = code_files(plugin)
    if not files:
        return None
    return content_id(sorted([name, file_sha256(path)] for name, path in files.items()))


def code_files(plugin: Plugin) -> dict[str, Path]:
    """Return a plugin's files by path below the folder that it is imported from; imports no plugin."""
    files: dict[str, Path] = {}
    pending = [plugin.module_name]
    seen = {HOST_PACKAGE, plugin.module_name}
    while pending:
        for folder, path in _package_files(pending.pop()):
            files[path.relative_to(folder).as_posix()] = path
            new_modules = {
                name
                for name in _imported_modules(path) - seen
                if _in_same_distribution(name, folder, plugin)
            }
            seen |= new_modules
            pending += sorted(new_modules)
    return files


def plugins_of(node: Node) -> set[str]:
    """Return the plugins of a node and of all nodes below it, without the host's own name."""
    own_plugin, _, _ = node.use.partition("/")
    plugins = {own_plugin} - {HOST_NAME}
    for value in node.inputs.values():
        inputs = value if isinstance(value, tuple) else (value,)
        plugins.update(*map(plugins_of, inputs))
    return plugins


def _package_files(module: str) -> Iterator[tuple[Path, Path]]:
    """Yield import folder and path of each file of a module's outermost regular package, or of the module."""
    names = module.split(".")
    for end in range(1, len(names) + 1):
        origin, below = _module_origin(".".join(names[:end]))
        if origin is None:
            continue  # A namespace package, which several distributions may share.
        if below is None:
            yield origin.parents[end - 1], origin
        else:
            folder = below.parents[end - 1]
            yield from ((folder, path) for path in sorted(below.rglob("*")) if _is_code_file(path))
        return


def _module_origin(module: str) -> tuple[Path | None, Path | None]:
    """Return the file of a module and, for a package, its folder; None where there is none."""
    try:
        spec = importlib.util.find_spec(module)
    except (
        ImportError,
        ValueError,
    ):  # ValueError: a module without a spec was put into sys.modules.
        spec = None
    if spec is not None and spec.has_location:
        origin = spec.origin
    else:
        origin = getattr(sys.modules.get(module), "__file__", None)
    if origin is None or not Path(origin).is_file():
        return None, None
    path = Path(origin).resolve()
    return path, path.parent if path.name.startswith("__init__.") else None


def _is_code_file(path: Path) -> bool:
    return path.is_file() and (
        path.suffix == ".py" or path.name.endswith(tuple(EXTENSION_SUFFIXES))
    )


def _imported_modules(path: Path) -> set[str]:
    """Return the top-level names after ``import`` and ``from`` at the start of any line of a file."""
    if path.suffix != ".py":
        return set()
    return set(_IMPORT_STATEMENT.findall(path.read_text("utf-8", errors="replace")))


def _in_same_distribution(name: str, folder: Path, plugin: Plugin) -> bool:
    """Return whether a top-level module in the plugin's import folder belongs to its distribution."""
    if not any(path.exists() for path in (folder / name, folder / f"{name}.py")):
        return False
    listed = _listed_modules(plugin.distribution)
    if listed:
        return name in listed
    # An editable install lists no modules, but has its folder to itself.
    return folder.name not in SHARED_FOLDERS


@lru_cache
def _listed_modules(distribution: str) -> frozenset[str]:
    """Return the top-level modules among the files that a distribution lists."""
    try:
        files = metadata.files(distribution) or ()
    except (
        metadata.PackageNotFoundError,
        ValueError,
    ):  # ValueError: a plugin without a distribution.
        return frozenset()
    return frozenset(path.parts[0].removesuffix(".py") for path in files if path.suffix == ".py")
