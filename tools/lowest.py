"""Print the lowest versions that pyproject.toml admits, one constraint a line, for `make test-lowest`.

    python tools/lowest.py > constraints.txt

They are those of the package, of its extras and of the group `test`, each ``>=`` read as ``==``. Needs no library.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(\[[\w,]+\])?>=(?P<lowest>[\w.]+)(,<[\w.]+)?")


def lowest(requirement: str) -> tuple[str, str]:
    """The library and the lowest version of it.

    Raises:
        ValueError: There is none.
    """
    parts = REQUIREMENT.fullmatch(requirement)
    if parts is None:
        raise ValueError(
            f"found {requirement!r} in pyproject.toml; expected 'name>=lowest' or 'name>=lowest,<limit'"
        )
    return parts["name"], parts["lowest"]


def constraints(path: Path) -> dict[str, str]:
    """The lowest version of each library.

    Raises:
        ValueError: A library has none, or two.
    """
    written = tomllib.loads(path.read_text())
    project = written["project"]
    groups = [
        project["dependencies"],
        *project["optional-dependencies"].values(),
        written["dependency-groups"]["test"],
    ]
    found: dict[str, str] = {}
    for name, version in (lowest(requirement) for group in groups for requirement in group):
        if found.setdefault(name, version) != version:
            raise ValueError(
                f"found {name}>={found[name]} and {name}>={version}; expected one lowest version"
            )
    return found


if __name__ == "__main__":
    for name, version in constraints(
        Path(__file__).resolve().parents[1] / "pyproject.toml"
    ).items():
        sys.stdout.write(f"{name}=={version}\n")
