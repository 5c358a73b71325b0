"""Jobs on a machine that shares no folder with the driver: equal records, verified files, refused workers."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from advtransfer.cache import Cache
from advtransfer.errors import CacheError
from advtransfer.exchange import (
    DriverFolders,
    FileEntry,
    FolderMarks,
    Parcel,
    Refusal,
    mark_folders,
    perform_on_node,
)
from advtransfer.exchange.environment_check import differences, own_environment
from advtransfer.exchange.incoming import receive_parcel, send_parcel
from advtransfer.exchange.node_job import run_folder
from advtransfer.hookspecs import hookimpl
from advtransfer.host import Host, Plugin
from advtransfer.jobs import Executor, Job, Report
from advtransfer.result import Run
from advtransfer.runner import RunSettings, run_suite
from advtransfer.suite import load
from advtransfer.types import Factory, Json
from advtransfer.worker.object_builder import installed_host

SUITE = """
datasets:
  low: {use: vision/digits, classes: [0, 1, 2]}
  own: {use: vision/npz, file: own.npz}
sources:
  natural: {use: vision/trained, data: low, network: small_cnn, epochs: 1}
targets:
  digits: {data: own, n: [20, 30], test: 40}
transfers:
  probe: {use: finetune/linear_probe}
evaluations:
  clean: {use: foolbox/clean_accuracy}
  fgsm: {use: foolbox/fgsm, norm: linf, eps: 0.1}
"""
UNSEEN = FolderMarks((Path("/nowhere/mark"),), "never written")


class ApartExecutor:
    """Does jobs in this process as a node would that has only a cache of its own."""

    slots = 1
    refusals: list[Refusal] = []  # noqa: RUF012  # of all instances, since the runner makes them
    node: Path

    def __init__(self) -> None:
        self._news: list[Mapping[str, Json]] = []
        self._driver: DriverFolders | None = None

    @contextmanager
    def start(self) -> Iterator[ApartExecutor]:
        yield self

    def submit(self, job: Job) -> Future[Report]:
        driver = self._driver or DriverFolders(job.run, job.cache)
        self._driver = driver
        future: Future[Report] = Future()
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("ADVTRANSFER_CACHE", str(self.node))
            outcome = perform_on_node(job, driver, UNSEEN, self._news.append)
        if isinstance(outcome, Refusal):
            self.refusals.append(outcome)
            outcome = Report(job.id, "lost", (), outcome.reason)
        future.set_result(outcome)
        return future

    def news(self) -> Iterator[Mapping[str, Json]]:
        news = list(self._news)
        self._news.clear()
        yield from news

    def stop(self, *, grace: float) -> None:
        """Nothing runs between two calls."""


def apart() -> Executor:
    """Do jobs apart from the driver's folders."""
    return ApartExecutor()


@hookimpl
def register_executors() -> Sequence[Factory[Executor]]:
    return [apart]


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Host]:
    names = ("vision", "finetune", "foolbox")
    plugins = [Plugin(name, f"advtransfer_{name}", "advtransfer", "1.0") for name in names]
    plugins += [Plugin("local", "advtransfer.executors", "advtransfer", "1.0")]
    host = Host([*plugins, Plugin("odd", sys.modules[__name__], "advtransfer", "1.0")])
    monkeypatch.setattr(Host, "discover", lambda: host)
    monkeypatch.setattr(ApartExecutor, "node", tmp_path / "node", raising=False)
    monkeypatch.setattr(ApartExecutor, "refusals", [])
    monkeypatch.setenv("ADVTRANSFER_DATA", str(tmp_path))
    installed_host.cache_clear()
    yield host
    installed_host.cache_clear()


@pytest.fixture
def run(host: Host, tmp_path: Path) -> Callable[..., Path]:
    generator = np.random.default_rng(0)
    arrays: dict[str, Any] = {}  # Any: as numpy
    for part, count in (("train", 60), ("test", 40)):
        arrays[f"x_{part}"] = generator.integers(0, 255, (count, 8, 8), dtype=np.uint8)
        arrays[f"y_{part}"] = np.arange(count) % 2
    np.savez(tmp_path / "own.npz", **arrays)
    (tmp_path / "small.yaml").write_text(SUITE)

    def run(name: str, executor: str, *, limit: int | None = None, mixed: bool = False) -> Path:
        suite = load(str(tmp_path / "small.yaml"), host)
        cache = tmp_path / f"cache of {name}"
        all_settings = RunSettings(
            runs=tmp_path / name,
            executor=executor,
            battery="none",
            cache=cache,
            limit=limit,
            mixed=mixed,
        )
        return run_suite(suite, settings=all_settings, host=host).run

    return run


def records_of(run: Path) -> dict[str, dict[str, Json]]:
    records = {}
    for path in run.glob("records/*/*.json"):
        records[path.stem] = json.loads(path.read_text())
        del records[path.stem]["observed"]
    return records


def test_a_node_without_the_drivers_folders_makes_equal_records(
    run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = run("alone", "local/inline")
    monkeypatch.setattr("advtransfer.exchange.node_inputs._is_here", lambda path: False)
    found = run("apart", "odd/apart")

    assert len(records_of(expected)) == 7
    assert records_of(found) == records_of(expected)
    # Weights and features came back, and the user's file went to the node under its digest.
    kinds = {entry.kind for entry in Cache(tmp_path / "cache of apart", line="x").list_entries()}
    assert {"source", "features"} <= kinds
    (content,) = (tmp_path / "node" / "contents").glob("*/*")
    assert content.name == "content.npz"


def test_a_node_gets_what_the_drivers_cache_has(
    run: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("apart", "odd/apart", limit=1)
    monkeypatch.setattr(ApartExecutor, "node", tmp_path / "second node")
    found = run("apart", "odd/apart")

    steps = [json.loads(line) for line in (found / "events.jsonl").read_text().splitlines()]
    sources = [event for event in steps if event["event"] == "source_finished"]
    entries = list(Cache(tmp_path / "second node", line="x").list_entries())
    assert len(sources) == 1
    assert "source" in {entry.kind for entry in entries}


def test_a_worker_that_differs_is_refused_by_what_differs(
    run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def other_environment(
        device: str,
        threads: int,
        precision: str,
        kernel_batch: int | None,
        compiled: bool,
        distributions: tuple[str, ...],
    ) -> dict[str, Json]:
        own = own_environment(device, threads, precision, kernel_batch, compiled, distributions)
        libraries = own["libraries"]
        assert isinstance(libraries, dict)
        return {**own, "libraries": {**libraries, "torch": "0.1"}}

    monkeypatch.setattr("advtransfer.exchange.node_job.own_environment", other_environment)
    refused = run("refused", "odd/apart")
    assert records_of(refused) == {}
    assert f"libraries.torch 0.1 and not {torch.__version__.partition('+')[0]}" in str(
        ApartExecutor.refusals[0]
    )

    mixed = run("mixed", "odd/apart", mixed=True)
    digests = {record["provenance"]["environment"] for record in records_of(mixed).values()}  # type: ignore[index,call-overload]  # JSON
    torches = {
        environment["libraries"]["torch"]  # type: ignore[index,call-overload]  # JSON
        for digest, environment in Run(mixed).read_environments().items()
        if digest in digests
    }
    assert torches == {"0.1"}


def test_differences_name_the_inner_fields() -> None:
    found: dict[str, Json] = {"processor": {"model": "a", "limits": {}}, "gpu": {"model": "H200"}}
    expected: dict[str, Json] = {"processor": {"model": "b", "limits": {}}}

    assert differences(found, expected) == [
        "gpu.model H200 and not None",
        "processor.model a and not b",
    ]


def test_differences_name_a_kernel_batch_that_one_side_chose_by_rule() -> None:
    by_rule = own_environment("cpu", 1, "float32", None, False, ())
    named = own_environment("cpu", 1, "float32", 96, False, ())

    assert [] == differences(by_rule, own_environment("cpu", 1, "float32", None, False, ()))
    assert ["kernel_batch 96 and not None"] == differences(named, by_rule)
    assert ["kernel_batch None and not 96"] == differences(by_rule, named)


@pytest.fixture
def driver(tmp_path: Path) -> DriverFolders:
    return DriverFolders(tmp_path / "run", tmp_path / "cache")


def test_a_file_gets_its_name_only_with_its_digest(driver: DriverFolders, tmp_path: Path) -> None:
    parcel = Parcel("samples", "ab" * 32)
    transfer = driver.begin_parcel(parcel, [FileEntry("a.safetensors", 3, "0" * 64)])
    assert transfer is not None
    driver.write_chunk(transfer, "a.safetensors", 0, b"abc")

    with pytest.raises(CacheError, match="after its transfer; expected 000000"):
        driver.finish_parcel(transfer)
    assert not [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    again = driver.begin_parcel(parcel, [FileEntry("a.safetensors", 3, "0" * 64)])
    with pytest.raises(CacheError, match="beyond the end"):
        driver.write_chunk(str(again), "a.safetensors", 1, b"abc")


@pytest.mark.parametrize("name", ["../x", "/x", "a/b", "", "..", "a\\b", "a\0b"])
def test_names_that_leave_the_folder_are_refused(name: str, driver: DriverFolders) -> None:
    with pytest.raises(CacheError, match="expected a plain one"):
        driver.begin_parcel(Parcel("files", "ab" * 32), [FileEntry(name, 1, "0" * 64)])


def test_ids_that_are_no_ids_are_refused() -> None:
    with pytest.raises(ValueError, match="expected hexadecimal ids"):
        Parcel("artifact", "../../etc", "cpu-1-float32")


def test_records_that_are_not_valid_are_refused(driver: DriverFolders, tmp_path: Path) -> None:
    with pytest.raises(CacheError, match="a worker sent a record that is not valid"):
        driver.write_document("record", {"id": "../x", "kind": "fit"})
    assert not (tmp_path / "run").exists()


def test_only_content_with_the_asked_digest_is_given(driver: DriverFolders, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("key")

    with pytest.raises(Exception, match="expected sha256 abab"):
        driver.list_files(Parcel("content", "ab" * 32, path=str(tmp_path / "secret")))


def test_large_artifacts_move_in_chunks_and_rows_are_added(
    driver: DriverFolders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("advtransfer.exchange.incoming.CHUNK_BYTES", 100)
    monkeypatch.setattr("advtransfer.exchange.driver_folders.CHUNK_BYTES", 100)
    here = Cache(tmp_path / "here", line="cpu-1-float32")
    there = Cache(tmp_path / "cache", line="cpu-1-float32")
    id = "cd" * 32
    here.rows(id).write({1: torch.ones(40)})
    there.rows(id).write({3: torch.zeros(40)})
    parcel = Parcel("artifact", id, "cpu-1-float32")
    names = ["meta.json", "rows.bin", "sums.bin"]

    send_parcel(driver, parcel, here.folder_of(id), names)

    assert set(there.rows(id).read([0, 1, 2, 3])) == {1, 3}
    entries = {entry.name: entry for entry in driver.list_files(parcel) or ()}
    incoming = receive_parcel(driver, parcel, entries, tmp_path / "copy")
    assert (incoming.folder / "rows.bin").read_bytes() == (
        there.folder_of(id) / "rows.bin"
    ).read_bytes()


def test_marks_tell_shared_folders_and_are_removed(tmp_path: Path) -> None:
    with mark_folders(tmp_path) as marks:
        assert marks.are_visible()
        marks.paths[0].write_text("of another run")
        assert not marks.are_visible()
    assert list(tmp_path.iterdir()) == []
    assert not marks.are_visible()


DIES_AT_A_LIMIT = """
import os, sys
from advtransfer.exchange.node_job import run_folder

with run_folder(sys.argv[1]) as run:
    (run.path / ".overdue-0123.txt").write_text("its traceback")
    os._exit(1)
"""


def test_what_ended_a_process_at_its_limit_is_known_to_the_next_ones_of_the_same_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    for call in ("other", "this"):
        subprocess.run([sys.executable, "-c", DIES_AT_A_LIMIT, call], check=False, timeout=60)
    # Another job may come before the one that is tried again.
    for _ in range(2):
        with run_folder("this") as run:
            found = {path.name: path.read_text() for path in run.path.iterdir()}
            folders = sorted(path.name.split(".")[1] for path in tmp_path.iterdir())
        assert {".overdue-0123.txt": "its traceback"} == found
        assert ["advtransfer-run-this"] * 2 == folders
    with run_folder("other") as run:
        assert [] == list(run.path.iterdir())

    assert [] == list(tmp_path.iterdir())
