"""Rules for a plugin as a whole."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

from advtransfer.host import Host
from advtransfer.testing.kit.check import NotChecked, presupposed, require

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

    A factory is a named function with a docstring; its options are keyword-only and annotated with types
    that a suite can express, and their defaults have these types.
    """
    components = host.load_plugin(plugin)
    require(bool(components), "no component", "at least one that a register hook returns")


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
