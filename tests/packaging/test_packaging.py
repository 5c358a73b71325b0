"""What users install: a wheel in a fresh environment, and a third party's plugin beside it."""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from advtransfer.hookspecs import COMPONENT_KINDS

if TYPE_CHECKING:
    from tests.packaging.conftest import Environment

ROOT = Path(__file__).parents[2]


def test_the_wheel_holds_only_packages_of_this_name(wheel: Path) -> None:
    names = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}

    assert {name for name in names if not name.startswith("advtransfer")} == set()
    assert "advtransfer/suites/quickstart.yaml" in zipfile.ZipFile(wheel).namelist()
    assert "advtransfer/py.typed" in zipfile.ZipFile(wheel).namelist()


def test_the_installed_wheel_is_what_runs_from_anywhere(
    installed: Environment, tmp_path: Path
) -> None:
    where = installed("python", "-c", "import advtransfer; print(advtransfer.__file__)")
    plan = json.loads(installed("advtransfer", "plan", "quickstart", "--json"))
    two = ["--only", "source=random*,n=20,seed=0", "--battery", "none", "--jobs", "1"]
    ended = json.loads(
        installed("advtransfer", "run", "quickstart", "--runs", str(tmp_path), *two, "--json")
    )

    assert Path(where.strip()).is_relative_to(installed.folder)
    assert len(plan["trials"]) == 48
    assert (ended["done"], ended["failed"], ended["todo"]) == (2, 0, 46)


@pytest.mark.slow
def test_the_installed_wheel_runs_the_whole_quickstart(
    installed: Environment, tmp_path: Path
) -> None:
    ended = json.loads(
        installed("advtransfer", "run", "quickstart", "--runs", str(tmp_path), "--json")
    )

    assert (ended["done"], ended["failed"], ended["skipped"], ended["todo"]) == (48, 0, 0, 0)


def test_a_third_partys_plugin_is_listed_shown_and_run_beside_the_built_ins(
    installed: Environment, tmp_path: Path, example: Callable[[Path], Path]
) -> None:
    installed.install(example(tmp_path))
    listed = {one["name"]: one for one in json.loads(installed("advtransfer", "list", "--json"))}
    suite = tmp_path / "beside.yaml"
    suite.write_text(
        "datasets: {digits: {use: vision/digits}}\n"
        "sources: {random: {use: vision/random_init, data: digits}}\n"
        "targets: {digits: {data: digits, n: [50]}}\n"
        "transfers: {mean: {use: example/nearest_mean, shrink: 0.1}, probe: {use: finetune/linear_probe}}\n"
        "evaluations: {clean: {use: foolbox/clean_accuracy}}\n"
    )
    installed("advtransfer", "run", str(suite), "--jobs", "1", "--runs", str(tmp_path / "runs"))
    records = [
        json.loads(path.read_text())
        for path in (tmp_path / "runs" / "beside").glob("records/*/*.json")
    ]
    mean = next(record for record in records if record["asked"]["use"] == "example/nearest_mean")
    measured = next(
        record for record in records if record["asked"]["inputs"].get("model") == mean["id"]
    )

    assert listed["example/nearest_mean"]["plugin"] == "example"
    assert listed["example/nearest_mean"]["kind"] == "transfer"
    assert "foolbox/pgd" in listed
    assert "shrink" in installed("advtransfer", "show", "example/nearest_mean")
    assert mean["provenance"]["plugin"]["distribution"] == "advtransfer-example"
    assert measured["metrics"]["accuracy"]["value"] > 0.3


@pytest.mark.slow
@pytest.mark.parametrize("kind", COMPONENT_KINDS)
def test_new_distribution_passes_everything_the_moment_it_is_written(
    installed: Environment, tmp_path: Path, kind: str
) -> None:
    installed("advtransfer", "new", f"new-{kind}", "--kind", kind, "--into", str(tmp_path))
    folder = tmp_path / f"new-{kind}"
    installed.install(folder)
    readme = (folder / "README.md").read_text()
    install, *commands = [line.split() for line in readme.splitlines() if line.startswith("    ")]
    printed = {}
    for program, *arguments in commands:
        # Libraries are shared with the environment, programs are not.
        command = ["python", "-m", "pytest"] if program == "pytest" else [program]
        name = arguments[0] if arguments else program
        printed[name] = installed(*command, *arguments, cwd=str(folder))

    assert ["pip", "install"] == install[:2]
    assert ["show", "pytest", "check", "run", "leaderboard"] == list(printed)
    assert " passed" in printed["pytest"]
    assert " 0 broken" in printed["check"]
    assert re.search(r"([1-9]\d*) trials: \1 done, 0 failed, 0 skipped, 0 to do", printed["run"])
    assert (folder / "runs" / "suite" / "leaderboard.md").read_text() == printed["leaderboard"]
    assert "| rank |" in printed["leaderboard"]
    # The first rank or a range of ranks from it, and a value.
    assert re.search(r"^\| +1\S* \| .* \| +\.\d{3} ", printed["leaderboard"], flags=re.MULTILINE)


@pytest.fixture
def example() -> Callable[[Path], Path]:
    """Copies the example plugin, since building it writes into its folder."""
    import shutil

    def copied(to: Path) -> Path:
        return Path(shutil.copytree(ROOT / "tests" / "example_plugin", to / "example_plugin"))

    return copied
