"""One installed plugin: how it is imported, and what is said when that fails."""

from __future__ import annotations

import difflib
import re
import sys
from dataclasses import dataclass
from types import TracebackType

from advtransfer.errors import AdvTransferError, MissingLibrary, PluginError
from advtransfer.hookspecs import GROUP

# Where the name that is imported and the name that is installed differ.
_INSTALLED_AS = {"sklearn": "scikit-learn", "yaml": "pyyaml", "PIL": "pillow", "cv2": "opencv-python"}

# An object reference of the packaging specification, `module` or `module:attribute`, perhaps with (obsolete) extras.
_REFERENCE = re.compile(r"[\w.]+\s*(:\s*[\w.]+\s*)?(\[.*\]\s*)?")


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

        if not _REFERENCE.fullmatch(self.module):
            raise PluginError(self.name, f"has the entry point {self.module!r}; expected module or module:attribute")
        try:
            return EntryPoint(self.name, self.module, GROUP).load()
        except KeyboardInterrupt:
            raise
        except ModuleNotFoundError as error:
            raise self.missing(error, f"plugin {self.name!r}") from error
        except BaseException as error:  # a plugin that exits, or raises what is no Exception, breaks itself alone
            raise PluginError(self.name, self._failure(error)) from error

    def missing(self, error: ModuleNotFoundError, component: str) -> AdvTransferError:
        """What is said of a module that the plugin imports and that is not there.

        A command to install is told only where the plugin's distribution names what brings the module: a package of
        the module's name may be anybody's.
        """
        module = str(error.name)
        library = module.partition(".")[0]
        own = self.module_name
        if module == own or own.startswith(f"{module}."):
            found = f"has the entry point {self.module!r}, but there is no module {module!r}"
            return PluginError(self.name, f"{found}; correct the entry point of {self.distribution}, and reinstall it")
        place = self.place_of(error)
        if library == own.partition(".")[0] or sys.modules.get(library) is not None:
            return PluginError(self.name, f"imports {module!r}, which does not exist{place}; correct the import")
        return MissingLibrary(
            library, component, install_line(library, self.distribution), where=f"it imports {module!r}{place}"
        )

    def place_of(self, error: BaseException) -> str:
        """Where in the plugin's files an error comes from, `` (file:line)``; empty where it comes from none."""
        if isinstance(error, SyntaxError) and error.filename:
            return f" ({error.filename}:{error.lineno})"
        lines = list(_lines(error.__traceback__))
        package = self.module_name.partition(".")[0]
        own = [line for name, line in lines if name.partition(".")[0] == package]
        return f" ({(own or [line for _, line in lines])[-1]})" if lines else ""

    def _failure(self, error: BaseException) -> str:
        place = self.place_of(error)
        if isinstance(error, AttributeError) and not place:
            near = difflib.get_close_matches(str(error.name), dir(error.obj), n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"correct the entry point of {self.distribution}"
            return f"has the entry point {self.module!r}, but {error}; {hint}"
        return f"fails to import: {described(error)}{place}"


def described(error: BaseException) -> str:
    """An error on one line: its type and what it says."""
    try:
        text = " ".join(str(error).split())
    except Exception as unreadable:  # the error of a plugin may not even have a text
        text = f"its text fails with {type(unreadable).__name__}"
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def install_line(library: str, distribution: str) -> str | None:
    """The pip command that brings a library, where a distribution requires it, perhaps by an extra; None elsewhere."""
    from importlib.metadata import PackageNotFoundError, requires

    wanted = _normalised(_INSTALLED_AS.get(library, library))
    try:
        requirements = requires(distribution) or []
    except (PackageNotFoundError, ValueError):  # ValueError: a plugin without a distribution has no name for it
        return None
    for requirement in requirements:
        name = re.match(r"[A-Za-z0-9._-]+", requirement)
        extra = re.search(r"extra\s*==\s*['\"]([^'\"]+)['\"]", requirement)
        if name and _normalised(name[0]) == wanted:
            return f"pip install '{distribution}[{extra[1]}]'" if extra else f"pip install {name[0]}"
    return None


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _lines(trace: TracebackType | None) -> list[tuple[str, str]]:
    """The module and ``file:line`` of each frame of a traceback, but for those of importing itself."""
    found = []
    while trace is not None:
        name = str(trace.tb_frame.f_globals.get("__name__", ""))
        if name.partition(".")[0] != "importlib" and name != __name__:
            found.append((name, f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"))
        trace = trace.tb_next
    return found
