"""Rules for a plugin as a whole."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

from advtransfer.hookspecs import QUESTIONS
from advtransfer.host import Host
from advtransfer.testing.kit.check import NotChecked, presupposed, require
from advtransfer.types import Factory

IMPORT_SECONDS = 60
HEAVY_LIBRARIES = (
    "torch",
    "tensorflow",
    "jax",
    "foolbox",
    "sklearn",
    "matplotlib",
    "pandas",
    "timm",
)
"""Libraries that a factory imports inside its body, so that `advtransfer list` stays quick."""

_LIST_HEAVY = """
import importlib, sys
importlib.import_module(sys.argv[1])
print(*[name for name in sys.argv[2:] if name in sys.modules])
"""


def registers(host: Host, plugin: str) -> None:
    """The host loads the plugin: its hooks exist, and its factories keep the contract.

    A plugin needs no component: one with event hooks alone follows runs.
    A factory is a named function with a docstring; its options are keyword-only and annotated with types
    that a suite can express, and their defaults have these types. No module of its package has its name.
    """
    components = host.load_plugin(plugin)
    hooks = host.hooks_of(plugin)
    require(bool(hooks), "no hook", "at least one function with @hookimpl above it")
    # An event hook is called whatever else there is; a register hook that returns nothing is a slip.
    is_empty = not components and all(hook in QUESTIONS for hook in hooks)
    require(not is_empty, "no component", "at least one that a register hook returns")
    modules = [_module_of_its_name(component.factory) for component in components.values()]
    hiding = ", ".join(filter(None, modules))
    expected = "modules of other names, since they hide the factories once they are imported"
    require(not hiding, f"{hiding} beside factories of these names", expected)


def _module_of_its_name(factory: Factory[object]) -> str | None:
    """Return the module that takes a factory's place in its package when it is imported, or None.

    Importing ``demo.ridge`` sets the attribute ``ridge`` of the package ``demo``, where the hook looks for the factory.
    """
    package = factory.__module__
    name = f"{package}.{factory.__name__}"
    is_package = hasattr(sys.modules.get(package), "__path__")
    return name if is_package and find_spec(name) is not None else None


def loads_lightly(host: Host, plugin: str) -> None:
    """Importing the plugin imports no heavy library."""
    with presupposed("registers"):
        registers(host, plugin)
    module = host.plugin(plugin).module_name
    if not module or find_spec(module) is None:
        raise NotChecked("the plugin is no module that another process could import")
    completed = subprocess.run(
        [sys.executable, "-c", _LIST_HEAVY, module, *HEAVY_LIBRARIES],
        env={"PYTHONPATH": ":".join(sys.path), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=IMPORT_SECONDS,
    )
    require(completed.returncode == 0, f"an error: {completed.stderr[-300:]}", "an import")
    heavy = ", ".join(completed.stdout.split())
    require(not heavy, f"{heavy} imported with {module}", "none; import it inside the factory")


RULES = (registers, loads_lightly)
