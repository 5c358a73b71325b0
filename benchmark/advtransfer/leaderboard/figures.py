"""The figures of a page as files, drawn by the kinds that its suite requests."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, count

from advtransfer.leaderboard.figure_requests import FigureRequest, figure_requests
from advtransfer.leaderboard.run_data import RunData
from advtransfer.toolkit.plot_style import render_figure
from advtransfer.types import Drawing, Json


@dataclass(frozen=True, slots=True)
class PageFigure:
    """A figure of the page.

    Attributes:
        name: File name.
        draw: Draws the content of the file in a format of matplotlib, by default as SVG.
        text: Alternative text, which states what the figure shows.
        caption: Caption in markdown, perhaps with a table of the numbers.
    """

    name: str
    draw: Callable[..., bytes]
    text: str
    caption: str


def requested_figures(data: RunData) -> list[PageFigure]:
    """Return the figures that the suite requests, without those that have no number to show.

    Raises:
        BadInput: A figure's kind is unknown, or its settings cannot be met.
    """
    figures: dict[str, PageFigure] = {}
    settings: list[Mapping[str, Json]] = []
    for request in figure_requests(data):
        if request.inputs.settings in settings:
            continue
        settings.append(request.inputs.settings)
        drawing = request.kind.draw(request.inputs)
        if drawing is not None:
            figure = _page_figure(request, drawing)
            name = _unused_name(figure.name, figures)
            figures[name] = replace(figure, name=name)
    return list(figures.values())


def _unused_name(name: str, figures: Collection[str]) -> str:
    """Return a file name, with a number where figures that show the same in other rows have it already."""
    stem = name.removesuffix(".svg")
    names = chain([name], (f"{stem}_{number}.svg" for number in count(2)))
    return next(each for each in names if each not in figures)


def _page_figure(request: FigureRequest, drawing: Drawing) -> PageFigure:
    draw = partial(
        render_figure,
        drawing.build,
        title=drawing.title or drawing.name,
        description=drawing.text,
    )
    caption = "\n\n".join(filter(None, [drawing.caption, drawing.table]))
    return PageFigure(_file_name(request.name, drawing.name), draw, drawing.text, caption)


def _file_name(kind: str, name: str) -> str:
    # Column names hold characters such as @ and /, which have a meaning in paths and links.
    stem = re.sub(r"[^A-Za-z0-9.]+", "_", f"{kind}_{name}").strip("_.")
    return f"{stem}.svg"
