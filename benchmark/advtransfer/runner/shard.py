"""Shards: several drivers that share a run, by its folder or by folders of their own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from advtransfer.errors import BadInput, Problem
from advtransfer.jobs import Job, Report
from advtransfer.planning import Plan, Trial
from advtransfer.result import Run
from advtransfer.result.claims import binding_job_claim
from advtransfer.runner.job_queue import PendingJob
from advtransfer.worker.done_elsewhere import report_from_elsewhere

SURELY_AT_WORK_SECONDS = 25.0
"""Age of a claim below which its owner is taken to be at work: two heartbeats, and some delay."""


@dataclass(frozen=True, slots=True)
class Shard:
    """One of several drivers of a run.

    A share of the trials is a function of their ids alone, so that drivers on machines that see
    nothing of each other agree on it.

    Args:
        index: Which of the shares it begins with, from 1 on.
        count: The number of shares.
        own_share: Whether it ends after its own share; otherwise it takes what is left of the others'.
    """

    index: int
    count: int
    own_share: bool = False

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @classmethod
    def from_text(cls, text: str | None, *, own_share: bool) -> Shard | None:
        """Return the shard of a text such as ``2/4``; None for None.

        Raises:
            BadInput: The text is not a shard, or there is none whose own share could be meant.
        """
        if text is None:
            if own_share:
                found = "--own-share without --shard"
                raise BadInput(
                    [Problem(found, "both", "write for example --shard 2/4 --own-share")]
                )
            return None
        match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
        if match is None or not 1 <= int(match[1]) <= int(match[2]):
            expected = "i/n, with i from 1 to n"
            raise BadInput([Problem(f"--shard {text!r}", expected, "write for example 2/4")])
        return cls(int(match[1]), int(match[2]), own_share)

    def order_trials(self, trials: Iterable[Trial], plan: Plan) -> list[Trial]:
        """Return trials of a plan, those of the own share first, then those of the next shares.

        With `own_share`, the others are left out.
        """
        distances = self.distances(plan)
        chosen = [trial for trial in trials if not self.own_share or not distances[trial.id]]
        return sorted(chosen, key=lambda trial: distances[trial.id])

    def order_jobs(self, jobs: Iterable[PendingJob], plan: Plan) -> list[PendingJob]:
        """Return jobs with those of the own share first, then those of the next shares; else as they are."""
        by_trial = self.distances(plan)
        by_source: dict[str, int] = {}
        for trial in plan.trials:
            for id in trial.builds:
                by_source[id] = min(by_source.get(id, self.count), by_trial[trial.id])

        def distance(job: PendingJob) -> int:
            if job.kind == "source":
                return by_source.get(job.id, 0)
            return min(by_trial[trial.id] for trial in job.trials)

        return sorted(jobs, key=distance)

    def distances(self, plan: Plan) -> Mapping[str, int]:
        """Return for each trial how many shares come between the own one and its share, by id."""
        # Contiguous shares of equal size: a source is built for one share, or for two neighbours.
        ordered = sorted(plan.trials, key=lambda trial: (trial.builds, trial.id))
        return {
            trial.id: (position * self.count // len(ordered) - self.index + 1) % self.count
            for position, trial in enumerate(ordered)
        }


def report_without_worker(job: Job, run: Run) -> Report | None:
    """Return the report of a job that another driver has ended or is at; None where it can begin."""
    report = report_from_elsewhere(job, run)
    if report is None and is_at_work_elsewhere(run, job.id):
        return Report(job.id, "busy", (), "another driver is at this job")
    return report


def is_at_work_elsewhere(run: Run, id: str) -> bool:
    """Return whether another process holds the claim of a job, and has renewed it lately.

    One that has not may have died with its machine: its claim is waited for, and then taken over.
    """
    claim = binding_job_claim(run.path, id)
    return claim is not None and claim.age < SURELY_AT_WORK_SECONDS
