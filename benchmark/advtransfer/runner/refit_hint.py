"""What a run says when it fits again what has a record, since weights were not kept for new results."""

from __future__ import annotations

from collections.abc import Iterable

from advtransfer.cache import Cache
from advtransfer.runner.environment import settings_key
from advtransfer.runner.job_queue import PendingJob
from advtransfer.runner.schedule import JobTemplate
from advtransfer.text import pluralize


def refit_text(jobs: Iterable[PendingJob], done: set[str], template: JobTemplate) -> str:
    """Return a hint where only results are missing and the weights behind them are gone; else ``""``.

    Args:
        jobs: The jobs of the run.
        done: Ids with a record.
        template: The settings and the cache of the run.
    """
    settings = template.settings
    if settings.keep_models:
        return ""
    cache = Cache(template.cache, line=settings_key(settings), below=template.cache_below)
    fits = [job for job in jobs if job.kind == "fit" and job.id in done]
    again = [job for job in fits if not cache.has_artifact(job.id)]
    if not again:
        return ""
    return (
        f"{pluralize(len(again), 'fit')} with a record will be fitted again, since new results need the "
        "weights, which were not kept; with `--keep models` a changed attack does not fit again"
    )
