"""Each format gives back what was exported, and foreign text stays text in all of them."""

from __future__ import annotations

import base64
import csv
import hashlib
import html
import io
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from advtransfer.export import EXPORT_TABLES, metric_rows, outcome_rows
from advtransfer.export.evidence import EvidenceIndex
from advtransfer.export.html_page import html_page, script_json, sort_value
from advtransfer.export.latex import FIT_TO_LINE, escape_latex, latex_tables, table_latex
from advtransfer.export.page_blocks import PageTable, parse_text, plain_text
from advtransfer.export.writers import csv_cell, write_csv, write_json, write_parquet
from advtransfer.leaderboard import make_page
from advtransfer.leaderboard.markdown import escape_markdown, inline_code
from advtransfer.leaderboard.run_data import gather_run_data
from advtransfer.text import ABSENT, printable_text

if TYPE_CHECKING:
    from tests.leaderboard.conftest import Bench

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")
LATEX_COMMANDS = {
    *("begin", "end", "centering", "small", "setlength", "tabcolsep", "caption", "toprule"),
    *("midrule", "bottomrule", "texttt", "textbf", "textbackslash", "textasciitilde"),
    *("textasciicircum", "textless", "textgreater", "textbar", "symbol", "Delta", "checkmark"),
    *("dag", "ddag", "S", "P", "lozenge", "times", "pm", "leq", "geq"),
    *("{", "}", "$", "&", "#", "_", "%", "\\"),
}


def written_bytes(bench: Bench, table: str, writer: Callable[..., None]) -> bytes:
    data = gather_run_data(bench.run())
    rows = metric_rows(data) if table == "metrics" else outcome_rows(data)
    file = io.BytesIO()
    writer(rows, EXPORT_TABLES[table], file)
    return file.getvalue()


def expected_rows(bench: Bench, table: str) -> list[dict[str, Any]]:  # Any: cells of a table
    data = gather_run_data(bench.run())
    return [dict(row) for row in (metric_rows(data) if table == "metrics" else outcome_rows(data))]


@pytest.mark.parametrize("table", EXPORT_TABLES)
def test_csv_gives_every_value_back(hostile: Bench, table: str) -> None:
    content = written_bytes(hostile, table, write_csv)
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8"), newline="")))
    expected = expected_rows(hostile, table)

    assert len(expected) == len(rows)
    for row, wanted in zip(rows, expected, strict=True):
        for column in EXPORT_TABLES[table]:
            cell, value = row[column.name], wanted[column.name]
            if column.type == "text":
                assert printable_text(value or "") == cell.removeprefix("'")
                assert not cell.startswith(FORMULA_STARTS)
            else:
                assert (None if cell == "" else float(cell)) == value
    # RFC 4180: lines end in CR LF, and the only other line ends are inside quotes.
    assert content.endswith(b"\r\n")
    assert b"\x1b" not in content


@pytest.mark.parametrize("number", [-0.5, -3, 1e-300, 0.1 + 0.2, 12345678901234567])
def test_numbers_of_csv_are_never_touched(number: float) -> None:
    assert number is csv_cell(number)


@pytest.mark.parametrize("table", EXPORT_TABLES)
def test_json_gives_every_value_back(hostile: Bench, table: str) -> None:
    content = written_bytes(hostile, table, write_json)

    assert expected_rows(hostile, table) == json.loads(content)
    assert content.isascii()


@pytest.mark.parametrize("table", EXPORT_TABLES)
def test_parquet_gives_every_value_and_meaning_back(hostile: Bench, table: str) -> None:
    parquet = pytest.importorskip("pyarrow.parquet", reason="pip install 'advtransfer[parquet]'")
    read = parquet.read_table(io.BytesIO(written_bytes(hostile, table, write_parquet)))

    expected = [
        {
            name: value.encode("utf-8", "backslashreplace").decode()
            if isinstance(value, str)
            else value
            for name, value in row.items()
        }
        for row in expected_rows(hostile, table)
    ]
    assert expected == read.to_pylist()
    meanings = [field.metadata[b"meaning"].decode() for field in read.schema]
    assert [column.meaning for column in EXPORT_TABLES[table]] == meanings


@pytest.mark.parametrize("writer", [write_csv, write_json])
def test_an_export_without_lines_is_readable(writer: Callable[..., None]) -> None:
    file = io.BytesIO()
    writer([], EXPORT_TABLES["outcomes"], file)
    text = file.getvalue().decode()

    if writer is write_json:
        assert [] == json.loads(text)
    else:
        assert [[column.name for column in EXPORT_TABLES["outcomes"]]] == list(
            csv.reader(io.StringIO(text))
        )


# --- the page in other formats ---


def test_page_texts_are_parsed_back(canary: str) -> None:
    shown = " ".join(printable_text(canary).split())

    assert shown == plain_text(parse_text(escape_markdown(canary)))
    code = parse_text(inline_code(canary))
    assert shown.replace("`", "'") == plain_text(code)
    assert all(span.code for span in code)
    assert "a **b** [.1, .2] c" == plain_text(parse_text(r"a \*\*b\*\* [.1, .2] `c`"))


def test_sort_values_are_the_first_number_of_a_cell() -> None:
    cells = [
        "**.704** [.650, .751] ✓ 1.5",
        "at most .5",
        "2-4",
        "1,200",
        "baseline",
        ABSENT,
        "-.03",
    ]

    values = [sort_value(parse_text(cell), is_number=True) for cell in cells]

    assert [".704", ".5", "2", "1200", "", "", "-.03"] == values
    assert "linf 0.1" == sort_value(parse_text("Linf 0.1"), is_number=False)


def latex_of(bench: Bench) -> str:
    data = gather_run_data(bench.run())
    return latex_tables(make_page(bench.run()).markdown, EvidenceIndex(data).headings)


def assert_strict_latex(text: str) -> None:
    """Hold LaTeX to what is known: commands on the list, braces closed, as many & as columns."""
    body = re.sub(r"(?m)^%.*\n", "", text)
    assert body.count(FIT_TO_LINE) == body.count(r"\begin{table}")
    body = body.replace(FIT_TO_LINE, "{")
    tokens = re.findall(r"\\(?:[A-Za-z]+|.|\n)|[^\\]", body)
    commands = {token[1:] for token in tokens if token.startswith("\\")}
    assert commands <= LATEX_COMMANDS
    bare = [token for token in tokens if not token.startswith("\\")]
    assert not {"#", "_", "%", "^", "~", "<", ">", '"', "`"}.intersection(bare)
    depth = 0
    for token in bare:
        depth += (token == "{") - (token == "}")
        assert depth >= 0
    assert 0 == depth
    assert 0 == bare.count("$") % 2
    environments = re.findall(r"\\(begin|end)\{(\w+)\}", body)
    assert {"table", "tabular"} == {name for _, name in environments}
    for columns, table in re.findall(
        r"\\begin\{tabular\}\{@\{\}([lr]+)@\{\}\}\n(.*?)\\end\{tabular\}", body, re.DOTALL
    ):
        rows = [line for line in table.splitlines() if line.endswith(r" \\")]
        assert rows
        for row in rows:
            assert len(columns) == 1 + len(re.findall(r"(?<!\\)&", row))


def test_latex_has_every_results_table_and_only_known_commands(hostile: Bench) -> None:
    text = latex_of(hostile)

    assert_strict_latex(text)
    assert make_page(hostile.run()).markdown.count("\n### ") == text.count(r"\begin{tabular}")
    assert r"\textbackslash{}input\{/etc/passwd\}" in text
    assert "U+4E2DU+6587" in text


@pytest.mark.parametrize("bad", [r"\input{x}", "a & b", "100 %", "x_1", "$", "{", "#"])
def test_the_strict_reader_of_latex_refuses_what_is_not_escaped(bad: str) -> None:
    table = PageTable((parse_text("source"),), (False,), ((parse_text("natural"),),))
    text = table_latex(table, parse_text("digits"), ())
    assert_strict_latex(text)
    with pytest.raises(AssertionError):
        assert_strict_latex(text.replace("natural", bad))


def test_latex_writes_minus_signs_and_no_ligatures() -> None:
    assert r"$-$.03 {[}a]" == escape_latex("-.03 ").strip() + r" {[}a]"
    assert "a-{}-{}b" == escape_latex("a--b")


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="pdflatex is not installed [latex]")
def test_latex_compiles(hostile: Bench, tmp_path: Path) -> None:
    (tmp_path / "tables.tex").write_text(latex_of(hostile), "utf-8")
    document = (
        "\\documentclass{article}\\usepackage{booktabs,amssymb,graphicx}\n"
        "\\begin{document}\\input{tables}\\end{document}\n"
    )
    (tmp_path / "paper.tex").write_text(document)
    command = [
        "pdflatex",
        "-draftmode",
        "-interaction=nonstopmode",
        "-halt-on-error",
        "-no-shell-escape",
        "paper",
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert 0 == done.returncode, done.stdout[-2000:]


class StrictReader(HTMLParser):
    """Collects elements, attributes and text of an HTML document."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.content: dict[str, list[str]] = {}
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert tag == self.open.pop()

    def handle_data(self, data: str) -> None:
        self.content.setdefault(self.open[-1] if self.open else "", []).append(data)


HTML_ELEMENTS = {
    *("html", "head", "meta", "title", "style", "body", "main", "script", "h1", "h2", "h3"),
    *("p", "ul", "li", "div", "label", "input", "output", "table", "thead", "tbody", "tr", "th"),
    *("td", "span", "button", "code", "strong", "figure", "img", "details", "summary", "a"),
}


def html_of(bench: Bench, figures: dict[str, bytes] | None = None) -> str:
    data = gather_run_data(bench.run(), keep_checks=True)
    page = make_page(bench.run())
    contents = {**page.figures, **(figures or {})}
    return html_page(
        page.markdown,
        title=data.plan.title,
        evidence=EvidenceIndex(data),
        figures=contents.get,
    )


def read_html(text: str) -> StrictReader:
    text.encode("utf-8")
    reader = StrictReader()
    reader.feed(text.removeprefix("<!doctype html>\n"))
    reader.close()
    assert [] == reader.open
    return reader


def test_html_of_hostile_labels_has_no_element_or_attribute_of_theirs(hostile: Bench) -> None:
    text = html_of(hostile)
    reader = read_html(text)

    assert {tag for tag, _ in reader.elements} <= HTML_ELEMENTS
    names = {name for _, attributes in reader.elements for name in attributes}
    assert not [name for name in names if name.startswith("on") or name in ("style", "srcdoc")]
    assert 2 == sum(tag == "script" for tag, _ in reader.elements)
    assert 2 == text.lower().count("</script")
    for tag, attributes in reader.elements:
        for name in ("src", "href"):
            assert (attributes.get(name) or "data:").startswith("data:"), tag
    shown = "".join("".join(parts) for parts in reader.content.values())
    assert "</script><script>window.canary = 1</script>" in shown


def test_html_policy_allows_its_own_script_and_style_alone(bench: Bench) -> None:
    text = html_of(bench.filled())
    reader = read_html(text)
    (policy,) = (
        attributes["content"] or ""
        for tag, attributes in reader.elements
        if tag == "meta" and "http-equiv" in attributes
    )
    directives = dict(part.split(maxsplit=1) for part in policy.split("; "))

    assert "'none'" == directives["default-src"]
    assert "data:" == directives["img-src"]
    for tag, name in (("style", "style-src"), ("script", "script-src")):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"'sha256-{digest}'" == directives[name]


def test_every_row_of_a_results_table_opens_the_lines_of_its_trials(hostile: Bench) -> None:
    bench = hostile
    bench.checked(bench.trial("natural", 0, 0.5), [0] * 60 + [1] * 40, broken=[0, 1])
    reader = read_html(html_of(bench))
    keys = [
        str(attributes["data-row"]) for _, attributes in reader.elements if "data-row" in attributes
    ]
    evidence = json.loads(reader.content["script"][0])
    trial_column = evidence["columns"].index("trial")
    # The best rows stand on top of the page too.
    found = [
        {evidence["texts"][line[trial_column]] for line in evidence["rows"][key]}
        for key in sorted(set(keys))
    ]

    assert set(keys) == set(evidence["rows"])
    assert {trial["id"] for trial in bench.trials} == set().union(*found)
    assert len(bench.trials) == sum(map(len, found))
    checks = evidence["checks"]
    missed = evidence["texts"].index("missed")
    (id,) = (id for id in checks if any(each[0] == missed for each in checks[id]))
    assert bench.records[id]["kind"] == "result"


def test_json_in_html_cannot_end_its_element() -> None:
    value = {"<!--": ["</script>", "]]>", "&amp;", "\u2028\u2029", "\ud800"]}
    text = script_json(value)

    assert value == json.loads(text)
    assert not set("<>&\u2028\u2029").intersection(text)


def test_html_shows_figures_inline_and_names_refused_ones(bench: Bench) -> None:
    bench.filled()
    bench.leaderboard["figures"] = [{"kind": "accuracy_vs_n", "metric": "clean.accuracy"}]
    name = next(iter(make_page(bench.run()).figures))

    assert '<img src="data:image/svg+xml;base64,' in html_of(bench)
    # A foreign figure may have black texts and no background.
    foreign = html_of(bench, {name: b"<svg xmlns='http://www.w3.org/2000/svg'/>"})
    assert '<img class="light" src="data:image/svg+xml;base64,' in foreign
    refused = html_of(
        bench, {name: b"<svg xmlns='http://www.w3.org/2000/svg'><script>1</script></svg>"}
    )
    assert "<img" not in refused
    assert "this figure was refused" in html.unescape(refused)
