from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import Result

if TYPE_CHECKING:
    from advtransfer.testing.command import Command

Records = Callable[[Path], dict[str, str]]


def kinds(run: Path) -> dict[str, int]:
    found: dict[str, int] = {}
    for path in run.glob("records/*/*.json"):
        kind = json.loads(path.read_text())["kind"]
        found[kind] = found.get(kind, 0) + 1
    return found


def summary(text: str) -> dict[str, Any]:  # Any: JSON that the command printed
    return dict(json.loads(text))


def test_a_run_is_continued_by_the_same_command_and_makes_again_just_what_is_gone(
    command: Command, inline: Callable[..., Result], records_of: Records
) -> None:
    path = command.folder / "small.yaml"
    path.write_text(path.read_text().replace("n: [20, 30], seeds: 3", "n: [20], seeds: 2"))
    run = command.folder / "runs" / "small"
    first = summary(inline("run", "small.yaml", "--json").stdout)
    made, page = records_of(run), (run / "leaderboard.md").read_bytes()
    again = summary(command("run", "small.yaml", "--json").stdout)
    result = next(
        path
        for path in run.glob("records/*/*.json")
        if json.loads(path.read_text())["kind"] == "result"
    )
    untouched = {
        path: path.stat().st_mtime_ns for path in run.glob("records/*/*.json") if path != result
    }
    result.unlink()
    third = summary(command("run", "small.yaml", "--jobs", "1", "--json").stdout)

    assert kinds(run) == {"battery": 4, "fit": 4, "result": 8, "source": 2}
    assert (first["done"], first["failed"], first["skipped"], first["todo"]) == (4, 0, 0, 0)
    assert (again["done"], again["todo"]) == (4, 0)
    assert (third["done"], third["todo"]) == (4, 0)
    assert records_of(run) == made
    assert {path: path.stat().st_mtime_ns for path in untouched} == untouched
    assert json.loads(result.read_text())["observed"]["copied_from"] is None
    assert page.startswith(b"# ")


@pytest.mark.slow
def test_nothing_is_kept_of_a_fit_but_its_record_unless_asked_for(command: Command) -> None:
    command("run", "small.yaml", "--only", "source=random,n=20,seed=0", "--quiet")
    dropped = cached(command)
    command(
        "run", "small.yaml", "--only", "source=random,n=20,seed=1", "--quiet", "--keep", "models"
    )

    assert ["battery", "features", "leakage", "leakage", "leakage", "source"] == dropped
    assert ["battery", "features", "fit", "leakage", "leakage", "leakage", "source"] == cached(
        command
    )


def cached(command: Command) -> list[str]:
    """The kinds of what the cache holds, sorted."""
    return sorted(
        json.loads(path.read_text())["kind"]
        for path in (command.folder / "cache").glob("artifacts/*/*/*/meta.json")
    )


@pytest.mark.slow
def test_a_second_suite_copies_the_records_it_shares(command: Command, records_of: Records) -> None:
    command("run", "small.yaml", "--quiet")
    other = (command.folder / "small.yaml").read_text().replace("n: [20, 30]", "n: [20, 40]")
    (command.folder / "other.yaml").write_text(other)
    command("run", "other.yaml", "--quiet")
    small, shared = command.folder / "runs" / "small", command.folder / "runs" / "other"
    copied = [
        path.stem
        for path in shared.glob("records/*/*.json")
        if json.loads(path.read_text())["observed"]["copied_from"]
        == str(Path("runs/small").absolute()).replace(str(Path.cwd()), str(command.folder))
    ]

    assert len(copied) == 2 + 6 + 12 + 6  # sources, fits, results, batteries
    assert {id: records_of(shared)[id] for id in copied} == {
        id: records_of(small)[id] for id in copied
    }


@pytest.mark.slow
def test_limit_and_only_leave_the_rest_to_do(command: Command) -> None:
    limited = summary(
        command("run", "small.yaml", "--limit", "2", "--only", "source=random", "--json").stdout
    )
    plan = json.loads(command("plan", "small.yaml", "--json").stdout)
    states = [(trial["source"], trial["state"]) for trial in plan["trials"]]

    assert (limited["done"], limited["todo"]) == (2, 10)
    assert states.count(("random", "done")) == 2
    assert states.count(("natural", "todo")) == 6


@pytest.mark.slow
def test_another_thread_count_in_one_folder_is_refused_unless_mixed(command: Command) -> None:
    command("run", "small.yaml", "--limit", "1", "--quiet")
    refused = command("run", "small.yaml", "--limit", "1", "--threads", "2", exit_code=2)
    mixed = summary(
        command("run", "small.yaml", "--limit", "1", "--threads", "2", "--mixed", "--json").stdout
    )

    assert "threads 2" in refused.stderr
    assert "--mixed" in refused.stderr
    assert mixed["done"] == 2


@pytest.mark.slow
def test_results_without_the_battery_asked_for_are_neither_kept_nor_copied(
    command: Command,
) -> None:
    command("run", "small.yaml", "--limit", "1", "--battery", "none", "--quiet")
    refused = command("run", "small.yaml", "--limit", "1", exit_code=2)
    command("run", "small.yaml", "--limit", "1", "--runs", "elsewhere", "--quiet")

    assert "found battery small; expected battery none" in refused.stderr.replace("\n", " ")
    assert {"fit": 1, "result": 2, "source": 1} == kinds(command.folder / "runs" / "small")
    assert 1 == kinds(command.folder / "elsewhere" / "small")["battery"]
