"""Every block of code of the documentation is run, page by page and in order, or says on the page why not.

`sh` blocks are run by bash and `python` blocks in one namespace, in a folder of the page's own that holds the published
leaderboard and a finished run. A `yaml` block is a suite, or what a suite adds to the quickstart; it is planned. `text`
is output or a drawing. A block below a line "*Not run here: reason.*" is not run.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sybil import Document, Example
from sybil.document import Document as PlainDocument
from sybil.parsers.myst import CodeBlockParser, PythonCodeBlockParser

from advtransfer import planning, suite
from advtransfer.host import Host

ROOT = Path(__file__).parents[2]
PAGES = sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md"])
SLOW_PAGES = {
    "first_suite.md",
    "models_in_memory.md",
    "python.md",
    "submit.md",
    "your_data.md",
}
"""Pages that train or measure; they take more than 20 s on a busy machine."""
LANGUAGES = ("sh", "python", "yaml", "text")
NOT_RUN = re.compile(r"\*Not run here: (?P<reason>[^*]+)\.\*\s*$")
NOT_RUN_COUNT = 29
"""The number of blocks that are not run. Raise it only with a reason that a reader of the page accepts."""


def reason_not_run(example: Example) -> str | None:
    """Return the reason that stands above a block, or None where it is to be run."""
    marker = NOT_RUN.search(example.document.text[: example.start].rstrip())
    return marker["reason"] if marker else None


def run_shell(example: Example) -> str | None:
    """Run a block by bash; return what it printed where it fails."""
    scripts = str(Path(sys.executable).parent)
    environment = {**os.environ, "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", example.parsed],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    return f"exit code {done.returncode}:\n{done.stdout}{done.stderr}" if done.returncode else None


def plan_suite(example: Example) -> str | None:
    """Plan a suite, and write it into the page's folder under the name in its first line."""
    name = re.match(r"# ([\w-]+\.yaml)\n", example.parsed)
    path = Path(name[1] if name else "block.yaml")
    begin = (
        ""
        if re.search(r"^(version|extends):", example.parsed, re.MULTILINE)
        else "extends: quickstart\n"
    )
    version = "" if re.search(r"^version:", example.parsed, re.MULTILINE) else "version: 1\n"
    path.write_text(f"{version}{begin}{example.parsed}", "utf-8")
    host = Host.discover()
    plan = planning.make_plan(suite.load(str(path), host), host)
    return None if plan.trials else "the suite has no trials"


def parse_page(path: Path) -> Document:
    return PlainDocument.parse(
        str(path),
        CodeBlockParser("sh", run_shell),
        CodeBlockParser("yaml", plan_suite),
        PythonCodeBlockParser(),
    )


def page_parameters() -> list[object]:
    return [
        pytest.param(
            page, id=page.name, marks=[pytest.mark.slow] if page.name in SLOW_PAGES else []
        )
        for page in PAGES
    ]


@pytest.fixture
def page_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what a checkout has after `make quickstart`, and a cache of its own."""
    shutil.copytree(ROOT / "leaderboard", tmp_path / "leaderboard")
    published = tmp_path / "leaderboard" / "results" / "quickstart" / "advtransfer"
    shutil.copytree(published, tmp_path / "runs" / "quickstart")
    for name in ("examples", "tools", "tests", "CITATION.cff"):
        (tmp_path / name).symlink_to(ROOT / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADVTRANSFER_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.parametrize("page", page_parameters())
@pytest.mark.usefixtures("page_folder")
def test_the_blocks_of_a_page_run(page: Path) -> None:
    for example in parse_page(page).examples():
        if reason_not_run(example) is None:
            example.evaluate()


def test_blocks_that_are_not_run_say_why_and_are_counted() -> None:
    reasons = [
        (page.name, reason)
        for page in PAGES
        for example in parse_page(page).examples()
        if (reason := reason_not_run(example))
    ]

    assert len(reasons) == NOT_RUN_COUNT, reasons


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_block_is_fenced_and_names_its_language(page: Path) -> None:
    text = page.read_text("utf-8")
    fences = re.findall(r"^ *```(.*)$", text, re.MULTILINE)
    opened = [language for language in fences[::2] if not language.startswith("{")]
    outside = re.sub(r"^ *```.*?^ *```$", "", text, flags=re.MULTILINE | re.DOTALL)

    assert set(opened) <= set(LANGUAGES)
    assert set(fences[1::2]) <= {""}
    # Four spaces after an empty line are a block in Markdown, which nothing would run.
    assert re.findall(r"\n\n    (?![ \d*-]).*", outside) == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_text_blocks_hold_no_commands(page: Path) -> None:
    blocks = re.findall(
        r"^ *```text\n(.*?)^ *```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )

    commands = [
        block for block in blocks if re.match(r" *(\$ |advtransfer [a-z]+ |python |pip )", block)
    ]
    assert commands == []
