"""The look of every figure: colors, fonts, and SVG files that can be read on a light and on a dark page.

The colors are those of Okabe and Ito (2008, "Color Universal Design"), which can be told apart with every kind
of color vision; labels differ by marker and dash too. A figure has no background. Its inks have a contrast of 3:1
or more (WCAG 2.2, 1.4.11) to white and to a dark page, for readers that do not tell an SVG which scheme the page
has; where they do, a style sheet in the file changes to the inks of the dark scheme.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from advtransfer.text import printable_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure


COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#99763D", "#0096F2", "#636363")
"""Colors of labels. The last three stand for orange and sky blue, too light for a white page, and black."""
INK_COLOR = "#636363"
"""Color of texts and axes."""
DARK_COLORS: Mapping[str, str] = {"#99763D": "#E69F00", "#0096F2": "#56B4E9", INK_COLOR: "#D0D0D0"}
"""The colors that another one replaces on a dark page."""
PAGE_COLORS = ("#FFFFFF", "#0D1117")
"""A light and a dark page, for the contrast of inks."""
DARK_SCHEME = "prefers-color-scheme: dark"
"""The condition of style rules for a dark page."""
GRID: dict[str, Any] = {"color": "#808080", "alpha": 0.25, "linewidth": 0.8}
"""Faint lines on either page. Any: matplotlib types each keyword for itself."""
HATCHES = ("", "///", "...", "xxx", "\\\\\\", "+++", "oo")
"""Fills of bars, in the order of the labels; the first is plain."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES: tuple[tuple[float, tuple[float, ...]], ...] = (
    (0, ()),
    (0, (5, 1.5)),
    (0, (1, 1.2)),
    (0, (5, 1.5, 1, 1.5)),
    (0, (3, 1, 1, 1, 1, 1)),
)
# A fixed salt makes the ids in an SVG the same in every process; glyphs as paths do not depend on
# installed fonts. Any: matplotlib types the keys as literals, and only from 3.11 on.
MATPLOTLIB_SETTINGS: dict[Any, object] = {
    "svg.hashsalt": "advtransfer",
    "svg.fonttype": "path",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 10,
    "axes.linewidth": 0.8,
    "axes.edgecolor": INK_COLOR,
    "axes.labelcolor": INK_COLOR,
    "axes.titlecolor": INK_COLOR,
    "axes.facecolor": "none",
    "text.color": INK_COLOR,
    "xtick.color": INK_COLOR,
    "ytick.color": INK_COLOR,
    "figure.facecolor": "none",
    "savefig.facecolor": "none",
}
_NO_XML_CHARACTER = re.compile("[\ufffe\uffff]")  # of those that `printable_text` leaves


def render_figure(
    build: Callable[[], Figure], *, title: str, description: str = "", format: str = "svg"
) -> bytes:
    """Return the bytes of the figure that `build` makes: the same for the same figure, whatever the user's settings.

    Args:
        build: Makes the figure; called with fixed matplotlib settings.
        title: Name of an SVG figure, for screen readers.
        description: What it shows, for screen readers.
        format: File format of matplotlib.
    """
    import matplotlib

    # Date and creator (with matplotlib's version) would change the bytes of an SVG.
    metadata = dict.fromkeys(("Date", "Creator", "Format", "Type")) if format == "svg" else None
    with matplotlib.rc_context(), warnings.catch_warnings():
        # A label in a script that the font lacks is drawn as boxes; the description has its text.
        warnings.filterwarnings(
            "ignore", message="Glyph .* missing from font", category=UserWarning
        )
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(MATPLOTLIB_SETTINGS)
        figure = build()
        file = io.BytesIO()
        figure.savefig(file, format=format, metadata=metadata, dpi=100)
    if format != "svg":
        return file.getvalue()
    return _accessible_svg(file.getvalue().decode(), title=title, description=description).encode()


def label_text(text: str) -> str:
    """Return a label on one line, as matplotlib shows it unchanged."""
    text = " ".join(_xml_text(text).split())
    # matplotlib leaves labels with a leading underscore out of the legend.
    return f" {text}" if text.startswith("_") else text


def _xml_text(text: str) -> str:
    """Return the text without characters that no XML file may hold."""
    return _NO_XML_CHARACTER.sub("\ufffd", printable_text(text))


def _accessible_svg(svg: str, *, title: str, description: str) -> str:
    """Return matplotlib's SVG with a title, a description and the dark scheme, and without a reference to its DTD."""
    root = svg.index("<svg ")
    end = svg.index(">", root)
    parts = [
        svg[:root].partition("<!DOCTYPE")[0],
        svg[root:end],
        ' role="img" aria-labelledby="title description">\n',
        f' <title id="title">{escape(_xml_text(title))}</title>\n',
        f' <desc id="description">{escape(_xml_text(description))}</desc>\n' if description else "",
        f' <style type="text/css">{_dark_style()}</style>',
        svg[end + 1 :],
    ]
    text = "".join(parts)
    return text if description else text.replace('"title description"', '"title"', 1)


def _dark_style() -> str:
    """Return a style sheet that replaces colors on a dark page; matplotlib writes them into each element's style."""
    rules: list[str] = []
    for color, dark in DARK_COLORS.items():
        for paint in ("fill", "stroke"):
            rules.append(f'[style*="{paint}: {color.lower()}"]{{{paint}:{dark} !important}}')
    return f"@media ({DARK_SCHEME}){{{''.join(rules)}}}"
