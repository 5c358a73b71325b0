"""Figures can be read on a light and a dark page, by every color vision, and hold nothing but a picture."""

from __future__ import annotations

import re
import warnings
from functools import partial
from itertools import combinations
from xml.etree import ElementTree

import numpy as np
import pytest

from advtransfer.leaderboard.curves_plot import Curve, CurvePanel, CurvePoint, curves_figure
from advtransfer.leaderboard.points_plot import ScatterPanel, ScatterPoint, scatter_figure
from advtransfer.toolkit.plot_style import (
    COLORS,
    DARK_COLORS,
    DASHES,
    INK_COLOR,
    MARKERS,
    PAGE_COLORS,
    render_figure,
)

LIGHT_PAGE, DARK_PAGE = PAGE_COLORS
HOSTILE = "--><script>alert(1)</script>&\"'\ufffe]]>"
SVG = "{http://www.w3.org/2000/svg}"
# Machado, Oliveira and Fernandes (2009), severity 1: linear RGB as seen without L, M and S cones.
DEFICIENCIES = {
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def linear_rgb(color: str) -> np.ndarray:
    encoded = np.array([int(color[place : place + 2], 16) for place in (1, 3, 5)]) / 255
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def contrast(first: str, second: str) -> float:
    """Return the contrast ratio of WCAG 2.2."""
    darker, lighter = sorted(
        linear_rgb(color) @ (0.2126, 0.7152, 0.0722) for color in (first, second)
    )
    return float((lighter + 0.05) / (darker + 0.05))


def lab(rgb: np.ndarray) -> np.ndarray:
    """Return CIE L*a*b* of linear sRGB under D65."""
    matrix = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    ratios = np.clip(matrix @ rgb, 0, None) / (0.9505, 1.0, 1.089)
    roots = np.where(ratios > 216 / 24389, np.cbrt(ratios), (24389 / 27 * ratios + 16) / 116)
    return np.array([116 * roots[1] - 16, 500 * (roots[0] - roots[1]), 200 * (roots[1] - roots[2])])


def curve_figure(
    label: str = "natural", *, points: int = 2, title: str = "accuracy against n"
) -> bytes:
    curve = Curve(
        label, tuple(CurvePoint(x + 1.0, 0.5, (0.4, 0.6), bool(x % 2)) for x in range(points))
    )
    panel = CurvePanel(label, (curve,), (), "linear")
    build = partial(curves_figure, [[panel]], x=label, y=label)
    return render_figure(build, title=title, description=label)


def test_contrast_of_black_and_white_is_21() -> None:
    assert contrast("#000000", "#FFFFFF") == pytest.approx(21)
    assert contrast("#777777", "#FFFFFF") == pytest.approx(4.48, abs=0.01)


@pytest.mark.parametrize("color", sorted({*COLORS, INK_COLOR}))
def test_inks_stand_out_from_the_page_of_both_schemes(color: str) -> None:
    assert contrast(color, LIGHT_PAGE) >= 3
    # Without its scheme too, since not every reader tells an image the scheme of its page.
    assert contrast(color, DARK_PAGE) >= 3
    assert contrast(DARK_COLORS.get(color, color), DARK_PAGE) >= 3


def test_texts_have_the_contrast_of_text() -> None:
    assert contrast(INK_COLOR, LIGHT_PAGE) >= 4.5
    assert contrast(DARK_COLORS[INK_COLOR], DARK_PAGE) >= 4.5


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colors_differ_for_every_color_vision(deficiency: str, scheme: str) -> None:
    colors = COLORS if scheme == "light" else [DARK_COLORS.get(color, color) for color in COLORS]
    seen = [lab(np.array(DEFICIENCIES[deficiency]) @ linear_rgb(color)) for color in colors]

    # 2.3 is a just noticeable difference (Mahy et al., 1994).
    assert min(np.linalg.norm(a - b) for a, b in combinations(seen, 2)) > 2.3 * 4


def test_labels_differ_by_marker_and_dash_where_their_colors_repeat() -> None:
    looks = {
        (COLORS[index % len(COLORS)], MARKERS[index % len(MARKERS)], DASHES[index % len(DASHES)])
        for index in range(280)
    }

    assert len(looks) == 280
    assert len(set(MARKERS)) == 8
    assert len(set(DASHES)) == 5


def test_a_figure_has_no_background_and_changes_its_inks_on_a_dark_page() -> None:
    svg = curve_figure().decode()
    style = re.findall(r"@media \(prefers-color-scheme: dark\)\{(.*)\}", svg)

    assert "#ffffff" not in svg
    assert "#000000" not in svg
    assert len(style) == 1
    for color, dark in DARK_COLORS.items():
        assert f'[style*="stroke: {color.lower()}"]{{stroke:{dark} !important}}' in style[0]
    # The selectors meet the way in which matplotlib writes colors.
    assert f"fill: {INK_COLOR.lower()}" in svg.replace(style[0], "")


def test_a_figure_names_and_describes_itself() -> None:
    root = ElementTree.fromstring(curve_figure("natural <b>"))

    assert root.get("role") == "img"
    assert root.get("aria-labelledby") == "title description"
    assert [root[0].tag, root[0].text] == [f"{SVG}title", "accuracy against n"]
    assert [root[1].tag, root[1].text] == [f"{SVG}desc", "natural <b>"]


@pytest.mark.parametrize("kind", ["curves", "scatter"])
def test_a_foreign_label_stays_text(kind: str) -> None:
    if kind == "curves":
        svg = curve_figure(HOSTILE, title=HOSTILE)
    else:
        panel = ScatterPanel(HOSTILE, HOSTILE, (ScatterPoint(HOSTILE, ((0.1, 0.2),)),))
        build = partial(scatter_figure, [[panel]], y=HOSTILE)
        svg = render_figure(build, title=HOSTILE, description=HOSTILE)
    elements = list(ElementTree.fromstring(svg).iter())

    assert {element.tag for element in elements} <= {
        f"{SVG}{name}"
        for name in (
            "svg",
            "title",
            "desc",
            "style",
            "defs",
            "g",
            "path",
            "use",
            "clipPath",
            "rect",
        )
    }
    assert b"<!DOCTYPE" not in svg
    assert b"http" not in re.sub(rb'xmlns(:xlink)?="[^"]*"', b"", svg)
    for element in elements:
        for name, value in element.attrib.items():
            assert not name.lower().startswith("on")
            assert not name.endswith("href") or value.startswith("#")


def test_a_label_without_glyphs_warns_nobody() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        svg = curve_figure("自然").decode()

    assert "自然" in svg


@pytest.mark.parametrize("points", [2, 30])
def test_the_same_figure_has_the_same_bytes(points: int) -> None:
    assert curve_figure(points=points) == curve_figure(points=points)
    assert curve_figure(points=points) != curve_figure("robust", points=points)
