"""The exported HTML in a browser: sorting, filtering, evidence, both colour schemes, a phone, no request."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from PIL import Image

from advtransfer.export import export_to_path, metric_rows
from advtransfer.export.evidence import EvidenceIndex
from advtransfer.export.html_page import html_page
from advtransfer.leaderboard import load_run_records, make_page
from advtransfer.leaderboard.run_data import gather_run_data
from advtransfer.result import Run

if TYPE_CHECKING:
    from tests.leaderboard.conftest import Bench

Page: TypeAlias = Any  # playwright's, which is not always installed
Visit: TypeAlias = "Callable[..., Page]"
RESULTS = Path(__file__).parents[2] / "leaderboard" / "results"
(QUICKSTART,) = {path.parent for path in RESULTS.glob("quickstart/**/plan.json")}
SCHEMES = {"light": {}, "dark": {"color_scheme": "dark"}}
CELL_VALUES = """table => [...table.tBodies[0].rows].map(
    row => [...row.cells].map(cell => cell.dataset.value ?? null))"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The committed quickstart as HTML."""
    path = tmp_path_factory.mktemp("html") / "quickstart.html"
    export_to_path(Run.open(QUICKSTART), path, table="metrics", format="html", warn=pytest.fail)
    return path


def assert_silent(page: Page) -> None:
    """Nothing was logged, and nothing but the file itself and its data URIs was requested."""
    assert [] == page.logged
    assert [page.url] == [url for url in page.requested if not url.startswith("data:")]


def sorted_values(values: Sequence[str], *, is_number: bool, descending: bool) -> list[str]:
    """Return values in order, by Python; those without a value last."""
    present = [value for value in values if value]
    key: Callable[[str], Any] = float if is_number else str.casefold
    return sorted(present, key=key, reverse=descending) + [""] * (len(values) - len(present))


def test_every_table_is_sorted_by_every_column(exported: Path, visit: Visit) -> None:
    page = visit(exported)
    page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    sorted_columns = 0
    for table in page.locator("main table").all():
        for head in table.locator("th[aria-sort]").all():
            column = head.evaluate("head => head.cellIndex")
            is_number = "number" in head.get_attribute("class")
            before = sorted(map(repr, table.evaluate(CELL_VALUES)))
            for direction in ("ascending", "descending"):
                head.locator("button").click()
                rows = table.evaluate(CELL_VALUES)
                values = [row[column] for row in rows]
                assert direction == head.get_attribute("aria-sort")
                assert values == sorted_values(
                    values, is_number=is_number, descending=direction == "descending"
                )
                assert before == sorted(map(repr, rows))  # whole rows moved
            sorted_columns += 1
        assert 1 == table.locator("th:not([aria-sort=none])[aria-sort]").count()
    assert sorted_columns >= 20
    assert_silent(page)


def test_filter_shows_the_rows_with_all_words(exported: Path, visit: Visit) -> None:
    page = visit(exported)
    table = page.locator("table:has(button.open)").last
    name = table.get_attribute("id")
    field = page.locator(f"input[aria-controls={name}]")
    count = page.locator(f".tools:has(input[aria-controls={name}]) output")
    total = table.locator("tbody tr").count()
    field.fill("NATURAL probe")
    shown = table.locator("tbody tr:visible")

    assert 0 < shown.count() < total
    for text in shown.all_inner_texts():
        assert "natural" in text
        assert "probe" in text
    assert f"{shown.count()} of {total} rows" == count.inner_text()
    field.fill("no such row")
    assert 0 == shown.count()
    field.fill("")
    assert total == shown.count()
    assert_silent(page)


def test_evidence_of_every_row_is_that_of_its_trials(exported: Path, visit: Visit) -> None:
    data = gather_run_data(load_run_records(Run.open(QUICKSTART)))
    lines = list(metric_rows(data))
    page = visit(exported)
    buttons = page.locator("button.open")
    keys = {button.get_attribute("data-row") for button in buttons.all()}
    assert len(keys) == len({(each["n"], each["source"], each["transfer"]) for each in lines})
    for button in buttons.all():
        button.click()
    text = page.locator(".panel").all_text_contents()
    shown = " ".join(text)
    for line in lines:
        for name in ("trial", "result", "batteries", "environment"):
            assert str(line[name] or "") in shown
    first = text[0]
    for part in (
        "checked",
        "robust_accuracy@0.1",
        "missed",
        "269 of 269",
        "Checks",
        "huge_eps",
        "torch",
    ):
        assert part in first
    assert_silent(page)


def test_evidence_opens_by_keyboard_and_follows_its_row(exported: Path, visit: Visit) -> None:
    page = visit(exported)
    table = page.locator("table:has(button.open)").last
    button = table.locator("button.open").first
    label = button.get_attribute("aria-label")
    button.focus()
    page.keyboard.press("Enter")
    assert "true" == button.get_attribute("aria-expanded")
    for _ in range(2):
        page.keyboard.press("Tab")  # on to the evidence, which can be scrolled and opened
        assert "BODY" != page.evaluate("document.activeElement.tagName")
    head = table.locator("th[aria-sort] button").last
    head.focus()
    page.keyboard.press("Space")
    page.keyboard.press("Space")
    owner = table.locator("tr.evidence").evaluate(
        "row => row.previousElementSibling.querySelector('button').getAttribute('aria-label')"
    )
    assert label == owner
    same = table.locator(f'button.open[aria-label="{label}"]')
    same.focus()
    page.keyboard.press("Enter")
    assert "false" == same.get_attribute("aria-expanded")
    assert 0 == table.locator("tr.evidence").count()
    assert_silent(page)


def contrast_ratio(first: Sequence[float], second: Sequence[float]) -> float:
    """Return the contrast of two sRGB colours by WCAG 2.1."""

    def luminance(color: Sequence[float]) -> float:
        linear = [
            value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
            for value in (channel / 255 for channel in color)
        ]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_texts_are_readable_in_both_colour_schemes(
    exported: Path, visit: Visit, scheme: str
) -> None:
    page = visit(exported, **SCHEMES[scheme])
    page.locator("button.open").first.click()
    colors = page.evaluate(
        """() => {
        const read = value => value.match(/[\\d.]+/g).slice(0, 3).map(Number);
        const found = {page: read(getComputedStyle(document.body).backgroundColor)};
        for (const [name, selector] of Object.entries({
            text: "body", note: "output", checked: ".checked", doubt: ".unchecked", button: ".open"}))
            found[name] = read(getComputedStyle(document.querySelector(selector)).color);
        return found;
        }"""
    )
    background = colors.pop("page")
    assert (sum(background) > 600) == (scheme == "light")
    for name, color in colors.items():
        assert contrast_ratio(color, background) >= 4.5, name
    assert_silent(page)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_texts_in_figures_are_readable_in_both_colour_schemes(
    exported: Path, visit: Visit, scheme: str
) -> None:
    page = visit(exported, **SCHEMES[scheme])
    page.evaluate("document.querySelectorAll('details').forEach(part => { part.open = true; })")
    figures = page.locator("figure img").all()
    assert figures
    for figure in figures:
        with Image.open(io.BytesIO(figure.screenshot())) as image:
            content = image.convert("RGB").tobytes()
        counts = Counter(zip(content[::3], content[1::3], content[2::3], strict=True))
        background = max(counts, key=counts.__getitem__)
        assert (sum(background) > 600) == (scheme == "light")
        # Texts and axes are grey; the page of the dark scheme is slightly blue.
        greys = {color: n for color, n in counts.items() if max(color) - min(color) <= 12}
        readable = sum(n for color, n in greys.items() if contrast_ratio(color, background) >= 4.5)
        assert readable > 300, figure.get_attribute("alt")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_phone_shows_the_page_without_scrolling_sideways(
    exported: Path, visit: Visit, scheme: str
) -> None:
    page = visit(exported, viewport={"width": 400, "height": 800}, **SCHEMES[scheme])
    page.locator("button.open").first.click()
    for summary in page.locator("summary:visible").all():
        summary.click()

    assert 400 == page.evaluate("document.documentElement.scrollWidth")
    panel = page.locator(".panel").first.bounding_box()
    assert 0 <= panel["x"]
    assert panel["x"] + panel["width"] <= 400
    for box in page.locator("figure img").all():
        assert box.bounding_box()["width"] <= 400
        assert box.evaluate("image => image.naturalWidth") > 0
    assert_silent(page)


def test_hostile_labels_run_nothing(hostile: Bench, visit: Visit, tmp_path: Path) -> None:
    data = gather_run_data(hostile.run(), keep_checks=True)
    page_text = make_page(hostile.run()).markdown
    content = html_page(
        page_text, title=data.plan.title, evidence=EvidenceIndex(data), figures=lambda path: None
    )
    path = tmp_path / "hostile.html"
    path.write_text(content, "utf-8")
    page = visit(path)
    page.evaluate("document.querySelectorAll('button').forEach(button => button.click())")

    assert len(hostile.trials) // 2 <= page.locator(".panel").count()
    assert page.evaluate("window.canary === undefined")
    assert 2 == page.locator("script").count()
    assert 0 == page.locator("main img, main script").count()
    assert "</script><script>window.canary = 1</script>" == page.title()
    assert_silent(page)


def test_policy_stops_what_a_script_would_add(exported: Path, visit: Visit) -> None:
    page = visit(exported)
    added = page.evaluate(
        """async () => {
        const script = document.createElement("script");
        script.textContent = "window.canary = 1";
        document.head.append(script);
        const image = new Image();
        const blocked = new Promise(done => { image.onerror = () => done(true); });
        image.src = "https://example.org/x.png";
        let fetched = true;
        try { await fetch("https://example.org/"); } catch { fetched = false; }
        return {ran: "canary" in window, fetched, image: await blocked};
        }"""
    )

    assert {"ran": False, "fetched": False, "image": True} == added
    refusals = [text for text in page.logged if "Content Security Policy" in text]
    for directive in ("script-src", "img-src", "default-src"):
        assert any(directive in text for text in refusals)


def test_evidence_is_json_that_other_programs_can_read(exported: Path, visit: Visit) -> None:
    page = visit(exported)
    evidence = json.loads(page.locator("#evidence").text_content())

    assert set(evidence) == {"columns", "is_text", "texts", "rows", "checks", "environments"}
