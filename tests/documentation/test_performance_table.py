"""The table of docs/performance.md is what scripts print, and scripts state their claims and times in one way."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "tests" / "performance"
STAND_INS = {
    "holds.py": """
import sys
from side_by_side.claims import at_least, at_most, report
print("chatter that is not JSON")
sys.exit(report([
    at_most("ours | theirs", 0.16349, 0.2, times="1 s, theirs 6.1 s"),
    at_least("times faster", 52.0, 50, times="2 s, loop 104 s"),
]))
""",
    "short.py": """
import sys
from side_by_side.claims import at_most, report
sys.exit(report([at_most("memory", 1025.0, 1024, unit="MiB", times="peak")]))
""",
    "skipped.py": """
import sys
from side_by_side.claims import NEEDS_MNIST, report
sys.exit(report([], not_measured=[NEEDS_MNIST]))
""",
    "crashes.py": "raise SystemExit('numbers differ')",
}
TABLE = """\
| claim | figure | limit | | measured | command |
|---|---|---|---|---|---|
| ours \\| theirs | 0.163 | at most 0.2 | holds | 1 s, theirs 6.1 s | `python tests/performance/holds.py` at COMMIT |
| times faster | 52 | at least 50 | holds | 2 s, loop 104 s | `python tests/performance/holds.py` at COMMIT |
| memory | 1020 MiB | at most 1024 | **falls short** | peak | `python tests/performance/short.py` at COMMIT |
"""


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # A frozen dataclass looks its module up.
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """tools/performance.py beside stand-in scripts and a page of its own."""
    module = load(ROOT / "tools" / "performance.py")
    scripts = tmp_path / "scripts"
    scripts.mkdir()
    for name, text in STAND_INS.items():
        (scripts / name).write_text(text)
    page = tmp_path / "performance.md"
    page.write_text(f"before\n{module.BEGIN}an old table\n{module.END}after\n")
    monkeypatch.setattr(module, "SCRIPTS", scripts)
    monkeypatch.setattr(module, "_commit", lambda: "COMMIT")
    monkeypatch.setattr(module, "PAGE", page)
    monkeypatch.setenv("PYTHONPATH", str(SCRIPTS))
    return module


def test_the_table_is_what_the_scripts_print(
    tool: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    code = tool.main([])
    page = tool.PAGE.read_text()
    output = capsys.readouterr().out

    assert 1 == code
    assert TABLE in page
    assert page.startswith(f"before\n{tool.BEGIN}\nMeasured on ")
    assert page.endswith(f"\n{tool.END}after\n")
    assert "an old table" not in page
    assert re.search(
        r"\| the longest of these scripts \| [\d.]+ s \| at most 180 \| holds \|", page
    )
    assert "- python tests/performance/skipped.py: all of it, which needs MNIST" in page
    assert "- python tests/performance/crashes.py: failed, no claims in its last line" in page
    assert "chatter that is not JSON" in output
    assert "failed: python tests/performance/short.py: a claim falls short" in output


def test_some_scripts_alone_exit_with_0_and_renew_their_rows(tool: ModuleType) -> None:
    tool.main([])
    before = tool.PAGE.read_text()
    path = tool.SCRIPTS / "holds.py"
    path.write_text(path.read_text().replace("0.16349", "0.11"))

    assert 0 == tool.main(["holds.py", "skipped.py"])
    assert before.replace("| 0.163 |", "| 0.11 |") == tool.PAGE.read_text()


def test_an_unknown_script_is_refused_by_name(
    tool: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    assert 2 == tool.main(["other.py"])
    assert "found other.py; expected names of crashes.py, holds.py" in capsys.readouterr().err


def test_a_script_beyond_its_time_falls_short(tool: ModuleType) -> None:
    result = tool.ScriptResult(
        command="python tests/performance/slow.py",
        seconds=180.4,
        claims=[],
        not_measured=[],
        failure=None,
    )

    assert (180.0, False) == tuple(
        tool.longest_script([result])[key] for key in ("figure", "holds")
    )


def test_the_page_names_scripts_that_exist() -> None:
    page = (ROOT / "docs" / "performance.md").read_text()
    named = set(re.findall(r"tests/performance/(\w+\.py)", page))

    assert named <= {path.name for path in SCRIPTS.glob("*.py")}


@pytest.mark.parametrize("script", sorted(SCRIPTS.glob("*.py")), ids=lambda path: path.stem)
def test_every_script_ends_with_the_line_that_the_table_is_made_of(script: Path) -> None:
    text = script.read_text()

    assert re.search(r"^    return report\(", text, re.MULTILINE)
    assert text.endswith('if __name__ == "__main__":\n    sys.exit(main())\n')


def test_a_limit_is_kept_before_the_figure_is_rounded(capsys: pytest.CaptureFixture[str]) -> None:
    claims = load(SCRIPTS / "side_by_side" / "claims.py")
    above = claims.at_most("time", 0.2000001, 0.2, times="")

    assert (0.2, False) == (above.figure, above.holds)
    assert claims.at_most("time", 0.2, 0.2, times="").holds
    assert not claims.at_least("times faster", 9.9999, 10, times="").holds
    assert not claims.at_most("time", float("nan"), 0.2, times="").holds
    assert 1 == claims.report([above])
    assert {
        "claims": [
            {
                "claim": "time",
                "figure": 0.2,
                "unit": "",
                "wanted": "at most 0.2",
                "holds": False,
                "times": "",
            }
        ],
        "not_measured": [],
    } == json.loads(capsys.readouterr().out.splitlines()[-1])


def test_ways_take_turns_and_the_least_time_counts() -> None:
    timing = load(SCRIPTS / "side_by_side" / "timing.py")
    calls: list[str] = []
    # Warming up is not timed. Then a takes 5 and b 7 seconds; in reverse b takes 2, a 9.
    clock = iter([0.0, 5.0, 5.0, 12.0, 12.0, 14.0, 14.0, 23.0])
    seconds = timing.alternate(
        {"a": lambda: calls.append("a"), "b": lambda: calls.append("b")},
        repeats=2,
        clock=lambda: next(clock),
    )

    assert ["a", "b", "a", "b", "b", "a"] == calls
    assert {"a": 5.0, "b": 2.0} == seconds
    assert "b" == timing.fastest(seconds, ["a", "b"])
