"""Settings of a run: where and how a suite is run. None of them is part of an id."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from advtransfer.files import default_cache_root
from advtransfer.types import BatterySize, Precision


@dataclass(frozen=True, slots=True)
class RunSettings:
    """Where and how a run happens.

    Args:
        runs: The folder that holds one folder a suite.
        jobs: Workers at once; None fills the processors this process may use.
        threads: CPU threads a worker; recorded, since it changes floating-point sums.
        limit: At most this many trials in this call.
        only: Patterns of trials to run in this call, see `pick`.
        device: ``cpu``, ``cuda`` or ``cuda:1``.
        precision: Of training: ``float32``, or ``bfloat16`` where that is safe (automatic mixed precision).
        executor: The engine, as ``plugin/factory``.
        retry_failed: Try again also what failed deterministically, such as a diverged fit, and what was found at
            run time to make no sense; not what the plan skips.
        mixed: Go on in a folder whose records were made on another device, with another thread count,
            precision or size of battery.
        battery: How much evidence the host gathers of each robust accuracy: ``small``, ``full`` or ``none``.
        keep_models: Keep fitted weights in the cache after their results are recorded.
        trust_versions: Take what was made with other code of a plugin under the same versions as it is.
        cache: The artifact cache's folder.
        max_bytes: The size above which the cache evicts what was used least recently.
        grace: Seconds that running jobs get to end when the run is interrupted.
    """

    runs: Path = Path("runs")
    jobs: int | None = None
    threads: int = 1
    limit: int | None = None
    only: tuple[str, ...] = ()
    device: str = "cpu"
    precision: Precision = "float32"
    executor: str = "local/pool"
    retry_failed: bool = False
    mixed: bool = False
    battery: BatterySize = "small"
    keep_models: bool = False
    trust_versions: bool = False
    cache: Path = field(default_factory=default_cache_root)
    max_bytes: int | None = None
    grace: float = 5.0

    def worker_count(self) -> int:
        """How many workers run at once."""
        if self.jobs is not None:
            return self.jobs
        usable = (
            len(os.sched_getaffinity(0))
            if hasattr(os, "sched_getaffinity")
            else os.cpu_count() or 1
        )
        return max(1, usable // self.threads)
