"""Sphinx configuration.

The source folder is the repository, so that the links of a page work here and where it is read as a file.

make docs
"""

from __future__ import annotations

import sys
from importlib.metadata import version as distribution_version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tools"))

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
