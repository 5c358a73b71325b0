"""Every room of the host is either public for plugins or forbidden to them; a new one must be put on a side."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PUBLIC = {
    "errors",
    "exchange",
    "hookspecs",
    "jobs",
    "precheck",
    "testing",
    "text",
    "toolkit",
    "types",
}


def test_each_room_of_the_host_is_public_or_forbidden_to_plugins() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contracts = project["tool"]["importlinter"]["contracts"]
    (surface,) = (
        one for one in contracts if one["name"] == "plugins import the public surface only"
    )
    forbidden = {name.removeprefix("advtransfer.") for name in surface["forbidden_modules"]}
    package = ROOT / "benchmark" / "advtransfer"
    rooms = {path.stem for path in package.glob("[a-z_]*") if path.suffix == ".py"} | {
        path.parent.name for path in package.glob("*/__init__.py")
    }

    assert rooms - {"__init__"} == forbidden | PUBLIC
    assert not forbidden & PUBLIC
