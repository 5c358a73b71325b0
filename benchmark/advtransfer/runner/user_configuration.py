"""The user's own configuration: plugins that listen to every run.

It is ``config.toml`` in ``~/.config/advtransfer``, or the file that ``ADVTRANSFER_CONFIG`` names. A suite
cannot switch on a listener, since a suite of others must not send anything anywhere.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterable
from pathlib import Path

from advtransfer.errors import BadInput, Problem
from advtransfer.host import Host

CONFIGURATION_VARIABLE = "ADVTRANSFER_CONFIG"
EXAMPLE = '[run] with plugins = ["tensorboard"]'


def load_listeners(names: Iterable[str], host: Host) -> None:
    """Load the named plugins and those of the user's configuration, which then hear the run.

    Raises:
        UnknownName: No plugin has one of these names.
        BadInput: The configuration cannot be read.
    """
    for name in dict.fromkeys([*names, *configured_plugins()]):
        host.load_plugin(name)


def configuration_path() -> Path | None:
    """Return the path of the user's configuration, which need not exist; None without a home folder."""
    named = os.environ.get(CONFIGURATION_VARIABLE)
    if named:
        return Path(named).expanduser()
    try:
        folder = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    except RuntimeError:  # A user without a home folder, as in containers.
        return None
    return Path(folder) / "advtransfer" / "config.toml"


def configured_plugins() -> list[str]:
    """Return ``plugins`` of the section ``[run]``; none without a file.

    Raises:
        BadInput: The file cannot be read, holds anything else, or `ADVTRANSFER_CONFIG` names no file.
    """
    path = configuration_path()
    if path is None:
        return []
    if not path.is_file():
        if os.environ.get(CONFIGURATION_VARIABLE):
            raise _bad_configuration(path, "no such file")
        return []
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _bad_configuration(path, str(error)) from error
    section = content.pop("run", {})
    if content or not isinstance(section, dict) or set(section) - {"plugins"}:
        extra = [*content, *(section if isinstance(section, dict) else {"run": section})]
        raise _bad_configuration(path, f"{', '.join(map(repr, extra))}")
    plugins = section.get("plugins", [])
    if not isinstance(plugins, list) or not all(isinstance(name, str) for name in plugins):
        raise _bad_configuration(path, f"plugins = {plugins!r}")
    return plugins


def _bad_configuration(path: Path, found: str) -> BadInput:
    next_step = f"correct the file, or the variable {CONFIGURATION_VARIABLE}"
    return BadInput([Problem(f"{path}: {found}", EXAMPLE, next_step)])
