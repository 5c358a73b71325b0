"""The project about itself: what its pages say is what its code and records give."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from advtransfer.cli import main
from advtransfer.hookspecs import Hooks
from advtransfer.host import Host
from advtransfer.planning import make_plan
from advtransfer.suite import load, shipped_suites

ROOT = Path(__file__).parents[1]
PAGES = [
    path
    for path in ROOT.rglob("*.md")
    if not set(path.relative_to(ROOT).parts) & {".venv", "runs", ".git", "node_modules"}
]


def test_the_readmes_table_is_what_the_committed_records_give() -> None:
    done = subprocess.run([sys.executable, str(ROOT / "tools" / "readme.py")], check=False)

    assert 0 == done.returncode, "run `make readme`"


def test_committed_pages_are_what_boards_and_submissions_give() -> None:
    done = CliRunner().invoke(main, ["pages", str(ROOT / "leaderboard"), "--check"])

    assert (done.exit_code, done.output) == (0, "")


@pytest.mark.parametrize("name", sorted(shipped_suites()))
def test_a_shipped_suite_plans_and_says_how_to_run_it(name: str) -> None:
    host = Host.discover()
    plan = make_plan(load(name, host, without_data=True), host)

    assert len(plan.trials) > 0
    assert f"advtransfer run {name}" in shipped_suites()[name].read_text().splitlines()[0]


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_link_to_a_file_is_broken(page: Path) -> None:
    links = re.findall(r"\]\(<?([^)#\s>]+)[^)]*\)", page.read_text("utf-8"))
    # The pages of the reference are made by `make docs`, which holds links to them.
    files = [link for link in links if "://" not in link and not link.startswith("reference/")]

    assert [] == [link for link in files if not (page.parent / link).exists()]


def test_every_hook_is_documented_and_exercised() -> None:
    hooks = [name for name in vars(Hooks) if not name.startswith("_")]
    tests = "".join(path.read_text("utf-8") for path in (ROOT / "tests").rglob("*.py"))

    assert [] == [name for name in hooks if not (getattr(Hooks, name).__doc__ or "").strip()]
    assert [] == [name for name in hooks if name not in tests]


def test_nothing_committed_names_a_machine_or_is_large() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    large = [path for path in files if path.is_file() and path.stat().st_size > 2**20]
    texts = [
        path
        for path in files
        if path.is_file() and path.suffix in {".md", ".toml", ".yaml", ".json", ".jsonl", ".py"}
    ]
    shown = [path for path in texts if not path.is_relative_to(ROOT / "tests")]

    assert [] == large
    assert [] == [
        path for path in shown if re.search(r"/(home|root|work|Users)/\w", path.read_text("utf-8"))
    ]
