"""Drivers and workers that share a spool folder, and end in every way: each job is answered once."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from advtransfer.errors import AdvTransferError, BadInput
from advtransfer.exchange import job_for_worker
from advtransfer.jobs import Job, Report
from advtransfer.result import Run
from advtransfer.types import Json
from advtransfer.worker.environment import describe_worker
from advtransfer_slurm import executor as spool_executor
from advtransfer_slurm import worker as spool_worker
from advtransfer_slurm.components import slurm_minutes, submitit
from advtransfer_slurm.executor import SpoolExecutor, remove_dead_spools
from advtransfer_slurm.spool import MessageReader, Spool
from advtransfer_slurm.worker import SpoolWorker, serve_spool
from advtransfer_slurm.worker_array import WorkerArray

Deed = Callable[[int], None]
"""What a job does in worker `number`; it can end that worker by an error."""


class Died(Exception):
    """The end of a worker."""


class Engine:
    """Does the deeds of jobs in threads, as a pool of one process would."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.messages: list[Mapping[str, Json]] = []
        self.slots = 1

    @contextmanager
    def start(self) -> Iterator[Engine]:
        yield self

    def submit(self, job: Job) -> Future[Report]:
        DEEDS[job.id](self.number)
        self.messages.append({"event": "job_started", "id": job.id, "worker": self.number})
        future: Future[Report] = Future()
        future.set_result(Report(job.id, "done", (f"record of {job.id}",), None))
        return future

    def news(self) -> Iterator[Mapping[str, Json]]:
        messages = [*self.messages]
        self.messages.clear()
        yield from messages

    def stop(self, *, grace: float) -> None:
        """Do nothing."""


DEEDS: dict[str, Deed] = {}


class Threads(WorkerArray):
    """Tasks that are threads of this process."""

    def __init__(self) -> None:
        self.threads = 1
        self.started: list[int] = []
        self.living: dict[int, threading.Thread] = {}

    def start_tasks(
        self, function: Callable[[int], None], numbers: Iterable[int], *, logs: Path, gpus: int
    ) -> None:
        assert isinstance(function, SpoolWorker)
        for number in numbers:
            thread = threading.Thread(target=self.serve, args=(function, number), daemon=True)
            self.started.append(number)
            self.living[number] = thread
            thread.start()

    @staticmethod
    def serve(worker: SpoolWorker, number: int) -> None:
        with suppress(Died):
            serve_spool(worker, number, Engine(number))

    def ended_tasks(self) -> dict[int, str]:
        ended = [number for number, thread in self.living.items() if not thread.is_alive()]
        for number in ended:
            del self.living[number]
        return dict.fromkeys(ended, "Killed")

    def cancel_tasks(self, numbers: Iterable[int]) -> None:
        """Do nothing: the closed spool ends threads."""

    def wait_for_end(self, seconds: float) -> None:
        for thread in self.living.values():
            thread.join(seconds)


@pytest.fixture(autouse=True)
def short_times(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_executor, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(spool_executor, "LEASE_SECONDS", 0.6)
    monkeypatch.setattr(spool_executor, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(spool_worker, "IDLE_SECONDS", 0.02)
    monkeypatch.setattr(spool_worker, "POLL_SECONDS", 0.02)
    monkeypatch.setattr(spool_worker, "job_for_worker", lambda job: job)
    DEEDS.clear()


def job(id: str, run: Path, deed: Deed = lambda number: None) -> Job:
    DEEDS[id] = deed
    return Job(id, {}, run, run / "cache", "", {}, "cpu", 1)


def note_deed(done: list[str], name: str, number: int) -> None:
    done.append(name)


def check_that(fact: bool) -> None:
    assert fact


def reports(engine: SpoolExecutor, jobs: Iterable[Job]) -> list[Report]:
    return [future.result(timeout=20) for future in [engine.submit(one) for one in jobs]]


def test_each_job_is_done_once_and_tells_its_news(tmp_path: Path) -> None:
    done: list[str] = []
    names = [f"{n}" for n in range(20)]
    jobs = [job(name, tmp_path, partial(note_deed, done, name)) for name in names]
    with SpoolExecutor(jobs=3, array=Threads()).start() as engine:
        told = reports(engine, jobs)
        news = [*engine.news()]

    assert names == [one.id for one in told]
    assert {("done", None)} == {(one.status, one.reason) for one in told}
    assert ("record of 7",) == told[7].records
    assert sorted(names) == sorted(done)
    assert sorted(names) == sorted(str(one["id"]) for one in news)
    assert not (tmp_path / "spool").exists()


def test_the_job_of_a_dead_worker_is_done_by_another(tmp_path: Path) -> None:
    workers: list[int] = []

    def die_once(number: int) -> None:
        workers.append(number)
        if len(workers) == 1:
            raise Died

    array = Threads()
    with SpoolExecutor(jobs=2, array=array).start() as engine:
        told = reports(engine, [job("dies", tmp_path, die_once), job("lives", tmp_path)])

    assert ["done", "done"] == [one.status for one in told]
    assert 2 == len(set(workers))
    assert [0, 1, 2] == array.started  # the third replaces the dead one


def test_a_job_that_three_workers_died_of_is_lost_and_the_others_are_done(tmp_path: Path) -> None:
    def die(number: int) -> None:
        raise Died

    jobs = [job("bad", tmp_path, die), *(job(f"good {n}", tmp_path) for n in range(4))]
    with SpoolExecutor(jobs=2, array=Threads()).start() as engine:
        lost, *done = reports(engine, jobs)

    assert ("lost", "its worker died 3 times (Killed)") == (lost.status, lost.reason)
    assert ["done"] * 4 == [one.status for one in done]


def test_the_job_of_a_silent_worker_is_done_by_another_and_its_late_report_is_no_second_one(
    tmp_path: Path,
) -> None:
    workers: list[int] = []
    wakes = threading.Event()

    def stop_once(number: int) -> None:
        workers.append(number)
        if len(workers) == 1:
            wakes.wait(20)

    with SpoolExecutor(jobs=2, array=Threads()).start() as engine:
        (first,) = reports(engine, [job("stops", tmp_path, stop_once)])
        wakes.set()
        (after,) = reports(engine, [job("after", tmp_path)])

    assert ("done", "done") == (first.status, after.status)
    assert 2 == len(set(workers))


def test_workers_that_cannot_begin_lose_all_jobs_with_what_they_said(tmp_path: Path) -> None:
    class Broken(Threads):
        @staticmethod
        def serve(worker: SpoolWorker, number: int) -> None:
            """End at once."""

        def ended_tasks(self) -> dict[int, str]:
            return dict.fromkeys(super().ended_tasks(), "No module named 'advtransfer'")

    array = Broken()
    with SpoolExecutor(jobs=2, array=array).start() as engine:
        told = reports(engine, [job("one", tmp_path), job("two", tmp_path)])
        told += reports(engine, [job("three", tmp_path)])

    reason = "6 workers ended before they did a job (No module named 'advtransfer')"
    assert {("lost", reason)} == {(one.status, one.reason) for one in told}


def test_stopping_answers_every_job_and_leaves_no_worker(tmp_path: Path) -> None:
    ends = threading.Event()
    array = Threads()
    with SpoolExecutor(jobs=1, array=array).start() as engine:
        jobs = [
            job("runs", tmp_path, lambda number: check_that(ends.wait(5))),
            job("waits", tmp_path),
        ]
        asked = [engine.submit(one) for one in jobs]
        time.sleep(0.2)
        threading.Timer(0.3, ends.set).start()
        engine.stop(grace=2)
        late = engine.submit(job("late", tmp_path))

    assert ["done", "lost", "lost"] == [one.result(1).status for one in (*asked, late)]
    assert "the run was stopped" == late.result().reason
    assert not any(thread.is_alive() for thread in array.living.values())


def test_a_worker_ends_when_its_driver_is_dead_or_its_folder_gone(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool" / "dead")
    spool.create()
    os.utime(spool.path / "driver", (1, 1))
    spool.put_job("1", job("never", tmp_path, lambda number: pytest.fail("it ran")))
    worker = SpoolWorker(spool.path, threads=1, memory_limit=None, beat=0.1, lease=60)

    serve_spool(worker, 0, Engine(0))
    remove_dead_spools(tmp_path / "spool")
    serve_spool(worker, 1, Engine(1))

    assert [] == [*(tmp_path / "spool").iterdir()]


def test_the_folder_of_a_living_driver_stays(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool" / "alive")
    spool.create()
    remove_dead_spools(tmp_path / "spool")

    assert spool.is_open()


def test_a_task_that_runs_again_begins_with_the_job_that_it_had(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool.create()
    for name in ("1", "2"):
        spool.put_job(name, job(name, tmp_path))
    desk = spool.worker(5)
    desk.open()
    taken = [desk.take_job()]
    again = spool.worker(5)
    again.open()
    taken.append(again.take_job())

    assert ["1", "1"] == [one[0] for one in taken if one is not None]
    assert ["2"] == spool.waiting_jobs()


def test_a_machine_unlike_the_drivers_gets_no_job_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path)
    monkeypatch.setattr(spool_worker, "job_for_worker", job_for_worker)
    own = describe_worker(device="cpu", threads=1, precision="float32", plugin_distributions=())
    other = run.write_environment(own | {"python": "3.9.1"})
    spool = Spool(tmp_path / "spool")
    spool.create()
    foreign = replace(job("never", tmp_path), environment=other)
    spool.put_job("1", foreign)
    worker = SpoolWorker(spool.path, threads=1, memory_limit=None, beat=0.1, lease=60)
    with pytest.raises(
        AdvTransferError, match=r"\(python 3\.\d+\.\d+ and not 3\.9\.1\) and gets no job"
    ):
        serve_spool(worker, 0, Engine(0))
    told = [*MessageReader(spool.worker(0)).read_messages()]

    assert ["1"] == spool.waiting_jobs()
    assert "allow a mixture with --mixed" in str(told)
    mixed = job_for_worker(replace(foreign, mixed=True))
    assert isinstance(mixed, Job)
    assert own == run.read_environments()[mixed.environment]


def test_half_a_message_waits_for_its_end(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool.create()
    desk = spool.worker(0)
    reader = MessageReader(desk)
    assert [] == [*reader.read_messages()]
    desk.open()
    desk.finish_job("1", Report("a", "failed", ("b",), "no luck"), [{"event": "x"}])
    with desk.messages.open("a") as file:
        file.write('{"news"')
    first = [*reader.read_messages()]
    with desk.messages.open("a") as file:
        file.write(": {}}\n")

    assert {"news": {"event": "x"}} == first[0]
    assert Report("a", "failed", ("b",), "no luck") == Report.from_json(first[1]["report"])  # type: ignore[arg-type]  # it is an object
    assert [{"news": {}}] == [*reader.read_messages()]


@pytest.mark.parametrize(
    ("time", "minutes"),
    [("90", 90), ("4:00:00", 240), ("10:30", 11), ("1-0", 1440), ("2-3:30", 3090), ("0:30", 1)],
)
def test_time_limits_are_read_as_slurm_reads_them(time: str, minutes: int) -> None:
    assert minutes == slurm_minutes(time)


def test_a_wrong_time_limit_is_refused() -> None:
    with pytest.raises(BadInput, match=r"time: '4h'; expected minutes, hours:minutes:seconds"):
        slurm_minutes("4h")


def test_a_machine_without_slurm_is_told_before_anything_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BadInput, match=r"no command sbatch, srun, sacct.*cluster=local"):
        submitit(jobs=2)


def test_the_number_of_workers_must_be_stated() -> None:
    with pytest.raises(BadInput, match=r"no number of workers; .*; add --jobs 8"):
        submitit(cluster="local")


def test_options_that_slurm_refuses_are_told_in_its_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("srun", "sacct", "scancel"):
        (tmp_path / name).write_text("#!/bin/sh\n")
    (tmp_path / "sbatch").write_text(
        "#!/bin/sh\necho 'sbatch: error: invalid partition specified: big' >&2\nexit 1\n"
    )
    for path in tmp_path.iterdir():
        path.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    engine = submitit(jobs=2, partition="big")
    with (
        pytest.raises(BadInput, match="invalid partition specified: big"),
        engine.start() as started,
    ):
        started.submit(job("any", tmp_path / "run"))

    assert not any((tmp_path / "run").glob("spool/*"))
