"""Runs in this process with faults: their counts and events, and the recovery by the next run."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import pytest

from advtransfer.cache import Cache
from advtransfer.errors import BadInput, CacheError
from advtransfer.executors import in_process
from advtransfer.hookspecs import hookimpl
from advtransfer.host import Host
from advtransfer.jobs import Job, Report
from advtransfer.planning import Plan
from advtransfer.result import Run
from advtransfer.runner import RunSettings, RunSummary, run_suite, trial_statuses
from advtransfer.suite import load
from advtransfer.text import printable_text
from advtransfer.types import (
    Context,
    Evaluation,
    EvaluationInputs,
    Factory,
    Measurement,
    Transfer,
    component,
)
from advtransfer.worker import perform_job

SUITE = """\
datasets:
  high: {use: vision/digits, classes: [5, 6]}
sources:
  random: {use: vision/random_init, data: high, network: small_cnn, width: 2}
targets:
  digits: {data: high, n: [20], seeds: 1, test: 20}
transfers:
  probe: {use: finetune/linear_probe}
evaluations:
  clean: {use: foolbox/clean_accuracy}
"""
PGD = "  pgd: {use: foolbox/pgd, norm: linf, eps: 0.1, steps: 2, step_size: 0.05}\n"
Changes = dict[str, str]


class Exit(BaseException):
    """An error that no ``except Exception`` catches."""


@dataclass
class Raising:
    """Raises an error of the given kind, if a file of that name exists."""

    what: str
    marker: str = ""
    probe: Transfer | None = None

    def _raise(self) -> None:
        if self.marker and not Path(self.marker).exists():
            return
        match self.what:
            case "exit":
                sys.exit("good bye")
            case "interrupt":
                raise KeyboardInterrupt
            case "base":
                raise Exit("of another kind")
            case "silent":
                raise AssertionError
            case "codes":
                raise RuntimeError("\x1b[31mred\x1b[0m caf\udce9")

    def measure(self, given: EvaluationInputs, *, context: Context) -> Measurement:
        self._raise()
        return Measurement(metrics={"number": 1.0})

    def model(self, **given: object) -> object:
        return cast(Any, self.probe).model(**given)  # Any: passed through

    def fit(self, model: object, **given: object) -> object:
        self._raise()
        return cast(Any, self.probe).fit(model, **given)  # Any: as above


@component(needs=["model"])
def measuring(*, what: str, marker: str = "") -> Evaluation:
    """Raises."""
    return Raising(what, marker)


@component(needs=["source"])
def fitting(*, what: str, marker: str = "") -> Transfer:
    """Raises."""
    from advtransfer_finetune.components import linear_probe

    return cast(Transfer, Raising(what, marker, linear_probe()))


@hookimpl
def register_evaluations() -> Iterable[Factory[Evaluation]]:
    return [measuring]


@hookimpl
def register_transfers() -> Iterable[Factory[Transfer]]:
    return [fitting]


@hookimpl
def trial_finished(trial: Mapping[str, Any]) -> None:  # Any: an event's trial
    """An outage of a tracker."""
    if "outage" in trial["target"]:
        sys.exit("no connection")


class Bench:
    """A suite in a folder, run in this process."""

    def __init__(self, folder: Path, host: Host) -> None:
        self.folder, self.host = folder, host
        self.events: list[Mapping[str, Any]] = []  # Any: events are as varied as what happens
        self.settings = RunSettings(
            runs=folder / "runs", cache=folder / "cache", executor="local/inline"
        )
        self.run = Run(folder / "runs" / "odd")

    def write(self, changes: Changes, *, name: str = "odd.yaml", more: str = "") -> None:
        text = SUITE + more
        for before, after in changes.items():
            assert before in text
            text = text.replace(before, after)
        (self.folder / name).parent.mkdir(exist_ok=True)
        (self.folder / name).write_text(text)

    def __call__(self, *, name: str = "odd.yaml", **settings: object) -> RunSummary:
        self.events.clear()
        suite = load(str(self.folder / name), self.host)
        return run_suite(
            suite,
            settings=replace(self.settings, **cast(dict[str, Any], settings)),
            host=self.host,
            listeners=[self.events.append],
        )

    def emitted(self, event: str) -> list[Mapping[str, Any]]:  # Any: as above
        return [message for message in self.events if message["event"] == event]

    def records(self) -> dict[str, str]:
        """Return the records as text, by id, without their observed facts."""
        return {
            str(record["id"]): json.dumps(record | {"observed": None}, sort_keys=True)
            for record in self.run.read_records()
        }

    def of_kind(self, kind: str) -> list[Path]:
        paths = self.run.path.glob("records/*/*.json")
        return [path for path in paths if json.loads(path.read_text())["kind"] == kind]


@pytest.fixture
def bench(tmp_path: Path, host: Host) -> Bench:
    return Bench(tmp_path, host)


def counts(of: RunSummary) -> tuple[int, int, int, int]:
    return of.done, of.failed, of.skipped, of.todo


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        ("exit", "SystemExit: good bye"),
        ("interrupt", "KeyboardInterrupt: raised without a word in _raise"),
        ("base", "Exit: of another kind"),
        ("silent", "AssertionError: raised without a word in _raise"),
        ("codes", "RuntimeError: red caf\\udce9"),
    ],
)
def test_any_error_of_an_evaluation_fails_that_evaluation_alone(
    bench: Bench, what: str, reason: str
) -> None:
    bench.write({}, more=f"  bad: {{use: odd/measuring, what: {what}}}\n{PGD}")
    ended = bench()
    (failed,) = bench.emitted("trial_failed")
    page = (bench.run.path / "leaderboard.md").read_text()
    plan = Plan.from_json(bench.run.read_plan())
    (state,) = trial_statuses(plan, bench.run).values()

    assert (0, 1, 0, 0) == counts(ended)
    assert 2 == len(bench.of_kind("result"))
    assert ["bad"] == list(state.failures) == list(failed["evaluations"])
    assert "1 planned, 0 done, 1 failed" in page.replace("trial planned", "planned")
    assert "bad: " in page
    assert printable_text(str(state.reason)).startswith(reason)


@pytest.mark.parametrize("what", ["exit", "interrupt", "base"])
def test_any_error_of_a_fit_fails_its_trial(bench: Bench, what: str) -> None:
    bench.write({"transfers:\n": f"transfers:\n  bad: {{use: odd/fitting, what: {what}}}\n"})

    assert (1, 1, 0, 0) == counts(bench())
    assert (1, 1, 0, 0) == counts(bench())


def test_failed_refit_fails_the_missing_results(
    bench: Bench,
) -> None:
    marker = bench.folder / "now"
    transfer = {
        "probe: {use: finetune/linear_probe}": f"probe: {{use: odd/fitting, what: exit, marker: {marker}}}"
    }
    bench.write(transfer)
    first = bench()
    bench.write(transfer, more=PGD)
    marker.touch()
    failed, again = bench(), bench()
    (event,) = bench.emitted("trial_failed")
    marker.unlink()
    cleared = bench()

    assert (1, 0, 0, 0) == counts(first)
    assert (0, 1, 0, 0) == counts(failed) == counts(again)
    assert "pgd: SystemExit: good bye" == event["reason"]
    assert (1, 0, 0, 0) == counts(cleared)


def test_error_of_a_listener_is_a_warning(bench: Bench) -> None:
    bench.write({"digits:": "outage:"})
    bench.host.load_plugin("odd")
    ended = bench()

    assert (1, 0, 0, 0) == counts(ended)
    assert [
        "the listener odd raised SystemExit at trial_finished: no connection; the run goes on"
    ] == [event["text"] for event in bench.emitted("warning")]


def test_deleted_records_and_plan_are_made_again(bench: Bench) -> None:
    bench.write({}, more=PGD)
    bench()
    before = bench.records()
    for kind in ("source", "battery", "result"):
        (first, *_) = bench.of_kind(kind)
        first.unlink()
        ended = bench()
        started = bench.emitted("run_started")[-1]

        # The trial counts as to do, also where its own results are there.
        assert (0, 1) == (started["done"], started["todo"])
        assert (1, 0, 0, 0) == counts(ended)
        assert before == bench.records()
    (bench.run.path / "plan.json").unlink()
    with pytest.raises(BadInput, match="found battery none; expected battery small"):
        bench(battery="none")

    assert (1, 0, 0, 0) == counts(bench())


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"format": 1}', "\x00\xff"])
def test_damaged_plan_is_written_again(bench: Bench, content: str) -> None:
    bench.write({})
    bench()
    (bench.run.path / "plan.json").write_text(content, encoding="latin-1")

    with pytest.raises(CacheError, match=r"plan\.json"):
        Plan.from_json(bench.run.read_plan())
    assert (1, 0, 0, 0) == counts(bench())
    assert 1 == len(Plan.from_json(bench.run.read_plan()).trials)


@pytest.mark.parametrize("content", [None, "{", "{}"])
def test_deleted_and_damaged_environments_are_written_again(
    bench: Bench, content: str | None
) -> None:
    bench.write({})
    bench()
    (path,) = (bench.run.path / "environments").glob("*.json")
    text = path.read_text()
    path.unlink()
    if content is not None:
        path.write_text(content)

    assert (1, 0, 0, 0) == counts(bench())
    assert text == path.read_text()


def test_job_of_another_driver_is_not_repeated(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs: list[Job] = []

    def noting(job: Job, tell: Callable[..., None]) -> Report:
        jobs.append(job)
        return perform_job(job, tell)

    monkeypatch.setattr(in_process, "perform_job", noting)
    bench.write({})
    bench()
    news: list[Mapping[str, Any]] = []  # Any: events
    reports = [perform_job(job, news.append) for job in jobs]

    assert ["done", "done"] == [report.status for report in reports]
    assert all(report.elsewhere for report in reports)
    assert [] == news


def test_other_suite_of_the_same_name_is_refused_and_edited_one_accepted(bench: Bench) -> None:
    bench.write({}, name="a/my.yaml")
    bench.write({"n: [20]": "n: [30]"}, name="b/my.yaml")
    bench(name="a/my.yaml")
    kept = (bench.folder / "runs" / "my" / "suite.yaml").read_text()
    with pytest.raises(
        BadInput, match=r"found the suite .*b/my\.yaml, but .*runs/my holds the run of .*a/my\.yaml"
    ):
        bench(name="b/my.yaml")

    assert kept == (bench.folder / "runs" / "my" / "suite.yaml").read_text()
    bench.write({"n: [20]": "n: [20, 30]"}, name="a/my.yaml")
    assert 2 == bench(name="a/my.yaml").done
    (bench.folder / "a" / "my.yaml").rename(bench.folder / "my.yaml")
    assert 2 == bench(name="my.yaml").done


def test_checkout_copied_with_its_runs_continues(bench: Bench, host: Host) -> None:
    import shutil

    bench.write({}, name="checkout/odd.yaml")
    bench(name="checkout/odd.yaml", runs=bench.folder / "checkout" / "runs")
    shutil.copytree(bench.folder / "checkout", bench.folder / "copy")
    bench.write({"n: [20]": "n: [20, 30]"}, name="copy/odd.yaml")

    assert 2 == bench(name="copy/odd.yaml", runs=bench.folder / "copy" / "runs").done


def test_suite_file_without_a_name_is_refused(bench: Bench) -> None:
    bench.write({}, name="...yaml")

    with pytest.raises(BadInput, match="more than dots"):
        bench(name="...yaml")
    assert ["...yaml"] == [path.name for path in bench.folder.iterdir()]


def test_empty_grid_is_refused(bench: Bench) -> None:
    bench.write({"datasets:": "exclude: [{transfer: probe}]\ndatasets:"})

    with pytest.raises(BadInput, match="no trial that `exclude` and `only` leave"):
        bench()


def test_unmeasured_metrics_are_left_out_of_the_page_with_a_warning(bench: Bench) -> None:
    board = (
        "leaderboard: {rank_by: clean.accuracy@3, columns: [clean.accuracy, clean.accuracy@7]}\n"
    )
    bench.write({}, more=board)
    ended = bench()
    page = ended.page.read_text() if ended.page else ""

    assert (1, 0, 0, 0) == counts(ended)
    assert "## Results" in page
    assert "clean.accuracy" in page
    assert ["clean.accuracy@7", "clean.accuracy@3"] == [
        event["text"].split("'")[1] for event in bench.emitted("warning")
    ]
    assert "clean.accuracy@3" in page.partition("## Requested by the suite, but in no record")[2]


@pytest.mark.parametrize("name", ["notes", "another run", "attempts"])
def test_damaged_files_beside_a_run_are_ignored(bench: Bench, name: str) -> None:
    bench.write({})
    bench.write({}, name="other.yaml")
    bench(name="other.yaml")
    match name:
        case "notes":
            for number, content in enumerate(
                ["", "{", "[]", '{"path": 3}', '{"path": "a\\u0000b"}', "\xff"]
            ):
                (bench.settings.cache / "runs" / f"{number:032}.json").write_text(
                    content, encoding="latin-1"
                )
            (bench.settings.cache / "runs" / "folder.json").mkdir()
        case "another run":
            other = bench.folder / "runs" / "other"
            (other / "plan.json").write_text("{")
            next(other.glob("records/*/*.json")).write_text("[]")
        case _:
            for id, content in (("a" * 64, "{"), ("b" * 64, "[]"), ("c" * 64, "{}")):
                place = bench.run.path / "attempts" / id
                place.mkdir(parents=True)
                (place / "1.json").write_text(content)
                (place / "x.json").write_text(content)
    ended = bench()
    warnings = [event["text"] for event in bench.emitted("warning")]

    assert (1, 0, 0, 0) == counts(ended)
    assert (name == "attempts") == any(
        "3 attempts that cannot be read are not counted" in event for event in warnings
    )


def test_error_for_an_unusable_cache_names_the_next_step(bench: Bench) -> None:
    bench.write({})
    (bench.folder / "file").touch()

    with pytest.raises(BadInput, match=r"no cache at .*file/cache.*set ADVTRANSFER_CACHE"):
        bench(cache=bench.folder / "file" / "cache")


def test_error_for_an_unusable_run_folder_names_the_next_step(bench: Bench) -> None:
    bench.write({})
    (bench.folder / "file").touch()

    with pytest.raises(BadInput, match=r"no way to write .*choose another folder with --runs"):
        bench(runs=bench.folder / "file")


@pytest.mark.parametrize("name", ["page.json", "leaderboard.md", "events.jsonl", "plan.json"])
def test_error_for_a_folder_in_place_of_a_file_names_it(bench: Bench, name: str) -> None:
    bench.write({})
    bench.run.path.joinpath(name, "inner").mkdir(parents=True)

    with pytest.raises(BadInput, match=rf"no way to write .*{name}.*move away what is there"):
        bench()


def test_suite_deleted_from_the_run_folder_is_written_again(bench: Bench) -> None:
    bench.write({})
    bench()
    (bench.run.path / "suite.yaml").unlink()

    assert (1, 0, 0, 0) == counts(bench())
    assert (bench.run.path / "suite.yaml").is_file()


def test_read_only_cache_is_read(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.write(
        {
            "vision/random_init, data: high, network: small_cnn, width: 2": "vision/trained, data: high, epochs: 1"
        }
    )
    bench()
    shared = bench.settings.cache
    before = {
        path: path.stat().st_mtime_ns
        for path in shared.rglob("*")
        if path.is_file() and path.name[0] != "."
    }
    refusal = Cache.unwritable_reason
    monkeypatch.setattr(
        Cache,
        "unwritable_reason",
        lambda self: "Read-only" if self.root == shared else refusal(self),
    )
    monkeypatch.setattr(Cache, "registered_runs", lambda self: [])  # records would be copied
    ended = bench(runs=bench.folder / "mine")
    source = next(
        path
        for path in (bench.folder / "mine").rglob("records/*/*.json")
        if '"card"' in path.read_text()
    )
    facts = cast(Mapping[str, Any], json.loads(source.read_text()))  # Any: a record

    assert (1, 0, 0, 0) == counts(ended)
    assert ["the cache"] == [event["text"][:9] for event in bench.emitted("warning")]
    assert facts["weights"] is not None
    assert [] == [
        event for event in bench.emitted("progress") if event["name"] == "random"
    ]  # its training
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_umask_decides_who_may_read_weights(bench: Bench) -> None:
    bench.write({})
    bench()
    modes = {
        path.suffix: path.stat().st_mode & 0o777
        for path in bench.settings.cache.glob("artifacts/*/*/*/*")
    }

    assert modes[".safetensors"] == modes[".json"]


def test_disk_without_locks_is_reported(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    def refuse(descriptor: int, how: int) -> None:
        raise OSError(errno.ENOSYS, "Function not implemented")

    bench.write({})
    monkeypatch.setattr("fcntl.flock", refuse)

    with pytest.raises(
        CacheError, match=r"a disk without file locks .*expected flock to work there"
    ):
        bench()


def test_warnings_of_the_plan_are_warned_of_by_the_run(bench: Bench) -> None:
    bench.write({"seeds: 1": "seeds: 2"})
    bench(limit=0)

    (warning,) = bench.emitted("warning")
    assert "2 subset seeds of digits n=20" in warning["text"]
