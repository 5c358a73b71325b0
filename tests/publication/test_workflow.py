"""The workflow of the leaderboard: what a request may do is read off the file."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

FOLDER = Path(__file__).parents[2] / ".github" / "workflows"
FILE = FOLDER / "leaderboard.yml"


def workflow() -> dict[Any, Any]:  # Any: YAML
    return cast("dict[Any, Any]", yaml.safe_load(FILE.read_text("utf-8")))


def test_actions_are_pinned_by_commit_with_their_tag_and_no_secret_is_named() -> None:
    for file in FOLDER.glob("*.yml"):
        text = file.read_text("utf-8")
        uses = re.findall(r"uses: (.*)", text)
        pin = r"actions/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+"

        assert uses
        assert [] == [use for use in uses if not re.fullmatch(pin, use)]
        assert "secrets" not in text
        # One commit for one action and tag.
        assert len({use.partition(" ")[0] for use in uses}) == len(set(uses))


def test_a_suite_without_a_board_fails() -> None:
    runs = [step["run"] for step in workflow()["jobs"]["verify"]["steps"] if "run" in step]

    assert any("advtransfer verify" in run for run in runs)
    assert not any("--no-board" in run for run in runs)


def test_only_main_may_write_and_a_request_is_read_by_the_base_branch() -> None:
    content = workflow()
    jobs = content["jobs"]
    events = content[True]  # YAML reads the key `on` as true.

    assert {"contents": "read"} == content["permissions"]
    assert {"pull_request", "push", "workflow_dispatch"} == events.keys()
    assert ["pages"] == [name for name, job in jobs.items() if "permissions" in job]
    assert "github.event_name == 'push'" == jobs["pages"]["if"]
    assert ["main"] == events["push"]["branches"]
    assert "github.event.pull_request.base.sha" in jobs["verify"]["steps"][0]["with"]["ref"]
    assert not any("--replay" in step.get("run", "") for step in jobs["verify"]["steps"])


def test_no_text_of_a_request_is_put_into_a_script() -> None:
    scripts = [
        step["run"] for job in workflow()["jobs"].values() for step in job["steps"] if "run" in step
    ]

    assert [] == [script for script in scripts if "${{" in script]


OURS = "leaderboard/results/quickstart/ours"
MINE = "leaderboard/results/quickstart/mine"
GIT_IDENTITY = {
    f"GIT_{role}_{field}": "nobody@example.org"
    for role in ("AUTHOR", "COMMITTER")
    for field in ("NAME", "EMAIL")
}


def git(folder: Path, *arguments: str) -> None:
    environment = {**os.environ, **GIT_IDENTITY, "GIT_CONFIG_GLOBAL": os.devnull}
    command = ["git", "-C", str(folder), *arguments]
    subprocess.run(command, check=True, capture_output=True, env=environment)


def take_request(
    folder: Path, *, written: dict[str, str], removed: str | None = None
) -> tuple[int, str, Path]:
    """Return exit code, output and checkout of the step that takes a request with these changes."""
    origin, checkout = folder / "origin", folder / "checkout"
    origin.mkdir()
    git(origin, "init", "--quiet", "--initial-branch=main")
    for name in (f"{OURS}/manifest.json", f"{OURS}/plan.json", "benchmark/code.py"):
        (origin / name).parent.mkdir(parents=True, exist_ok=True)
        (origin / name).write_text("ours")
    git(origin, "add", ".")
    git(origin, "commit", "--quiet", "-m", "base")
    git(folder, "clone", "--quiet", str(origin), str(checkout))
    for name, text in written.items():
        (origin / name).parent.mkdir(parents=True, exist_ok=True)
        (origin / name).write_text(text)
    if removed:
        (origin / removed).unlink()
    git(origin, "add", "--all")
    git(origin, "commit", "--quiet", "--allow-empty", "-m", "request")
    git(origin, "update-ref", "refs/pull/7/head", "HEAD")
    steps = workflow()["jobs"]["verify"]["steps"]
    (script,) = [step["run"] for step in steps if "git fetch" in step.get("run", "")]
    # As GitHub runs a step: every failing command ends it.
    done = subprocess.run(
        ["bash", "-e", "-c", script],
        cwd=checkout,
        check=False,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "NUMBER": "7"},
    )
    return done.returncode, done.stdout, checkout


needs_shell = pytest.mark.skipif(
    os.name == "nt" or not all(map(shutil.which, ("git", "bash", "openssl"))),
    reason="the steps are written for the bash, git and openssl of GitHub's Linux",
)


@needs_shell
def test_a_new_submission_is_taken_from_a_request(tmp_path: Path) -> None:
    written = {f"{MINE}/plan.json": "mine", f"{MINE}/fi[l]es/größe *.png": "mine"}
    code, output, checkout = take_request(tmp_path, written=written)

    assert 0 == code, output
    assert all("mine" == (checkout / name).read_text() for name in written)
    assert "ours" == (checkout / OURS / "plan.json").read_text()
    assert set(written) == set((checkout / "changed").read_text().splitlines())


@needs_shell
def test_a_challenge_of_a_merged_submission_is_taken_and_its_model_fitted_again(
    tmp_path: Path,
) -> None:
    names = [f"{OURS}/challenges/{'a' * 64}{suffix}" for suffix in (".json", ".npz")]
    code, output, checkout = take_request(tmp_path, written=dict.fromkeys(names, "theirs"))

    assert 0 == code, output
    assert all("theirs" == (checkout / name).read_text() for name in names)
    steps = workflow()["jobs"]["verify"]["steps"]
    (script,) = [step["run"] for step in steps if "advtransfer verify" in step.get("run", "")]
    # The command is replaced by one that prints its arguments.
    said = subprocess.run(
        ["bash", "-e", "-c", f'advtransfer() {{ echo "$*"; }}\n{script}'],
        cwd=checkout,
        check=True,
        text=True,
        capture_output=True,
    ).stdout

    assert f"verify --challenge {'a' * 64} -- {OURS}" == said.splitlines()[-1]


@needs_shell
@pytest.mark.parametrize(
    ("written", "removed", "reason"),
    [
        ({}, None, "no change below leaderboard/results"),
        ({"benchmark/code.py": "theirs"}, None, "outside of leaderboard/results"),
        ({f"{MINE}/plan.json": "mine", "x.py": "theirs"}, None, "- x.py"),
        ({f"{MINE}/plan.json": "mine"}, f"{OURS}/plan.json", f"- {OURS}/plan.json"),
        ({f"{OURS}/plan.json": "theirs"}, None, "deleted or changed"),
        ({f"{OURS}/challenges/0.json": "{}"}, None, "Found challenges"),
        ({f"{OURS}/challenges/{'a' * 64}.py": "{}"}, None, "Found challenges"),
        ({f"{OURS}/challenges/x/{'a' * 64}.json": "{}"}, None, "Found challenges"),
        # Its suite would be run, and nobody has merged it.
        ({f"{MINE}/challenges/{'a' * 64}.json": "{}"}, None, "Found challenges"),
        ({f"{MINE}/Challenges": "{}"}, None, "Found challenges"),
        ({f"{MINE}/a\n::error::b": "mine"}, None, "control characters"),
    ],
)
def test_other_requests_are_refused_with_the_reason_and_nothing_is_taken(
    written: dict[str, str], removed: str | None, reason: str, tmp_path: Path
) -> None:
    code, output, checkout = take_request(tmp_path, written=written, removed=removed)

    assert 1 == code
    assert reason in output
    assert "\n::error::" not in output
    assert not (checkout / MINE).exists()
    assert "ours" == (checkout / "benchmark/code.py").read_text()
    assert {"manifest.json", "plan.json"} == {path.name for path in (checkout / OURS).iterdir()}
    assert "ours" == (checkout / OURS / "plan.json").read_text()


@needs_shell
@pytest.mark.parametrize("code", [0, 2])
def test_pages_are_committed_also_where_a_submission_was_left_out(
    code: int, tmp_path: Path
) -> None:
    origin, checkout = tmp_path / "origin.git", tmp_path / "checkout"
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", str(origin))
    git(tmp_path, "clone", "--quiet", str(origin), str(checkout))
    (checkout / "leaderboard").mkdir()
    (checkout / "leaderboard" / "README.md").write_text("old")
    git(checkout, "checkout", "--quiet", "-B", "main")
    git(checkout, "add", ".")
    git(checkout, "commit", "--quiet", "-m", "base")
    git(checkout, "push", "--quiet", "--set-upstream", "origin", "main")
    steps = workflow()["jobs"]["pages"]["steps"]
    (script,) = [step["run"] for step in steps if "advtransfer pages" in step.get("run", "")]
    # The command is replaced by one that writes a page and ends so.
    command = f"advtransfer() {{ echo new > leaderboard/README.md; return {code}; }}"
    done = subprocess.run(
        ["bash", "-e", "-c", f"{command}\n{script}"],
        cwd=checkout,
        check=False,
        capture_output=True,
        env={**os.environ, "GIT_CONFIG_GLOBAL": os.devnull},
    )
    git(tmp_path, "clone", "--quiet", str(origin), str(tmp_path / "after"))

    assert (code > 0) == done.returncode
    assert "new\n" == (tmp_path / "after" / "leaderboard" / "README.md").read_text()
