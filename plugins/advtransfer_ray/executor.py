"""Executor that submits jobs as tasks of Ray: a bounded number at once, started again by Ray where a worker dies."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import TypeVar, cast

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from advtransfer.errors import BadInput, Problem
from advtransfer.exchange import FolderMarks, mark_folders
from advtransfer.jobs import STOPPED_REASON, Job, Report, worker_variables
from advtransfer.types import Json
from advtransfer_ray.connection import connect, has_room
from advtransfer_ray.driver_actor import NEWS, DriverEnd, Handle, receive_news
from advtransfer_ray.worker import Problems, RefusedBy, call_in_task, perform_in_task

STOP_SECONDS = 10.0
"""Seconds within which Ray reports the tasks that were cancelled."""

GPU_SHARE = 0.01
"""Share of a GPU that a call before any job reserves."""

ReturnT = TypeVar("ReturnT")


@dataclass(slots=True)
class Submission:
    """A job with its future, the nodes that refused it and why, and its task once it is with Ray."""

    job: Job
    future: Future[Report] = field(default_factory=Future)
    refusals: dict[str, str] = field(default_factory=dict)
    task: Handle = None


class RayExecutor:
    """Tasks of one Ray cluster; `advtransfer_ray.components.cluster` explains the options."""

    def __init__(self, *, address: str, retries: int, jobs: int | None, threads: int) -> None:
        self.address = address
        self.retries = retries
        self.jobs = jobs
        self.threads = threads
        self._connected_here = False
        self._waiting: deque[Submission] = deque()
        self._running: list[Submission] = []
        self._lock = threading.RLock()
        self._stack: ExitStack | None = None
        self._actor: Handle = None
        self._marks: FolderMarks | None = None
        self._own_news: deque[Mapping[str, Json]] = deque()
        self._refused_nodes: set[str] = set()
        self._needs: set[tuple[float, float]] = set()

    @property
    def slots(self) -> int:
        """The jobs that run at the same time: as said, or as the cluster has room for."""
        if self.jobs is not None:
            return self.jobs
        self._connect()
        return max(1, int(ray.cluster_resources().get("CPU", 1) // self.threads))

    def call_on_worker(self, function: Callable[[], ReturnT], *, gpu: bool) -> ReturnT:
        self._connect()
        if gpu and not has_room(cpus=0, gpus=GPU_SHARE):
            found = f"no GPU in the Ray cluster at address={self.address}"
            next_step = (
                "start a node with `ray start --num-gpus`, or leave --device out to use CPUs"
            )
            raise BadInput([Problem(found, "one for --device cuda", next_step)])
        task = self._remote(call_in_task, num_cpus=0, num_gpus=GPU_SHARE if gpu else 0)
        result = ray.get(task.remote(function))
        if isinstance(result, Problems):
            raise BadInput(result.problems)
        return cast(ReturnT, result)

    @contextmanager
    def start(self) -> Iterator[RayExecutor]:
        self._connect()
        with ExitStack() as stack:
            self._stack = stack
            try:
                yield self
            finally:
                self.stop(grace=0)
                self._stack = None
                if self._actor is not None:
                    ray.kill(self._actor)
                    self._actor = None
        if self._connected_here:
            ray.shutdown()
            self._connected_here = False

    def submit(self, job: Job) -> Future[Report]:
        submission = Submission(job)
        with self._lock:
            if self._stack is None:
                submission.future.set_result(Report.lost(job, STOPPED_REASON))
                return submission.future
            self._open_folders(job, self._stack)
            self._warn_without_room(job)
            self._waiting.append(submission)
            self._fill_window()
        return submission.future

    def news(self) -> Iterator[Mapping[str, Json]]:
        while self._own_news:
            yield self._own_news.popleft()
        if self._actor is not None:
            yield from receive_news(self._actor)

    def stop(self, *, grace: float) -> None:
        """Report waiting jobs as lost, and cancel running ones after `grace` seconds.

        A cancelled task is killed, which is safe, since a record is written at once or not at all.
        """
        with self._lock:
            waiting = list(self._waiting)
            self._waiting.clear()
            running = list(self._running)
        for submission in waiting:
            submission.future.set_result(Report.lost(submission.job, STOPPED_REASON))
        futures = [submission.future for submission in running]
        wait(futures, timeout=grace)
        for submission in running:
            if not submission.future.done():
                ray.cancel(submission.task, force=True)
        wait(futures, timeout=STOP_SECONDS)
        for submission in running:
            self._report(submission, Report.lost(submission.job, STOPPED_REASON))

    def _connect(self) -> None:
        # A cluster that is started here has room for the jobs that were asked for.
        cpus = None if self.jobs is None else self.jobs * self.threads
        if connect(self.address, cpus=cpus):
            self._connected_here = True

    def _open_folders(self, job: Job, stack: ExitStack) -> None:
        """Start the driver's end with the first job; all jobs of a run have the same folders."""
        if self._actor is not None:
            return
        self._marks = stack.enter_context(mark_folders(job.run, job.cache))
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        actor = ray.remote(num_cpus=0, scheduling_strategy=here, concurrency_groups={NEWS: 1})(
            DriverEnd
        )
        self._actor = actor.remote(job.run, job.cache, job.cache_below, job.max_bytes)

    def _warn_without_room(self, job: Job) -> None:
        """Warn once of jobs that no node has room for; a node that starts later may have it."""
        need = job.cpus, job.gpus
        if need in self._needs:
            return
        self._needs.add(need)
        if not has_room(cpus=job.cpus, gpus=job.gpus):
            text = (
                f"jobs with resources {{cpus: {job.cpus:g}, gpus: {job.gpus:g}}} wait, since no node of the "
                "cluster has that many; start one that has, or stop the run and correct `resources`"
            )
            self._warn(job, text)

    def _warn(self, job: Job, text: str) -> None:
        self._own_news.append({"event": "warning", "id": job.id, "name": "", "text": text})

    def _fill_window(self) -> None:
        """Give jobs to Ray, up to `jobs` at once; without that number Ray itself runs what there is room for."""
        while self._waiting and (self.jobs is None or len(self._running) < self.jobs):
            submission = self._waiting.popleft()
            self._running.append(submission)
            self._start_task(submission)

    def _start_task(self, submission: Submission) -> None:
        job = submission.job
        options: dict[str, object] = {"num_cpus": job.cpus, "num_gpus": job.gpus}
        if submission.refusals:
            options["label_selector"] = {"ray.io/node-id": f"!in({','.join(submission.refusals)})"}
        task = self._remote(perform_in_task, max_retries=self.retries, **options)
        # In a worker, Ray numbers the GPUs of a task from 0.
        device = job.device.partition(":")[0]
        submission.task = task.remote(replace(job, device=device), self._actor, self._marks)
        done = submission.task.future()
        done.add_done_callback(lambda ended: self._take_outcome(submission, ended))

    def _take_outcome(self, submission: Submission, ended: Future[Report | RefusedBy]) -> None:
        """Report the end of a task, or start it again on another node than the one that refused it."""
        job = submission.job
        try:
            outcome = ended.result()
        except ray.exceptions.TaskCancelledError:
            outcome = Report.lost(job, STOPPED_REASON)
        except ray.exceptions.RayTaskError as error:
            cause = error.cause
            outcome = Report(job.id, "lost", (), f"{type(cause).__name__}: {cause}")
        except Exception as error:  # The runner waits for the future, so it must get a report.
            reason = " ".join(str(error).split())[:500]
            outcome = Report.lost(job, f"its worker died more than {self.retries} times: {reason}")
        if not isinstance(outcome, RefusedBy):
            # A process that a plugin has changed ends itself, so the run need not stop.
            self._report(submission, replace(outcome, retire_worker=None))
            return
        self._note_refusal(submission, outcome)
        nodes = {node["NodeID"] for node in ray.nodes() if node["Alive"]}
        if nodes - submission.refusals.keys():
            with self._lock:
                if submission in self._running:
                    self._start_task(submission)
            return
        reasons = "; ".join(dict.fromkeys(submission.refusals.values()))
        self._report(submission, Report.lost(job, f"every node refused it: {reasons}"))

    def _note_refusal(self, submission: Submission, refused: RefusedBy) -> None:
        refusal = refused.refusal
        reason = (
            f"{refusal.host} differs from the first worker ({refusal.reason}) and gets no job; "
            "install the same there, or allow a mixture with --mixed"
        )
        submission.refusals[refused.node] = reason
        if refused.node not in self._refused_nodes:
            self._refused_nodes.add(refused.node)
            self._warn(submission.job, reason)

    def _report(self, submission: Submission, report: Report) -> None:
        with self._lock:
            if submission in self._running:
                self._running.remove(submission)
            if not submission.future.done():
                submission.future.set_result(report)
            self._fill_window()

    def _remote(self, function: Callable[..., object], **options: object) -> Handle:
        variables = {"OMP_WAIT_POLICY": "PASSIVE", **worker_variables(self.threads)}
        return ray.remote(function).options(runtime_env={"env_vars": variables}, **options)
