"""``resources`` of a suite and its entries: what each job asks its executor for, and that no id depends on it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from advtransfer.host import Host
from advtransfer.jobs import Job
from advtransfer.planning import make_plan
from advtransfer.planning.nodes import SuiteIndex
from advtransfer.result import Run
from advtransfer.runner import RunSettings
from advtransfer.runner.schedule import JobTemplate, pending_jobs
from advtransfer.suite import load

SUITE = """
datasets: {digits: {use: vision/digits}}
sources:
  plain: {use: vision/trained, data: digits, network: small_cnn}
  large: {use: vision/trained, data: digits, network: small_cnn, epochs: 9, resources: {gpus: 2}}
targets:
  task:
    {data: digits, n: 20, reference: {use: vision/trained, data: digits, network: small_cnn, resources: {cpus: 7}}}
transfers:
  probe: {use: finetune/linear_probe, resources: {cpus: 2}}
  tuned: {use: finetune/blocks, blocks: 1}
evaluations:
  clean: {use: foolbox/clean_accuracy}
  attack: {use: foolbox/pgd, norm: linf, eps: 0.1, steps: 3, step_size: 0.1, resources: {cpus: 3, gpus: 1/2}}
  aligned: {use: alignment/alignment, attack: {norm: linf, eps: 0.1, steps: 1}, resources: {cpus: 1/2}}
"""


def jobs_of(
    text: str, host: Host, folder: Path, *, device: str = "cuda", threads: int = 1
) -> dict[str, Job]:
    """Return the first job of each kind and name."""
    path = folder / "small.yaml"
    path.write_text(text)
    suite = load(str(path), host)
    plan = make_plan(suite, host)
    settings = RunSettings(runs=folder, device=device, threads=threads)
    template = JobTemplate("0" * 64, {}, settings, folder / "cache")
    pending = pending_jobs(plan.trials, SuiteIndex(suite), set(), plan.sources)
    run = Run(folder / "small")
    named: dict[str, Job] = {}
    for job in pending:
        named.setdefault(f"{job.kind} {job.name}", template.job_for(job, run))
    return named


def needs(jobs: dict[str, Job]) -> dict[str, tuple[float, float]]:
    return {name: (job.cpus, job.gpus) for name, job in jobs.items()}


@pytest.fixture(scope="module")
def installed() -> Host:
    return Host.discover()


def test_a_job_needs_the_most_that_its_entries_ask_for(installed: Host, tmp_path: Path) -> None:
    jobs = jobs_of(SUITE, installed, tmp_path, threads=4)

    assert needs(jobs) == {
        "source plain": (4, 1),
        "source large": (4, 2),
        "source task.reference": (7, 1),
        "fit plain -> task n=20 seed=0 probe": (3, 0.5),
        "fit plain -> task n=20 seed=0 tuned": (3, 0.5),
        "fit large -> task n=20 seed=0 probe": (3, 0.5),
        "fit large -> task n=20 seed=0 tuned": (3, 0.5),
        "result plain -> task n=20 seed=0 probe": (0.5, 1),
        "result large -> task n=20 seed=0 probe": (0.5, 1),
    }


def test_without_a_gpu_no_job_asks_for_one(installed: Host, tmp_path: Path) -> None:
    jobs = jobs_of(SUITE, installed, tmp_path, device="cpu")

    assert {job.gpus for job in jobs.values()} == {0.0}


def test_the_suites_resources_are_those_of_entries_without_any(
    installed: Host, tmp_path: Path
) -> None:
    jobs = jobs_of(f"resources: {{cpus: 5, gpus: 0.25}}\n{SUITE}", installed, tmp_path)

    found = needs(jobs)
    assert found["source plain"] == (5, 0.25)
    assert found["fit plain -> task n=20 seed=0 tuned"] == (3, 0.5)
    assert found["result plain -> task n=20 seed=0 probe"] == (0.5, 0.25)


def test_resources_are_in_no_id(installed: Host, tmp_path: Path) -> None:
    text = re.sub(r", resources: {.*?}", "", SUITE)

    with_resources = jobs_of(SUITE, installed, tmp_path)
    without = jobs_of(text, installed, tmp_path)

    assert "resources" not in text
    assert {name: job.id for name, job in with_resources.items()} == {
        name: job.id for name, job in without.items()
    }
