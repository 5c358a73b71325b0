"""Sphinx configuration.

The source folder is the repository, so that the links of a page work here and where it is read as a file.

make docs
"""

from __future__ import annotations

import sys
from importlib.metadata import version as distribution_version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

DOCS = Path(__file__).parent
OPTIONAL_PAGES = ("python", "plugins", "tracking", "doctor")
"""Pages that the index links where they are there; features in work bring them."""

project = "advtransfer"
author = "the authors of advtransfer"
version = release = distribution_version("advtransfer")

extensions = ["myst_parser", "reference_pages"]
root_doc = "docs/index"
source_suffix = {".md": "markdown"}
include_patterns = ["docs/**.md", "CONTRIBUTING.md", "CHANGELOG.md"]
# Folders that are not pruned here are walked through, file by file.
exclude_patterns = [
    ".*",
    "benchmark",
    "build",
    "dist",
    "docs/_build",
    "leaderboard",
    "runs",
    "tests",
]
nitpicky = True

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = "advtransfer"
html_extra_path = ["_root"]
html_show_copyright = False


def _drop_absent_pages(app: object, docname: str, source: list[str]) -> None:
    """Leave out of the index the optional pages that are not there."""
    if docname == root_doc:
        absent = [page for page in OPTIONAL_PAGES if not (DOCS / f"{page}.md").exists()]
        lines = (line for line in source[0].splitlines() if line not in absent)
        source[0] = "\n".join(lines)


def setup(app: Sphinx) -> None:
    """Connect the filter of the index."""
    app.connect("source-read", _drop_absent_pages)
