"""`tests/conftest.py` refuses skips in CI that it does not list."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).with_name("conftest.py")
LISTED = "pytest.skip('ADVTRANSFER_DATA is not set')"
UNLISTED = "pytest.skip('not today')"


def ended(folder: Path, body: str, **variables: str) -> tuple[int, str]:
    """The exit code and the output of pytest on one test beside a copy of the conftest."""
    (folder / "conftest.py").write_text(CONFTEST.read_text())
    (folder / "test_a.py").write_text(f"import pytest\n\ndef test_a():\n    {body}\n")
    others = {
        name: value for name, value in os.environ.items() if name not in ("CI", "ADVTRANSFER_DATA")
    }
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(folder),
        str(folder),
    ]
    others["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = (
        "1"  # They take a second to load, and add nothing here.
    )
    run = subprocess.run(
        command, cwd=folder, env=others | variables, capture_output=True, text=True, check=False
    )
    return run.returncode, run.stdout


@pytest.mark.parametrize(
    ("body", "variables", "code"),
    [
        (UNLISTED, {"CI": "true"}, 1),
        (UNLISTED, {}, 0),
        (LISTED, {"CI": "true"}, 0),
        (LISTED, {"CI": "true", "ADVTRANSFER_DATA": "somewhere"}, 1),
        ("pytest.xfail('known')", {"CI": "true"}, 0),
    ],
    ids=["unlisted", "not in CI", "listed", "the data are there", "expected failure"],
)
def test_in_ci_a_skip_that_is_not_listed_is_a_failure(
    tmp_path: Path, body: str, variables: dict[str, str], code: int
) -> None:
    found, output = ended(tmp_path, body, **variables)

    assert code == found, output
    assert ("test_a.py::test_a: " in output) == (code == 1)


def test_so_is_a_module_that_is_skipped_for_a_missing_library(tmp_path: Path) -> None:
    (tmp_path / "test_b.py").write_text(
        "import pytest\npytest.importorskip('nothing', reason='nothing is gone')\n"
    )
    found, output = ended(tmp_path, "pass", CI="true")

    assert 1 == found
    assert "test_b.py: nothing is gone" in output
