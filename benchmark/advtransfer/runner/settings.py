"""Settings of a run: where and how a suite is run. None of them is part of an id."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from advtransfer.files import default_cache_root
from advtransfer.runner.shard import Shard
from advtransfer.types import BatterySize, Json, Precision


@dataclass(frozen=True, slots=True)
class RunSettings:
    """Settings of one run.

    Args:
        runs: The folder that holds one folder per suite.
        jobs: Number of workers; None fills the processors that this process may use.
        threads: CPU threads of a worker; recorded, since it changes floating-point sums.
        limit: Largest number of trials in this call.
        budget: Seconds after which no job begins, and in which every cell gets its first seed before
            any gets a second; None for no limit.
        only: Patterns of the trials to run in this call, see `matching_trials`.
        device: ``cpu``, ``cuda`` for every GPU, or GPUs by number, as ``cuda:0,cuda:1``.
        precision: Precision of training: ``float32``, or ``bfloat16`` where that is safe (automatic
            mixed precision).
        kernel_batch: Rows that a kernel computes at once; None for the rule of device and shapes.
        compile: Train through torch's compiler.
        executor: The executor, as ``plugin/factory``.
        engine: Options of the executor's factory; a text counts as another type where the option is no text.
        profile: Write a trace of torch's profiler of the first fit of this call.
        retry_failed: Also attempt again what failed deterministically, such as a diverged fit, or
            turned out not to be applicable at run time; not what the plan skips.
        mixed: Continue in a folder whose records were made on another device, or with another
            thread count, precision, named kernel batch, compilation or battery size.
        battery: Size of the battery that verifies each robust accuracy: ``small``, ``full`` or
            ``none``.
        keep_models: Keep fitted weights in the cache after their results are recorded.
        trust_versions: Accept records and artifacts that other code of a plugin made under the same
            version.
        cache: Folder of the artifact cache.
        cache_below: A second cache that is only read, for what `cache` does not hold.
        max_bytes: Size above which the cache evicts its least recently used entries.
        timeout: Longest seconds of a step (a source, a fit, an evaluation) whose entry has no limit.
        memory: Bytes that a worker may use with its children.
        grace: Seconds that running jobs get to end when the run is interrupted.
        shard: Which of several drivers of the run this is; None for the only one.
    """

    runs: Path = Path("runs")
    jobs: int | None = None
    threads: int = 1
    limit: int | None = None
    budget: float | None = None
    only: tuple[str, ...] = ()
    device: str = "cpu"
    precision: Precision = "float32"
    kernel_batch: int | None = None
    compile: bool = False
    executor: str = "local/pool"
    engine: Mapping[str, Json] = field(default_factory=dict)
    profile: bool = False
    retry_failed: bool = False
    mixed: bool = False
    battery: BatterySize = "small"
    keep_models: bool = False
    trust_versions: bool = False
    cache: Path = field(default_factory=default_cache_root)
    cache_below: Path | None = None
    max_bytes: int | None = None
    timeout: float | None = None
    memory: int | None = None
    grace: float = 5.0
    shard: Shard | None = None

    def worker_count(self) -> int:
        """Return the number of workers that run at once."""
        if self.jobs is not None:
            return self.jobs
        return max(1, usable_cores() // self.threads)


def usable_cores() -> int:
    """Return the number of CPU cores that this process may use."""
    # The affinity respects limits of containers and batch systems; macOS and Windows lack it.
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
