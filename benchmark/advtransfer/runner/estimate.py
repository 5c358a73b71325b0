"""What the rest of a run will cost: hours, memory, disk, and what is there already."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from statistics import median
from typing import cast

from advtransfer.cache import Cache
from advtransfer.cache.maintenance import CHECKPOINT_KIND, CacheEntry
from advtransfer.host import Host
from advtransfer.node import Node, content_id
from advtransfer.planning import Plan, Trial, make_plan
from advtransfer.planning.nodes import SuiteIndex
from advtransfer.planning.status import (
    missing_records,
    permanently_failed,
    results_without_battery,
    trial_statuses,
)
from advtransfer.result import Run
from advtransfer.runner.environment import battery_size_of, settings_key
from advtransfer.runner.event_reader import read_events
from advtransfer.runner.events import Listener
from advtransfer.runner.job_costs import JobCosts, read_known_costs
from advtransfer.runner.job_queue import PendingJob
from advtransfer.runner.record_reuse import find_copyable
from advtransfer.runner.run import run_suite
from advtransfer.runner.schedule import pending_jobs
from advtransfer.runner.settings import RunSettings
from advtransfer.runner.simulation import simulated_seconds
from advtransfer.runner.trial_selection import trials_to_run
from advtransfer.suite import Suite
from advtransfer.worker.environment import describe_worker


@dataclass(frozen=True, slots=True)
class Estimate:
    """The expected cost of the trials that a run would begin.

    Args:
        suite: Name of the suite.
        run: The run folder.
        executor: The executor, as plugin/factory.
        device: The device.
        threads: CPU threads of a worker.
        workers: The number of workers that `wall_seconds` and `peak_bytes` are for.
        trials: Number of trials to do.
        jobs: Number of jobs.
        seconds: Seconds of one worker by phase: ``sources``, ``fits``, and each evaluation's label.
        wall_seconds: Seconds from begin to end: of the scheduler on a clock that jumps, and what this
            folder's last run took before its first job and after its last.
        core_hours: Hours of the CPU cores that jobs reserve.
        gpu_hours: Hours of the GPUs that they reserve, or of their shares; 0 on a CPU.
        worker_bytes: Largest memory of one worker; None where nothing is known.
        peak_bytes: Largest memory of all workers; None where nothing is known.
        run_bytes: Bytes that the run folder will grow by.
        cache_bytes: Bytes that the cache will grow by.
        sources: Number of sources and references to build or load.
        cached_sources: How many of them the cache has.
        copied_records: Records that other runs of this machine have; they are copied.
        probed: Names of the trials that were run to measure, in the run folder.
        unknown: Components that nothing is known of; they are not part of any number.
    """

    suite: str
    run: str
    executor: str
    device: str
    threads: int
    workers: int
    trials: int
    jobs: int
    seconds: Mapping[str, float]
    wall_seconds: float
    core_hours: float
    gpu_hours: float
    worker_bytes: int | None
    peak_bytes: int | None
    run_bytes: int
    cache_bytes: int
    sources: int
    cached_sources: int
    copied_records: int
    probed: tuple[str, ...]
    unknown: tuple[str, ...]


def estimate_run(
    suite: Suite, *, settings: RunSettings, host: Host, listeners: Iterable[Listener] = ()
) -> Estimate:
    """Return what the rest of a run will cost; the kinds of work that nothing is known of are tried.

    Trials with such work are run in the ordinary run folder, where the run finds them as done.

    Raises:
        BadInput: As `run_suite`.
    """
    plan = make_plan(suite, host)
    work = _PendingWork.of_plan(plan, suite, settings, host)
    probes = _probe_trials(work, read_known_costs(work.folder, settings))
    if probes:
        ids = tuple(trial.id for trial in probes)
        only = replace(settings, only=ids, limit=None, executor="local/pool", engine={}, jobs=1)
        run_suite(suite, settings=only, host=host, listeners=listeners)
        work = _PendingWork.of_plan(plan, suite, settings, host)
    costs = read_known_costs(work.folder, settings)
    return _estimate(plan, work, costs, settings, tuple(trial.name for trial in probes))


@dataclass(frozen=True, slots=True)
class _PendingWork:
    """The trials and jobs that a run would begin, and how many records it would copy."""

    folder: Run
    trials: list[Trial]
    jobs: list[PendingJob]
    copied_records: int

    @classmethod
    def of_plan(cls, plan: Plan, suite: Suite, settings: RunSettings, host: Host) -> _PendingWork:
        folder = Run(settings.runs / plan.suite)
        done = folder.finished_ids()
        lacking = results_without_battery(plan, folder, settings.battery)
        hopeless = permanently_failed(folder)
        trials = trials_to_run(
            plan, trial_statuses(plan, folder), settings, lacking, built=done | hopeless
        )
        wanted = {
            id
            for trial in trials
            for id in (*trial.builds, *missing_records(trial, done))
            if id not in done
        }
        cache = Cache(settings.cache, line="any", below=settings.cache_below)
        environment = describe_worker(
            device=settings.device,
            threads=settings.threads,
            precision=settings.precision,
            kernel_batch=settings.kernel_batch,
            compiled=settings.compile,
            plugin_distributions=host.distributions_of(suite.plugin_names()),
        )
        copied = find_copyable(
            folder,
            wanted,
            known=[
                path
                for path in cache.registered_runs()
                if battery_size_of(Run(path)) == settings.battery
            ],
            environment=content_id(environment),
            host=None if settings.trust_versions else host,
        )
        jobs = pending_jobs(
            trials,
            SuiteIndex(suite),
            (done | copied) - lacking,
            plan.sources,
            hopeless=set() if settings.retry_failed else hopeless,
        )
        return cls(folder, trials, jobs, len(copied))


def _probe_trials(work: _PendingWork, costs: JobCosts) -> list[Trial]:
    """Return trials, on few images first, that together do each kind of unknown work.

    Of each kind of fit they have the smallest and the largest, between which others are told. All but
    the training of sources is done twice, since the first pays for what it shares with the others.
    """
    nodes = [node for job in work.jobs for node in (job.request.node, *job.request.results)]
    keys = {node.id: costs.kind_and_size(node) for node in nodes}
    sizes: dict[Hashable, list[float]] = defaultdict(list)
    for node in nodes:
        kind, size = keys[node.id]
        if node.kind == "fit":
            sizes[kind].append(math.inf if size is None else size)
    missing: dict[Hashable, int] = {}
    for node in nodes:
        kind, _ = keys[node.id]
        recorded = costs.recorded_sizes(kind)
        if node.kind == "fit":
            known = [math.inf if size is None else size for size in recorded]
            least, most = min(sizes[kind]), max(sizes[kind])
            missing[kind, least] = 0 if known and min(known) <= least <= max(known) else 2
            if most > least:
                missing[kind, most] = 0 if known and min(known) <= most <= max(known) else 1
        else:
            is_alone = node.kind == "source" and not _builds_on_source(node)
            missing[kind] = (1 if is_alone else 2) - len(recorded)
    probes: list[Trial] = []
    for trial in sorted(work.trials, key=_probe_order):
        done = {keys[id] for id in (*trial.builds, *trial.record_ids()) if id in keys}
        kinds = [one for kind, size in done for one in (kind, (kind, size or math.inf))]
        if any(missing.get(kind, 0) > 0 for kind in kinds):
            probes.append(trial)
            for kind in kinds:
                missing[kind] = missing.get(kind, 0) - 1
    return probes


def _builds_on_source(node: Node) -> bool:
    """Return whether a source is made from another, which the first of several has to build."""
    return any(isinstance(one, Node) and one.kind == "source" for one in node.inputs.values())


def _probe_order(trial: Trial) -> tuple[float, int, int]:
    return math.inf if trial.n == "all" else trial.n, trial.seed, trial.replicate or 0


def _estimate(
    plan: Plan,
    work: _PendingWork,
    costs: JobCosts,
    settings: RunSettings,
    probed: tuple[str, ...],
) -> Estimate:
    """Add up the costs of all jobs."""
    entries = _cache_entries(settings)
    labels = {
        id: label for trial in work.trials for label, ids in trial.evaluations.items() for id in ids
    }
    seconds: dict[str, float] = defaultdict(float)
    job_seconds: dict[str, float] = {}
    unknown: set[str] = set()
    worker_bytes = run_bytes = 0
    for job in work.jobs:
        job_seconds[job.id] = 0.0
        for node in (job.request.node, *job.request.results):
            cost = costs.cost_of(node)
            if cost is None:
                unknown.add(node.use)
                continue
            # A source in the cache is only loaded and measured.
            taken = 0.0 if node.kind == "source" and node.id in entries else cost.seconds
            seconds[_phase(node, labels)] += taken
            job_seconds[job.id] += taken
            worker_bytes = max(worker_bytes, cost.peak_bytes)
            run_bytes += cost.record_bytes
    sources = [job.id for job in work.jobs if job.kind == "source"]
    workers = settings.worker_count()
    core_seconds = gpu_seconds = 0.0
    for job in work.jobs:
        cpus, gpus = job.resources.reserved(threads=settings.threads, device=settings.device)
        core_seconds += job_seconds[job.id] * cpus
        gpu_seconds += job_seconds[job.id] * gpus
    return Estimate(
        suite=plan.suite,
        run=str(work.folder.path),
        executor=settings.executor,
        device=settings.device,
        threads=settings.threads,
        workers=workers,
        trials=len(work.trials),
        jobs=len(work.jobs),
        seconds=dict(seconds),
        wall_seconds=simulated_seconds(work.jobs, workers=workers, seconds=job_seconds)
        + (_seconds_around_jobs(work.folder) if work.jobs else 0.0),
        core_hours=core_seconds / 3600,
        gpu_hours=gpu_seconds / 3600,
        worker_bytes=worker_bytes or None,
        peak_bytes=worker_bytes * min(workers, len(work.jobs)) or None,
        run_bytes=run_bytes,
        cache_bytes=_cache_growth(work.jobs, entries, keep_models=settings.keep_models),
        sources=len(sources),
        cached_sources=len(entries.keys() & set(sources)),
        copied_records=work.copied_records,
        probed=probed,
        unknown=tuple(sorted(unknown)),
    )


def _seconds_around_jobs(folder: Run) -> float:
    """Return what the last finished run of a folder took to plan, start workers and write its page."""
    around = first = last = 0.0
    for event in read_events(folder.path / "events.jsonl"):
        time = cast(float, event.get("time", 0.0))
        match event["event"]:
            case "run_started":
                first = last = 0.0
            case "job_started":
                first = first or time
            case "job_finished":
                last = time
            case "run_finished" if first:
                around = cast(float, event["seconds"]) - (last - first)
    return max(0.0, around)


def _phase(node: Node, labels: Mapping[str, str]) -> str:
    return {"source": "sources", "fit": "fits"}.get(node.kind, labels.get(node.id, node.use))


def _cache_entries(settings: RunSettings) -> dict[str, CacheEntry]:
    """Return the artifacts of the cache that a run with these settings can use, by id."""
    key = settings_key(settings)
    entries = Cache(settings.cache, line=key).list_entries()
    return {entry.id: entry for entry in entries if entry.environment_key == key}


def _cache_growth(
    jobs: Iterable[PendingJob], entries: Mapping[str, CacheEntry], *, keep_models: bool
) -> int:
    """Return the bytes that jobs will add to the cache, by the medians of what it has of each kind.

    What several fits share (features, examples) is counted by source.
    """
    sizes: dict[str, list[int]] = defaultdict(list)
    shared_bytes = 0
    for entry in entries.values():
        if entry.kind in ("source", "fit"):
            sizes[entry.kind].append(entry.bytes)
        elif entry.kind != CHECKPOINT_KIND:
            shared_bytes += entry.bytes
    per_source = median(sizes["source"] or [0]) + shared_bytes / max(1, len(sizes["source"]))
    new = Counter(job.kind for job in jobs if job.id not in entries)
    fits = new["fit"] * median(sizes["fit"] or [0]) if keep_models else 0
    return round(new["source"] * per_source + fits)
