"""A benchmark of adversarial robustness and transfer learning, built from plugins.

    import advtransfer as at

    report = at.run("quickstart")

Importing this package imports nothing else: the functions, the command line, plugins and workers
import what they use.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from advtransfer.api import Report as Report
    from advtransfer.api import dataset as dataset
    from advtransfer.api import evaluate as evaluate
    from advtransfer.api import open as open
    from advtransfer.api import run as run
    from advtransfer.api import source as source
    from advtransfer.errors import BadInput as BadInput

    __version__: str

_MODULES = {
    "BadInput": "advtransfer.errors",
    "Report": "advtransfer.api",
    "dataset": "advtransfer.api",
    "evaluate": "advtransfer.api",
    "open": "advtransfer.api",
    "run": "advtransfer.api",
    "source": "advtransfer.api",
}
"""The module of each public name, imported when the name is first used."""

# `from advtransfer import *` must not replace the `list` and `open` of Python.
__all__ = ["__version__"]


def __getattr__(name: str) -> object:
    """Return a public name on first access: looking up the version alone takes a tenth of a command's start."""
    if name == "__version__":
        from importlib.metadata import version

        return version("advtransfer")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_MODULES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES, "__version__"})
