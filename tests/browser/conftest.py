"""A headless Chromium: playwright's own or the system's, whichever is there."""

from __future__ import annotations

import importlib.util
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest

Json_: TypeAlias = Any  # playwright's objects and a foreign module; neither has types here
SYSTEM_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
INSTALL = (
    "no Chromium [browser]: `python -m playwright install chromium`, or the system's package "
    "(Debian: `apt-get install chromium`)"
)


def export_fixtures() -> Json_:
    """Return the conftest of the tests of exports, which no test here can import by name."""
    path = Path(__file__).parents[1] / "export" / "conftest.py"
    spec = importlib.util.spec_from_file_location("export_fixtures", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


FIXTURES = export_fixtures()
bench = FIXTURES.bench
hostile = FIXTURES.hostile


def launch_browser(chromium: Json_) -> Json_:
    """Return a browser of playwright's, else of the system's; None without either."""
    # Chromium refuses to run as root with its sandbox, as in most containers.
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    paths = [chromium.executable_path, *filter(None, map(shutil.which, SYSTEM_BROWSERS))]
    for path in paths:
        if Path(path).is_file():
            return chromium.launch(executable_path=path, args=arguments)
    return None


@pytest.fixture(scope="session")
def browser() -> Iterator[Json_]:
    """A headless Chromium for all tests of this folder."""
    api = pytest.importorskip(
        "playwright.sync_api",
        reason=f"no playwright [browser]: `pip install playwright`; {INSTALL}",
    )
    with api.sync_playwright() as playwright:
        launched = launch_browser(playwright.chromium)
        if launched is None:
            pytest.skip(INSTALL)
        yield launched
        launched.close()


@pytest.fixture
def visit(browser: Json_) -> Iterator[Callable[..., Json_]]:
    """Open a file in a fresh page, which keeps what it logs (`logged`) and requests (`requested`)."""
    contexts = []

    def open_page(path: Path, **settings: Json_) -> Json_:
        context = browser.new_context(**settings)
        contexts.append(context)
        page = context.new_page()
        page.logged, page.requested = [], []
        page.on("console", lambda message: page.logged.append(message.text))
        page.on("pageerror", lambda error: page.logged.append(str(error)))
        page.on("request", lambda request: page.requested.append(request.url))
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
