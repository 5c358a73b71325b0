"""The interpretations from the suite to the page: every figure that it shows is there and shows something."""

from __future__ import annotations

import re
import xml.etree.ElementTree
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from click.testing import Result
from PIL import Image

from advtransfer.host import Host
from advtransfer.suite import load

SMALL = """\
extends: interpret_digits
defaults:
  vision/trained: {epochs: 2}
sources:
  natural: {seeds: 1}
  linf: {seeds: 1, adversary: {steps: 1}}
targets:
  digits_5_9: {n: [30], test: 40}
evaluations:
  saliency: {images: 2}
  features: {units: [0], images: 1, steps: 2}
  surface: {images: 1, rings: 2}
"""
FIGURES = {
    "saliency.png",
    "alignment.png",
    "influence.png",
    "class_match.svg",
    "features.png",
    "loss_surface.png",
}


def shows_something(path: Path) -> bool:
    """Whether a picture has shapes, or pixels of more than one colour."""
    if path.suffix == ".svg":
        return any(
            element.tag.endswith("}path") for element in xml.etree.ElementTree.parse(path).iter()
        )
    with Image.open(path) as picture:
        return picture.getcolors(1) is None


def test_every_figure_of_the_interpretations_is_on_the_page_for_both_sources(
    inline: Callable[..., Result],
) -> None:
    Path("small.yaml").write_text(SMALL)
    inline("run", "small.yaml")
    run = Path("runs/small")
    page = (run / "leaderboard.md").read_text()
    shown = re.findall(r"!\[(\w+) -> [^]]*\]\((files/[^)]*)\)", page)

    assert {(source, name) for source in ("natural", "linf") for name in FIGURES} == {
        (source, Path(path).name) for source, path in shown
    }
    assert 2 * len(FIGURES) == len(shown)
    assert [] == [path for _, path in shown if not shows_something(run / path)]
    assert "| natural | probe" in page
    assert all(
        column in page
        for column in ("saliency.roughness", "alignment.remainder", "influence.three_of_five")
    )


def test_the_shipped_suite_compares_natural_with_robust_trainings_and_damps_by_the_probes_penalty() -> (
    None
):
    suite = load("interpret_digits", Host.discover())
    probe = suite.transfers[0].node.options
    uses = {cell.node.use: cell.node.options for cell in suite.evaluations}
    interpretations = {
        one.name
        for one in Host.discover().components("evaluation")
        if one.name.startswith("interpret/")
    }

    assert Counter({"natural": 3, "linf": 3}) == Counter(cell.key for cell in suite.sources)
    assert interpretations | {"foolbox/clean_accuracy"} == set(uses)
    assert 1.0 == probe["C"] == uses["interpret/influence"]["damping"]
