"""Figures as data URIs: those of matplotlib are taken, and what could do anything is refused."""

from __future__ import annotations

import base64

import pytest

from advtransfer.export.figure_uri import figure_uri
from advtransfer.toolkit.plot_style import render_figure

SVG = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">{}</svg>'


@pytest.mark.parametrize(
    "content",
    [
        "<script>1</script>",
        "<g onload='x()'/>",
        "<a href='https://example.org'><path d='M0 0'/></a>",
        "<image href='http://example.org/x.png'/>",
        "<use xlink:href='other.svg#x'/>",
        "<image href='data:image/svg+xml;base64,AAAA'/>",
        "<image href='java&#115;cript:alert(1)'/>",
        "<style>@import 'x.css';</style>",
        "<style>g { fill: url(http://example.org) }</style>",
        "<path style='fill: u\\72l(x)' d='M0 0'/>",
        "<foreignObject><p xmlns='http://www.w3.org/1999/xhtml'>x</p></foreignObject>",
        "<script xmlns='http://www.w3.org/1999/xhtml'>1</script>",
        "<set attributeName='onload' to='x()'/>",
        "<animate attributeName='href'/>",
        "not closed <g>",
    ],
)
def test_a_figure_with_active_parts_is_refused(content: str) -> None:
    assert figure_uri("files/x/y.svg", SVG.format(content).encode()) is None


@pytest.mark.parametrize(
    "content",
    [
        b'<!DOCTYPE svg [<!ENTITY x "y">]><svg xmlns="http://www.w3.org/2000/svg"/>',
        b'<?xml-stylesheet href="x.css"?><svg xmlns="http://www.w3.org/2000/svg"/>',
        SVG.format("<g/>").encode("utf-16"),
        b"<html><script>1</script></html>",
        b"",
    ],
)
def test_a_file_that_is_no_plain_svg_is_refused(content: bytes) -> None:
    assert figure_uri("x.svg", content) is None
    assert figure_uri("x.png", content) is None
    assert figure_uri("x.html", content) is None


def test_figures_of_matplotlib_and_png_are_taken() -> None:
    from matplotlib.figure import Figure

    def build() -> Figure:
        figure = Figure()
        axes = figure.subplots()
        axes.plot([0, 1], [0, 1], label="only = onload=1")
        axes.imshow([[0, 1], [1, 0]])
        axes.legend()
        return figure

    for suffix, start in (("svg", "data:image/svg+xml;base64,"), ("png", "data:image/png;base64,")):
        content = render_figure(build, title="<script>", format=suffix)
        uri = figure_uri(f"x.{suffix}", content)
        assert uri is not None
        assert uri.startswith(start)
        assert content == base64.b64decode(uri.removeprefix(start))
