"""The workflow of the leaderboard: what a request may do is read off the file."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, cast

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
