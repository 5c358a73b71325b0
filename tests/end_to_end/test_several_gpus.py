"""Two pretend GPUs, a worker process on each: the records are those of one GPU."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from advtransfer.cli import main
from advtransfer.executors import process_pool
from advtransfer.testing.pretend_cuda import pretend_cuda

SUITE = """\
version: 1
datasets:
  low: {use: vision/digits, classes: [0, 1, 2]}
  high: {use: vision/digits, classes: [5, 6, 7]}
sources:
  natural: {use: vision/trained, data: low, epochs: 1, seeds: 2}
targets:
  digits: {data: high, n: [20], seeds: 2, test: 20}
transfers:
  probe: {use: finetune/linear_probe}
evaluations:
  clean: {use: foolbox/clean_accuracy}
  pgd: {use: foolbox/pgd, norm: linf, eps: 0.1, steps: 2, step_size: 0.05}
"""
PRETENDING = '''\
"""A worker with two pretend GPUs, which notes the device of each job."""
import os

def serve(wire, driver):
    from advtransfer.executors import process_pool
    from advtransfer.testing.pretend_cuda import pretend_cuda
    from advtransfer.worker import perform_job

    def noted(job, tell):
        with open(os.environ["DEVICES"], "a") as file:
            file.write(f"{os.getpid()} {job.device}\\n")
        return perform_job(job, tell)

    process_pool.perform_job = noted
    with pretend_cuda(2):
        process_pool.serve_jobs(wire, driver)
'''


@pytest.mark.slow
def test_records_of_two_gpus_are_those_of_one(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    records_of: Callable[[Path], dict[str, str]],
) -> None:
    (tmp_path / "gpus.yaml").write_text(SUITE)
    (tmp_path / "pretending.py").write_text(PRETENDING)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(process_pool, "serve_jobs", importlib.import_module("pretending").serve)
    monkeypatch.chdir(tmp_path)
    devices = {}
    for name, words in {"one": "cuda:1", "two": "cuda:0,cuda:1", "shared": "cuda"}.items():
        monkeypatch.setenv("ADVTRANSFER_CACHE", str(tmp_path / name))
        monkeypatch.setenv("DEVICES", str(tmp_path / f"{name}.txt"))
        jobs = ["--jobs", "3"] if name == "shared" else []
        command = ["run", "gpus.yaml", "--runs", name, "--device", words, *jobs, "--json"]
        with pretend_cuda(2):
            ended = CliRunner().invoke(main, command)
        assert ended.exit_code == 0, ended.output
        assert 4 == json.loads(ended.stdout)["done"]
        lines = (tmp_path / f"{name}.txt").read_text().splitlines()
        devices[name] = {tuple(line.split()) for line in lines}
    runs = {name: records_of(tmp_path / name / "gpus") for name in devices}
    provenance = [json.loads(text).get("provenance", {}) for text in runs["two"].values()]

    assert {"cuda:1"} == {device for _, device in devices["one"]}
    assert ["cuda:0", "cuda:1"] == sorted(device for _, device in devices["two"])
    assert {"cuda:0", "cuda:1"} == {device for _, device in devices["shared"]}
    assert {"cuda"} == {one["device"] for one in provenance}
    assert runs["one"] == runs["two"] == runs["shared"]
