"""The suites that come with advtransfer, by name."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path


def shipped() -> Mapping[str, Path]:
    """Name to file, sorted: inside the installed package, or, in a source checkout, in the repository's ``suites/``."""
    package = Path(str(files("advtransfer")))
    inside = package / "suites"
    folder = inside if inside.is_dir() else package.parents[1] / "suites"
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}
