"""A benchmark of adversarial robustness and transfer learning, built from plugins.

    import advtransfer as at

    report = at.run("quickstart")

Importing this package imports nothing else: the functions, the command line, plugins and workers
import what they use.
"""

# Not from `typing`, whose import takes longer than all the rest; type checkers know the name.
TYPE_CHECKING = False

if TYPE_CHECKING:
    from collections.abc import Iterable

    from advtransfer.api.arrays import dataset
    from advtransfer.api.catalogue import list_components as list
    from advtransfer.api.catalogue import show_name as show
    from advtransfer.api.check import check_plugin as check
    from advtransfer.api.evaluate import evaluate
    from advtransfer.api.in_memory import source
    from advtransfer.api.merge import merge_folders as merge
    from advtransfer.api.plan import plan_suite as plan
    from advtransfer.api.report import Report
    from advtransfer.api.report import open_run as open
    from advtransfer.api.run import run
    from advtransfer.errors import BadInput

    __version__: str
    __all__ = [
        "BadInput",
        "Report",
        "__version__",
        "check",
        "dataset",
        "evaluate",
        "list",
        "merge",
        "open",
        "plan",
        "run",
        "show",
        "source",
    ]
else:
    # `from advtransfer import *` must not replace the `list` and `open` of Python.
    __all__ = ["__version__"]

_NAMES = {
    "BadInput": "advtransfer.errors:BadInput",
    "Report": "advtransfer.api.report:Report",
    "check": "advtransfer.api.check:check_plugin",
    "dataset": "advtransfer.api.arrays:dataset",
    "evaluate": "advtransfer.api.evaluate:evaluate",
    "list": "advtransfer.api.catalogue:list_components",
    "merge": "advtransfer.api.merge:merge_folders",
    "open": "advtransfer.api.report:open_run",
    "plan": "advtransfer.api.plan:plan_suite",
    "run": "advtransfer.api.run:run",
    "show": "advtransfer.api.catalogue:show_name",
    "source": "advtransfer.api.in_memory:source",
}
"""Where each public name is, for an import when it is first used."""


def __getattr__(name: str) -> object:
    """Return a public name on first access: looking up the version alone takes a tenth of a command's start."""
    if name == "__version__":
        from importlib.metadata import version

        return version("advtransfer")
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module, _, attribute = _NAMES[name].partition(":")
    value = getattr(import_module(module), attribute)
    globals()[name] = value
    return value


def __dir__() -> "Iterable[str]":
    return sorted({*globals(), *_NAMES, "__version__"})
