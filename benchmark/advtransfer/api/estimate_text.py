"""Text of an estimate: what ``advtransfer plan --estimate`` prints below the plan."""

from __future__ import annotations

from advtransfer.console.formatting import format_duration
from advtransfer.runner.estimate import Estimate
from advtransfer.text import format_bytes, pluralize


def estimate_lines(estimate: Estimate) -> list[str]:
    """Return an estimate in lines, each with its subject first."""
    workers = pluralize(estimate.workers, "worker")
    threads = pluralize(estimate.threads, "thread")
    where = f"{workers} of {threads} on {estimate.device}, {estimate.executor}"
    phases = ", ".join(
        f"{phase} {format_duration(seconds)}" for phase, seconds in estimate.seconds.items()
    )
    hours = (
        f"{estimate.gpu_hours:.3g} GPU hours"
        if estimate.gpu_hours
        else f"{estimate.core_hours:.3g} core hours"
    )
    lines = [
        f"estimate: {pluralize(estimate.trials, 'trial')} to do, {pluralize(estimate.jobs, 'job')}; {where}",
        f"  time    {format_duration(estimate.wall_seconds)}; {hours}"
        + (f": {phases}" if phases else ""),
        f"  memory  {_memory_text(estimate)}",
        f"  disk    {format_bytes(estimate.run_bytes)} in {estimate.run}, "
        f"{format_bytes(estimate.cache_bytes)} in the cache",
        f"  cache   has {estimate.cached_sources} of {pluralize(estimate.sources, 'source')}; "
        f"{pluralize(estimate.copied_records, 'record')} of other runs will be copied",
    ]
    if estimate.probed:
        lines.append(
            f"  tried   {pluralize(len(estimate.probed), 'trial')} in {estimate.run}, "
            "which count as done there"
        )
    if estimate.unknown:
        lines.append(f"  unknown {', '.join(estimate.unknown)}: no record tells its cost")
    return lines


def _memory_text(estimate: Estimate) -> str:
    if estimate.peak_bytes is None or estimate.worker_bytes is None:
        return "unknown"
    return f"{format_bytes(estimate.peak_bytes)} at most, {format_bytes(estimate.worker_bytes)} a worker"
