"""The hand-made runs of the leaderboard's tests, and labels that try to break out of every format."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from tests.leaderboard.conftest import Bench

CANARIES = {
    "formula": "=cmd|' /C calc'!A0",
    "at": "@SUM(1+1)",
    "plus": "+1+cmd",
    "minus": "-2+3",
    "apostrophe": "'quoted",
    "tab": "\t=1+1",
    "script": "</script><script>window.canary = 1</script>",
    "image": "<img src=x onerror='window.canary = 1'>",
    "entity": "&lt;b&gt; &amp; <!-- -->",
    "input": r"\input{/etc/passwd} \end{document}",
    "latex": '$x^2_3$ & 50 % # ~ {a} `b` "c" --',
    "markdown": "**bold** `code` [link](http://example.org) | cell | ![x](y.svg)",
    "line": "two\nlines\r\nand \x1b[31mred\x1b[0m",
    "surrogate": "lone \ud800 surrogate",
    "unicode": "中文 ✓ é \u2028 \u202e",
}


def leaderboard_fixtures() -> Any:  # noqa: ANN401  # Any: a module
    """Return the conftest of the leaderboard's tests, which no test here can import by name."""
    path = Path(__file__).parents[1] / "leaderboard" / "conftest.py"
    spec = importlib.util.spec_from_file_location("leaderboard_fixtures", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


FIXTURES = leaderboard_fixtures()
bench = FIXTURES.bench
written = FIXTURES.written


@pytest.fixture
def hostile(bench: Bench) -> Bench:
    """A run in which every label and reason is a canary."""
    bench.title = CANARIES["script"]
    bench.leaderboard["note"] = CANARIES["image"]
    bench.leaderboard["baseline"] = CANARIES["script"]
    for number, (name, label) in enumerate(CANARIES.items()):
        bench.trial(label, 0, 0.5 + number / 100, 0.2, transfer=f"{name} {label}", adapter=label)
        trial = bench.trial(label, 2, target=label, transfer=label)
        bench.attempt(trial["id"], label)
    return bench


@pytest.fixture(params=list(CANARIES.values()), ids=list(CANARIES))
def canary(request: pytest.FixtureRequest) -> str:
    """Each of the labels that try to break out."""
    return str(request.param)
