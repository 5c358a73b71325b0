"""``timeout`` of entries: outside of ids, with the steps of the jobs that they are part of."""

from __future__ import annotations

from pathlib import Path

from advtransfer.host import Host
from advtransfer.planning import make_plan
from advtransfer.planning.nodes import JobRequest, SuiteIndex
from advtransfer.result import Run
from advtransfer.runner import RunSettings
from advtransfer.runner.job_queue import PendingJob
from advtransfer.runner.schedule import JobTemplate
from advtransfer.suite import Suite, load

SUITE = """\
version: 1
datasets: {{d: {{use: vision/digits}}}}
sources:
  s: {{use: vision/trained, data: d{0}}}
targets:
  t: {{data: d, n: 20, reference: {{use: vision/trained, data: d, seeds: 2{3}}}}}
transfers:
  probe:
    use: finetune/full
    choose: {{by: validation.accuracy, among: {{epochs: [1, 2]}}, folds: 2}}
    {1}
evaluations:
  pgd: {{use: foolbox/pgd, norm: linf, eps: 0.1, step_size: 0.1, sweep: {{steps: [1, 2]}}{2}}}
"""


def suite(folder: Path, *written: str) -> Suite:
    path = folder / "limited.yaml"
    path.write_text(SUITE.format(*written))
    return load(str(path), Host.discover())


def limited(folder: Path) -> Suite:
    return suite(folder, ", timeout: 1h", "timeout: 30m", ", timeout: 90s", ", timeout: 2h")


def test_a_timeout_changes_no_id(tmp_path: Path) -> None:
    host = Host.discover()
    plain = make_plan(suite(tmp_path, "", "", "", ""), host)

    assert plain.to_json() == make_plan(limited(tmp_path), host).to_json()


def test_each_step_of_a_job_has_the_limit_of_its_entry_or_else_of_the_run(tmp_path: Path) -> None:
    written = limited(tmp_path)
    index = SuiteIndex(written)
    (trial,) = make_plan(written, Host.discover()).trials
    fit = PendingJob(JobRequest(index.trial_fit(trial), tuple(index.trial_results(trial))), "fit")
    template = JobTemplate("", {}, RunSettings(timeout=7.0), tmp_path)
    job = template.job_for(fit, Run(tmp_path))
    sources = {node.timeout for node in index.source_nodes.values()}

    assert {job.id: 1800.0} | {node.id: 90.0 for node in fit.request.results} == job.step_seconds
    assert 2 == len(fit.request.results)
    assert (1800.0, 7.0) == (job.seconds_of(job.id), job.seconds_of("another"))
    assert {3600.0, 7200.0} == sources
