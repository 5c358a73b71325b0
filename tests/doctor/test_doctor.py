"""Each planted fault is named, with what to do; a sound installation has no problem."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import sys
import time
from collections import namedtuple
from pathlib import Path

import pytest
from click.testing import CliRunner

from advtransfer.cli import main
from advtransfer.doctor import Finding, cache_health, examine_installation, machine
from advtransfer.host import Host
from advtransfer.host.plugin import Plugin
from advtransfer.worker.environment import INSTRUCTION_LIMIT_VARIABLES

Usage = namedtuple("Usage", ["total", "used", "free"])


@pytest.fixture(autouse=True)
def sound_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without a fault, on which each test plants one."""
    data = tmp_path / "data"
    (data / "MNIST").mkdir(parents=True)
    torch = tmp_path / "site" / "torch"
    torch.mkdir(parents=True)
    (torch / "version.py").write_text("cuda: Optional[str] = None\n")
    monkeypatch.setenv("ADVTRANSFER_DATA", str(data))
    monkeypatch.setenv("ADVTRANSFER_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(machine, "NVIDIA_DRIVER", tmp_path / "driver")
    monkeypatch.setattr(machine, "CPU_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr(machine, "usable_cores", lambda: 4)
    monkeypatch.setattr(machine, "_torch_folder", lambda: torch)
    for name in (*machine.THREAD_VARIABLES, *INSTRUCTION_LIMIT_VARIABLES):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(10**12, 0, 10**12))
    monkeypatch.syspath_prepend(tmp_path / "site")


def problems(host: Host | None = None) -> list[Finding]:
    findings = examine_installation(host or host_of())
    return [finding for finding in findings if finding.status == "problem"]


def host_of(*plugins: Plugin) -> Host:
    return Host([Plugin("vision", "advtransfer_vision", "advtransfer", "0.2.0"), *plugins])


def install(tmp_path: Path, name: str, version: str, *requirements: str) -> None:
    """Write the metadata of a distribution, as pip does."""
    folder = tmp_path / "site" / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir()
    lines = [f"Name: {name}", f"Version: {version}"]
    lines += [f"Requires-Dist: {requirement}" for requirement in requirements]
    (folder / "METADATA").write_text("Metadata-Version: 2.1\n" + "\n".join(lines) + "\n")


def test_a_sound_installation_has_no_problem() -> None:
    assert problems() == []


def test_a_plugin_of_two_distributions_is_named() -> None:
    twice = host_of(Plugin("vision", "other", "my-vision", "3.1"))

    (problem,) = [
        each for each in problems(twice) if each.area == "plugins" and "vision" in each.found
    ]

    assert "advtransfer 0.2.0, my-vision 3.1" in problem.found
    assert "uninstall all but one" in problem.found


def test_a_plugin_that_fails_to_import_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "site" / "broken_plugin.py").write_text("\nraise RuntimeError('no licence')\n")

    (problem,) = problems(host_of(Plugin("broken", "broken_plugin", "broken", "1")))

    assert "RuntimeError: no licence" in problem.found
    assert "broken_plugin.py:2" in problem.found


def test_a_plugin_without_its_library_is_named_with_the_command(tmp_path: Path) -> None:
    (tmp_path / "site" / "needy_plugin.py").write_text("import not_there\n")
    install(tmp_path, "needy", "1.0", "not-there>=2; extra == 'more'")

    (problem,) = problems(host_of(Plugin("needy", "needy_plugin", "needy", "1.0")))

    assert "not_there" in problem.found
    assert "needy[more]" in problem.found


def test_a_version_out_of_bounds_is_named_with_its_owner(tmp_path: Path) -> None:
    install(tmp_path, "old-zoo", "0.3", "numpy>=99", "no-such-library")

    found = problems(host_of(Plugin("vision2", "advtransfer_finetune", "old-zoo", "0.3")))

    assert ["old-zoo requires >=99" in found[0].found, found[0].next_step] == [
        True,
        "python -m pip install 'numpy>=99', or remove old-zoo, where advtransfer needs another version",
    ]
    assert "no-such-library, which is not installed" in found[1].found


def test_a_torchvision_for_another_torch_is_named(tmp_path: Path) -> None:
    install(tmp_path, "torchvision", "0.20.0", "torch==2.5.0")

    (problem,) = problems()

    assert "torchvision requires ==2.5.0" in problem.found


def test_a_driver_beside_a_torch_for_the_cpu_is_named(tmp_path: Path) -> None:
    (tmp_path / "driver").touch()

    (problem,) = problems()

    assert problem.area == "devices"
    assert "built for the CPU alone" in problem.found


def test_a_torch_for_cuda_without_a_driver_is_a_note(tmp_path: Path) -> None:
    (tmp_path / "site" / "torch" / "version.py").write_text("cuda: Optional[str] = '12.6'\n")

    (finding,) = machine.examine_devices()

    assert (finding.status, "CUDA 12.6" in finding.found) == ("note", True)


@pytest.mark.parametrize("value", ["many", "0", "64"])
def test_a_wrong_number_of_threads_is_named(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", value)

    (problem,) = problems()

    assert "OMP_NUM_THREADS" in problem.found
    assert problem.next_step.startswith("unset OMP_NUM_THREADS")


def test_threads_by_level_are_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "4,2")

    assert problems() == []


def test_a_quota_below_the_visible_cores_is_named(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("200000 100000\n")

    (problem,) = problems()

    assert "4 cores are visible" in problem.found
    assert problem.next_step == "run with --jobs 2"


def test_no_quota_is_no_fault(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").write_text("max 100000\n")

    assert problems() == []


def test_a_data_folder_that_is_not_there_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADVTRANSFER_DATA", str(tmp_path / "nowhere"))

    (problem,) = problems()

    assert problem.area == "data"
    assert "nowhere" in problem.found


def test_a_cache_that_cannot_be_written_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ADVTRANSFER_CACHE", str(tmp_path / "file" / "cache"))

    (problem,) = problems()

    assert problem.area == "cache"
    assert "ADVTRANSFER_CACHE" in problem.next_step


def test_damaged_and_corrupt_artifacts_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "artifacts" / "cpu-1-float32" / "ab" / "abcdef012345"
    folder.mkdir(parents=True)
    (folder / "meta.json").write_text("{")
    (tmp_path / "cache" / "corrupt" / "cpu-1-float32" / "fedcba543210.1").mkdir(parents=True)

    found = [problem.found for problem in problems()]

    assert found == [
        "1 artifact without a readable description",
        "1 corrupt artifact set aside; check the disk",
    ]


def test_leftovers_of_a_killed_run_are_a_note(tmp_path: Path) -> None:
    leftover = tmp_path / "cache" / "artifacts" / ".x.tmp"
    leftover.parent.mkdir(parents=True)
    leftover.touch()
    os.utime(leftover, (0, 0))

    findings = cache_health.examine_cache()

    assert [finding.status for finding in findings] == ["ok", "note", "ok", "ok"][: len(findings)]
    assert leftover.exists()


def test_a_clock_that_differs_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 60)

    (problem,) = problems()

    # The file is written a moment later than `now`.
    assert re.search(r"differs by [3-6]\d s", problem.found)


def test_a_file_system_without_locks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", refuse)

    (problem,) = problems()

    assert "cannot be locked (Function not implemented)" in problem.found


def test_a_full_disk_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: Usage(10**12, 10**12, 5 * 10**8))

    found = problems()

    assert found
    assert all("500.0 MB free" in problem.found for problem in found)


def test_the_command_prints_findings_and_fails_on_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADVTRANSFER_DATA", str(tmp_path / "nowhere"))

    told = CliRunner().invoke(main, ["doctor"])
    as_json = CliRunner().invoke(main, ["doctor", "--json"])

    assert (told.exit_code, as_json.exit_code) == (1, 1)
    assert "-> make the folder, or name another" in told.stdout
    (problem,) = [row for row in json.loads(as_json.stdout) if row["status"] == "problem"]
    assert problem["area"] == "data"


def test_the_command_does_not_import_torch() -> None:
    import subprocess

    code = (
        "import sys; from click.testing import CliRunner; from advtransfer.cli import main; "
        "CliRunner().invoke(main, ['doctor']); print('torch' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert told.stdout.strip() == "False"
