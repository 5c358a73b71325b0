"""The GPUs of a run: which are named, what is refused, and how much memory they have."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from advtransfer.errors import BadInput
from advtransfer.executors.process_pool import ProcessPool
from advtransfer.host import Host
from advtransfer.runner import RunSettings
from advtransfer.runner.devices import choose_devices, require_free_memory
from advtransfer.runner.engine import build_executor
from advtransfer.testing.pretend_cuda import pretend_cuda
from advtransfer.worker.environment import require_gpu

GIB = 2**30


@pytest.fixture(scope="module")
def host() -> Host:
    return Host.discover()


@pytest.mark.parametrize(
    ("device", "jobs", "expected"),
    [
        ("cpu", None, ("cpu",)),
        ("cuda", None, ("cuda:0", "cuda:1", "cuda:2")),
        ("cuda", 2, ("cuda:0", "cuda:1")),
        ("cuda", 1, ("cuda",)),
        ("cuda", 7, ("cuda:0", "cuda:1", "cuda:2")),
        ("cuda:1", 4, ("cuda:1",)),
        ("cuda:2, cuda:0", None, ("cuda:2", "cuda:0")),
    ],
)
def test_devices_are_those_that_are_named_or_all_gpus(
    host: Host, device: str, jobs: int | None, expected: tuple[str, ...]
) -> None:
    with pretend_cuda(3):
        assert expected == choose_devices(RunSettings(device=device, jobs=jobs), host)


@pytest.mark.parametrize(
    ("device", "jobs", "slots"), [("cuda", None, 3), ("cuda:1", None, 1), ("cuda:0,cuda:1", 5, 5)]
)
def test_one_worker_takes_each_gpu_unless_more_are_asked_for(
    host: Host, device: str, jobs: int | None, slots: int
) -> None:
    settings = RunSettings(device=device, jobs=jobs)
    with pretend_cuda(3):
        pool = build_executor(settings, host, devices=choose_devices(settings, host))

    assert isinstance(pool, ProcessPool)
    assert slots == pool.slots
    assert {"cuda:1"} <= set(pool.devices)


def test_an_executor_that_places_no_jobs_gets_the_one_device_that_is_named(host: Host) -> None:
    inline = RunSettings(device="cuda", executor="local/inline")
    with pretend_cuda(3):
        assert ("cuda",) == choose_devices(inline, host)


@pytest.mark.parametrize(
    ("device", "executor", "jobs", "words"),
    [
        ("cuda:0,cpu", "local/pool", None, ["expected GPUs by their numbers, as cuda:0,cuda:1"]),
        ("cuda,cuda:1", "local/pool", None, ["expected GPUs by their numbers"]),
        ("cuda:0,cuda:0", "local/pool", None, ["expected each GPU once; raise --jobs"]),
        ("cuda:0,cuda:1", "local/inline", None, ["since local/inline places no jobs on several"]),
        ("cuda:0,cuda:1", "local/pool", 1, ["found --jobs 1 with --device", "at least 2 jobs"]),
        ("cpu,cuda:1", "local/inline", None, ["by their numbers", "places no jobs on several"]),
    ],
)
def test_devices_that_cannot_be_shared_out_are_refused(
    host: Host, device: str, executor: str, jobs: int | None, words: list[str]
) -> None:
    with pytest.raises(BadInput) as raised:
        choose_devices(RunSettings(device=device, executor=executor, jobs=jobs), host)

    for word in words:
        assert word in str(raised.value)


def test_gpus_of_two_kinds_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    with pretend_cuda(2):
        assert require_gpu("cuda") == require_gpu("cuda:0,cuda:1")
        monkeypatch.setattr(
            torch.cuda, "get_device_name", lambda device: ("A100", "H100")[device.index]
        )
        with pytest.raises(
            BadInput, match="found model H100 of cuda:1; expected A100, as cuda:0 has; run on GPUs"
        ):
            require_gpu("cuda:0,cuda:1")


@pytest.fixture
def nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program of this name, which tells of one process on the second device."""
    program = tmp_path / "nvidia-smi"
    program.write_text(
        "#!/bin/sh\n"
        "echo 'GPU-first, 11, /usr/bin/other, 10 MiB'\n"
        "echo 'GPU-second, 4711, python, 15872 MiB'\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")


def set_memory(monkeypatch: pytest.MonkeyPatch, *free: float) -> None:
    properties = torch.cuda.get_device_properties

    def with_uuid(device: torch.device) -> object:
        found = properties(device)
        found.uuid = ("first", "second")[device.index]
        return found

    monkeypatch.setattr(torch.cuda, "get_device_properties", with_uuid)
    monkeypatch.setattr(
        torch.cuda, "mem_get_info", lambda device: (int(free[device.index] * GIB), 16 * GIB)
    )


@pytest.mark.usefixtures("nvidia_smi")
def test_a_gpu_that_another_process_fills_is_refused_by_name_before_a_worker_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pretend_cuda(2), monkeypatch.context() as patch:
        set_memory(patch, 15, 0.5)
        with pytest.raises(BadInput) as raised:
            require_free_memory(("cuda:0", "cuda:1"), workers=2)

    (problem,) = raised.value.problems
    assert (
        "536.9 MB of 17.2 GB free on cuda:1; process 4711 (python) holds 15872 MiB" == problem.found
    )
    assert "1.1 GB to start 1 worker" == problem.expected
    assert "name another GPU" in problem.next_step


def test_several_workers_of_a_gpu_need_memory_each(monkeypatch: pytest.MonkeyPatch) -> None:
    with pretend_cuda(2), monkeypatch.context() as patch:
        set_memory(patch, 15, 1.5)
        (crowded,) = require_free_memory(("cuda:0", "cuda:1"), workers=3)
        with pytest.raises(BadInput, match=r"on cuda:1; expected 2\.1 GB to start 2 workers"):
            require_free_memory(("cuda:0", "cuda:1"), workers=4)

    assert crowded.endswith("free on cuda:1: jobs may run out of memory")
    assert [] == require_free_memory(("cpu",), workers=4)
