"""`advtransfer.run` is the command: its options, its records, its errors, wherever it is called from."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any, cast

import pytest
import yaml
from click.testing import CliRunner

import advtransfer as at
from advtransfer.cli import main
from advtransfer.cli.run import command
from advtransfer.errors import BadInput, Interrupted
from advtransfer.result import Run
from advtransfer.runner import RunSettings
from advtransfer.runner.schedule import JobScheduler

ONE_TRIAL: dict[str, Any] = {
    "only": "transfer=probe",
    "battery": "none",
    "quiet": True,
}  # Any: options


def records(path: Path) -> dict[str, str]:
    """Return the records of a run by id, as JSON without what was observed."""
    return {
        str(record["id"]): json.dumps({**record, "observed": None}, sort_keys=True)
        for record in Run(path).read_records()
    }


def test_importing_the_package_imports_nothing_else() -> None:
    code = (
        "import sys; before = set(sys.modules); import advtransfer; "
        "print(*sorted(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "advtransfer" in done.stdout.split()
    assert not {"click", "numpy", "pluggy", "torch", "yaml"}.intersection(done.stdout.split())
    assert "advtransfer." not in done.stdout


def test_every_public_name_is_there() -> None:
    for name in ("check", "list", "open", "plan", "run", "show", "BadInput", "Report"):
        assert name in dir(at)
        assert getattr(at, name).__doc__


def test_the_options_are_those_of_the_command_with_its_defaults() -> None:
    parameters = inspect.signature(at.run).parameters
    options = {str(each.name): each for each in command.params}
    renamed = {"listeners": "plugin"}
    expected = {renamed.get(name, name) for name in options} - {"as_json", "watch"}
    defaults = RunSettings()

    assert expected | {"name", "sources", "datasets"} == set(parameters)
    for name, parameter in parameters.items():
        assert parameter.annotation is not inspect.Parameter.empty
        assert f"{name}: " in str(at.run.__doc__)
        if hasattr(defaults, name) and name not in ("runs", "jobs"):
            assert getattr(defaults, name) == parameter.default
    assert (str(defaults.runs), defaults.jobs) == (parameters["runs"].default, None)


def test_text_mapping_path_and_command_give_the_same_records(
    own_folder: Path, suite_text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (own_folder / "tiny.yaml").write_text(suite_text)
    mapping = yaml.safe_load(suite_text)
    mapping["transfers"]["blow"]["optimiser"]["lr"] = 1e30  # YAML 1.1 reads a text
    paths = []
    for folder, suite in (("text", suite_text), ("mapping", mapping), ("path", Path("tiny.yaml"))):
        monkeypatch.setenv("ADVTRANSFER_CACHE", str(own_folder / f"cache {folder}"))
        name = None if folder == "path" else "tiny"
        report = at.run(suite, name=name, runs=folder, executor="local/inline", **ONE_TRIAL)
        paths.append(report.path)
    monkeypatch.setenv("ADVTRANSFER_CACHE", str(own_folder / "cache command"))
    arguments = "run tiny.yaml --runs command --executor local/inline --only transfer=probe"
    done = CliRunner().invoke(main, [*arguments.split(), "--battery", "none"])

    assert 0 == done.exit_code, done.output
    expected = records(Path("command/tiny"))
    assert 4 == len(expected)
    for path in paths:
        assert expected == records(path)


def test_a_run_begun_here_continues_in_the_command_and_back(
    own_folder: Path, suite_text: str
) -> None:
    first = at.run(suite_text, name="tiny", limit=0, battery="none", quiet=True)
    (own_folder / "tiny.yaml").write_text(suite_text)
    arguments = "run tiny.yaml --executor local/inline --only transfer=probe --battery none --json"
    done = CliRunner().invoke(main, arguments.split())
    again = at.run(suite_text, name="tiny", **ONE_TRIAL)

    assert "2 to do" in str(first)
    assert 0 == done.exit_code, done.output
    assert again.ok
    assert "1 done" in str(again)


def test_the_kernel_batch_is_part_of_the_environment_of_records(
    own_folder: Path, suite_text: str
) -> None:
    options = {"name": "tiny", "executor": "local/inline", **ONE_TRIAL}
    report = at.run(suite_text, runs="named", kernel_batch=96, **options)
    at.run(suite_text, runs="rule", **options)
    environments = Run(report.path).read_environments()
    provenances = [json.loads(record)["provenance"] for record in records(report.path).values()]
    used = {provenance["environment"] for provenance in provenances}

    assert {96} == {provenance["kernel_batch"] for provenance in provenances}
    assert [96] == [environments[digest]["kernel_batch"] for digest in used]
    # Without the option, nothing is copied from records of another environment, and none is named.
    rule = Run(Path("rule/tiny")).read_environments()
    assert not any("kernel_batch" in environment for environment in rule.values())
    assert not set(rule) & set(environments)


@pytest.mark.parametrize("where", ["thread", "event loop"])
def test_it_runs_in_another_thread_and_inside_an_event_loop(
    where: str, own_folder: Path, suite_text: str
) -> None:
    reports: list[at.Report] = []

    def call() -> None:
        options = {"name": "tiny", "executor": "local/inline", **ONE_TRIAL}
        reports.append(at.run(suite_text, **options))

    async def call_in_loop() -> None:
        call()

    if where == "thread":
        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
    else:
        asyncio.run(call_in_loop())

    assert reports[0].ok
    assert "1 done" in str(reports[0])


def test_options_of_the_engine_are_checked_as_those_of_a_component(suite_text: str) -> None:
    with pytest.raises(BadInput, match="the unknown option 'fork' in --engine; expected no opt"):
        at.run(suite_text, name="tiny", engine={"fork": True})
    with pytest.raises(BadInput, match="found engine=3; expected a mapping of options by name"):
        at.run(suite_text, name="tiny", engine=3)  # type: ignore[arg-type]  # the mistake


def test_an_interrupt_ends_the_run_in_order_and_the_same_call_continues(
    own_folder: Path, suite_text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(self: JobScheduler, *, timeout: float) -> None:
        if timeout:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(JobScheduler, "_collect_finished", interrupt)
        with pytest.raises(Interrupted, match="interrupted: run the same command again"):
            at.run(suite_text, name="tiny", executor="local/inline", **ONE_TRIAL)

    report = at.run(suite_text, name="tiny", executor="local/inline", **ONE_TRIAL)
    assert report.ok
    assert "1 done" in str(report)


@pytest.mark.parametrize(
    ("source", "jobs"),
    [("standard input", 1), pytest.param("script", 2, marks=pytest.mark.slow)],
)
def test_workers_do_not_import_the_script_that_calls(
    source: str, jobs: int, own_folder: Path, suite_text: str
) -> None:
    # One evaluation: a second one would show no more.
    text = "".join(line for line in suite_text.splitlines(True) if "fgsm" not in line)
    (own_folder / "tiny.yaml").write_text(text)
    code = (
        "import advtransfer as at\nprint('started')\n"
        f"report = at.run('tiny.yaml', jobs={jobs}, only='transfer=probe', battery='none')\n"
        "print(report.ok, report)\n"
    )
    (own_folder / "script.py").write_text(code)
    arguments = [sys.executable, *(["script.py"] if source == "script" else ["-"])]
    done = subprocess.run(
        arguments,
        input=code if source == "standard input" else None,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
    )

    assert 0 == done.returncode, done.stderr
    assert 1 == done.stdout.count("started")
    assert "True tiny: runs/tiny" in done.stdout
    assert "1 done" in done.stdout


def test_all_wrong_arguments_are_named_at_once() -> None:
    wrong: dict[str, Any] = {  # Any: wrong on purpose
        "jobs": 0,
        "threads": None,
        "limit": -1,
        "only": 3,
        "retry_failed": "no",
        "battery": "big",
        "max_bytes": "much",
        "timeout": "30",
        "memory": "much",
    }
    with pytest.raises(BadInput) as caught:
        at.run("quickstart", **wrong)

    assert list(wrong) == [problem.found.partition("=")[0] for problem in caught.value.problems]


def test_a_mistake_has_the_words_of_the_command(own_folder: Path, suite_text: str) -> None:
    wrong = suite_text.replace("linear_probe", "linear_prob")
    (own_folder / "tiny.yaml").write_text(wrong)
    done = CliRunner().invoke(main, ["plan", "tiny.yaml"])
    with pytest.raises(BadInput) as of_path:
        at.run("tiny.yaml")
    with pytest.raises(BadInput) as of_text:
        at.plan(wrong, name="tiny")
    with pytest.raises(BadInput) as of_mapping:
        at.plan(yaml.safe_load(wrong), name="tiny")

    assert done.stderr.strip() == str(of_path.value)
    assert str(of_path.value).replace("tiny.yaml", "<tiny>") == str(of_text.value)
    assert "'finetune/linear_prob' in suite['transfers']['probe']['use']" in str(of_mapping.value)


@pytest.mark.parametrize(
    ("suite", "name", "words"),
    [
        ("version: 1\n", None, "a text as a suite, with name=None"),
        ({}, None, "a mapping as a suite"),
        ("quickstart", "other", "name='other' for the suite 'quickstart'"),
        (3, None, "an int as a suite"),
        ("version: 1\n", "a/b", "the suite name 'a/b'"),
        ({"sources": {"a": {1, 2}}}, "a", "a set in suite['sources']['a']"),
        ({1: 2}, "a", "the key 1 in the suite"),
        ({"a": float("nan")}, "a", "nan in suite['a']"),
    ],
)
def test_what_is_no_suite_is_refused(suite: object, name: str | None, words: str) -> None:
    with pytest.raises(BadInput) as caught:
        at.plan(cast(str, suite), name=name)
    assert words in str(caught.value)
