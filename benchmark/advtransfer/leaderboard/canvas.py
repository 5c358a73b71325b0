"""Figures as bytes: the same figure gives the same bytes, whatever a user's matplotlib settings say.

Colours are those of Okabe and Ito (2008), told apart by every kind of colour vision.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

from advtransfer.printable import printable

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
LEGEND_COLUMNS = 5
SETTINGS: dict[Any, object] = {  # Any: matplotlib types the keys as literals, and only from 3.11 on
    "svg.hashsalt": "advtransfer",
    "svg.fonttype": "path",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.linewidth": 0.8,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
}


def saved(build: Callable[[], Figure], *, title: str, format: str = "svg") -> bytes:
    """What `build` draws, as the bytes of a file (SVG, or another format of matplotlib)."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        figure = build()
        file = io.BytesIO()
        metadata = {"Date": None, "Creator": None, "Title": printable(title)} if format == "svg" else None
        figure.savefig(file, format=format, metadata=metadata, dpi=100)
        return file.getvalue()


def legend_rows(labels: Sequence[str]) -> int:
    """How many lines the legend of so many labels takes."""
    return ceil(len(labels) / LEGEND_COLUMNS)


def legend(figure: Figure, handles: Mapping[str, Artist], *, labels: Sequence[str]) -> None:
    """One legend under the panels, of the labels that are drawn."""
    shown = [label for label in labels if label in handles]
    figure.legend(
        [handles[label] for label in shown],
        [plain(label) for label in shown],
        loc="outside lower center",
        ncols=ceil(len(shown) / legend_rows(labels)),
        frameon=False,
    )


def plain(text: str) -> str:
    """A label as it is: a leading underscore would leave it out of the legend."""
    text = printable(text)
    return f" {text}" if text.startswith("_") else text
