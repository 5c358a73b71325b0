"""Runs on a real Ray cluster of two raylets, of which the second sees none of the driver's folders.

The second raylet is in a mount namespace of its own, in which the run folder, the cache and ADVTRANSFER_DATA are empty.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("ray", reason="[ray] ray is not installed")

SUITE = """
datasets:
  low: {use: vision/digits, classes: [0, 1, 2, 3, 4]}
  own: {use: vision/npz, file: own.npz}
  photos: {use: vision/image_folder, root: photos, pixels: 8}
sources:
  natural: {use: vision/trained, data: low, network: small_cnn, epochs: 2}
  other: {use: vision/trained, data: own, network: small_cnn, epochs: 2}
targets:
  digits: {data: own, n: [20, 40], test: 60}
  photos: {data: photos, n: 10, test: 10}
transfers:
  probe: {use: finetune/linear_probe}
  block1: {use: finetune/blocks, blocks: 1, epochs: 3}
adapters:
  gray: {use: adapters/channel_mean, only: {target: photos}}
evaluations:
  clean: {use: foolbox/clean_accuracy}
  fgsm: {use: foolbox/fgsm, norm: linf, eps: 0.1}
  maps: {use: interpret/saliency, images: 2, only: {target: digits, n: 20, source: natural}}
"""

HIDE = """
for folder in "$@"; do mount -t tmpfs none "$folder" || exit 99; done
exec "$RAY" start --address="$HEAD" --num-cpus=1 --block
"""
"""What the shell of the second raylet does in its mount namespace."""

PATIENCE_SECONDS = 60
RAY = Path(sys.executable).with_name("ray")


def can_unshare() -> bool:
    """Whether this user may have a mount namespace."""
    tool = shutil.which("unshare")
    trial = [str(tool), "-m", "mount", "-t", "tmpfs", "none", "/mnt"]
    return (
        tool is not None and subprocess.run(trial, capture_output=True, check=False).returncode == 0
    )


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass
class Cluster:
    """A head with room for one job, and a raylet that sees none of `hidden`."""

    folder: Path
    hidden: list[Path]
    environment: dict[str, str]
    port: int = field(default_factory=free_port)
    processes: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self, *, head_cpus: int = 1, **second: str) -> None:
        """Start both; `second` are environment variables of the second."""
        flags = f"--port={self.port} --num-cpus={head_cpus} --temp-dir={self.folder} --block"
        local = [
            "--node-ip-address=127.0.0.1",
            "--include-dashboard=false",
            "--disable-usage-stats",
        ]
        self._begin("head", [str(RAY), "start", "--head", *local, *flags.split()])
        self.start_second(second)
        self.wait_for_nodes(2)

    def start_second(self, variables: dict[str, str]) -> None:
        folders = [str(path) for path in self.hidden]
        command = ["unshare", "-m", "bash", "-c", HIDE, "bash", *folders]
        self._begin("second", command, **variables)

    def _begin(self, name: str, command: list[str], **variables: str) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                command,
                env=self.environment | {"RAY": str(RAY), "HEAD": self.address} | variables,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def wait_for_nodes(self, count: int) -> None:
        code = (
            f"import ray; ray.init('{self.address}', logging_level='ERROR'); "
            "print(sum(node['Alive'] for node in ray.nodes()))"
        )
        deadline = time.monotonic() + PATIENCE_SECONDS
        shown = ""
        while time.monotonic() < deadline:
            result = subprocess.run(
                [sys.executable, "-c", code],
                env=self.environment,
                capture_output=True,
                text=True,
                check=False,
            )
            shown = result.stdout + result.stderr
            if result.stdout.strip() == str(count):
                return
            time.sleep(0.5)
        raise AssertionError(f"no {count} nodes: {shown}")

    def kill_second(self) -> None:
        """Kill the second raylet as a power failure would, with its own children."""
        for pid in own_processes(self.processes["second"].pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.processes.pop("second").wait()

    def stop(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=20)
        for pid in self.left_processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def left_processes(self) -> list[int]:
        """The processes of this cluster, which all name its folder or port, or were started by one."""
        return [pid for pid, text in commands() if str(self.folder) in text or self.address in text]


def commands() -> Iterator[tuple[int, str]]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with suppress(OSError):
            yield (
                int(path.parent.name),
                path.read_bytes().replace(b"\0", b" ").decode(errors="replace"),
            )


def own_processes(root: int) -> list[int]:
    """A process and everything below it."""
    parents: dict[int, int] = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            parents[int(path.parent.name)] = int(path.read_text().rpartition(")")[2].split()[1])
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return found


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    """The driver's folders, with the user's data."""
    made = {name: tmp_path / name for name in ("runs", "cache", "data")}
    for path in made.values():
        path.mkdir()
    generator = np.random.default_rng(0)
    arrays: dict[str, np.ndarray[Any, Any]] = {}  # Any: as numpy
    for part, count in (("train", 200), ("test", 80)):
        labels = np.arange(count) % 5
        images = generator.integers(0, 60, (count, 8, 8), dtype=np.uint8)
        images[np.arange(count), labels, :] = 250
        arrays |= {f"x_{part}": images, f"y_{part}": labels}
        for label in range(2):
            folder = made["data"] / "photos" / part / f"class {label}"
            folder.mkdir(parents=True)
            for number in range(12):
                pixels = images[label + 5 * number]
                Image.fromarray(pixels).convert("RGB").save(folder / f"{number}.png")
    np.savez(made["data"] / "own.npz", allow_pickle=False, **arrays)
    (tmp_path / "small.yaml").write_text(SUITE)
    return made


@pytest.fixture
def environment(folders: dict[str, Path]) -> dict[str, str]:
    return os.environ | {
        "ADVTRANSFER_CACHE": str(folders["cache"]),
        "ADVTRANSFER_DATA": str(folders["data"]),
        "RAY_AUTH_MODE": "disabled",
        "RAY_USAGE_STATS_ENABLED": "0",
    }


@pytest.fixture
def cluster(folders: dict[str, Path], environment: dict[str, str]) -> Iterator[Cluster]:
    if not can_unshare():
        pytest.skip("[unshare] this user may have no mount namespace")
    # A short name: Ray's sockets lie below it, and may have 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="ray-"))
    made = Cluster(folder, list(folders.values()), environment)
    try:
        yield made
    finally:
        made.stop()
        left = made.left_processes()
        shutil.rmtree(folder, ignore_errors=True)
    assert left == []


@pytest.fixture
def begin(tmp_path: Path, environment: dict[str, str]) -> Callable[..., subprocess.Popen[str]]:
    def begin(
        *arguments: str, suite: str = "small.yaml", **variables: str
    ) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "advtransfer", "run", suite, *arguments]
        return subprocess.Popen(
            command,
            cwd=tmp_path,
            env=environment | variables,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    return begin


def finish(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=3600)
    assert process.returncode == 0, output
    return output


def on_ray(cluster: Cluster) -> list[str]:
    return ["--executor", "ray/cluster", "--engine", f"address={cluster.address}"]


def records_of(run: Path) -> dict[str, dict[str, object]]:
    """The records without what may differ, by id."""
    records = {}
    for path in run.glob("records/*/*.json"):
        record = json.loads(path.read_text())
        del record["observed"]
        records[path.stem] = record
    return records


def files_beside(run: Path) -> dict[str, bytes]:
    """Arrays and figures by name."""
    paths = [*run.glob("samples/*/*"), *run.glob("files/*/*")]
    return {str(path.relative_to(run)): path.read_bytes() for path in paths}


def wait_for_records(run: Path, count: int) -> None:
    deadline = time.monotonic() + 2 * PATIENCE_SECONDS
    while len(list(run.glob("records/*/*.json"))) < count:
        assert time.monotonic() < deadline, "no records appear"
        time.sleep(0.1)


@pytest.mark.slow
def test_nodes_without_the_drivers_folders_make_equal_records(
    cluster: Cluster, begin: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    alone = finish(begin("--runs", "alone", "--jobs", "1", ADVTRANSFER_CACHE=str(tmp_path / "c")))
    cluster.start(head_cpus=0)  # The second node does all jobs.
    output = finish(begin("--runs", "runs", *on_ray(cluster)))

    expected, found = tmp_path / "alone" / "small", tmp_path / "runs" / "small"
    assert "0 failed" in alone
    assert "0 failed" in output
    assert records_of(found) == records_of(expected)
    assert files_beside(found) == files_beside(expected)
    assert files_beside(found) != {}
    assert not list(found.rglob("*.tmp"))


@pytest.mark.nightly
def test_the_quickstart_is_equal_on_two_nodes(
    cluster: Cluster, begin: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    cluster.start()
    output = finish(begin("--runs", "runs", *on_ray(cluster), suite="quickstart"))
    cache = str(tmp_path / "c")
    finish(begin("--runs", "alone", "--jobs", "1", suite="quickstart", ADVTRANSFER_CACHE=cache))

    expected, found = tmp_path / "alone" / "quickstart", tmp_path / "runs" / "quickstart"
    assert "0 failed" in output
    assert records_of(found) == records_of(expected)
    assert files_beside(found) == files_beside(expected)


@pytest.mark.slow
def test_a_killed_node_costs_no_record(
    cluster: Cluster, begin: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    expected = begin("--runs", "alone", "--jobs", "1", ADVTRANSFER_CACHE=str(tmp_path / "c"))
    finish(expected)
    cluster.start()
    run = begin("--runs", "runs", *on_ray(cluster))
    wait_for_records(tmp_path / "runs" / "small", 3)
    cluster.kill_second()

    assert "0 failed" in finish(run)
    assert records_of(tmp_path / "runs" / "small") == records_of(tmp_path / "alone" / "small")


@pytest.mark.slow
def test_a_killed_driver_continues_where_it_ended(
    cluster: Cluster, begin: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    finish(begin("--runs", "alone", "--jobs", "1", ADVTRANSFER_CACHE=str(tmp_path / "c")))
    cluster.start()
    first = begin("--runs", "runs", *on_ray(cluster))
    wait_for_records(tmp_path / "runs" / "small", 3)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()

    assert "0 failed" in finish(begin("--runs", "runs", *on_ray(cluster)))
    assert records_of(tmp_path / "runs" / "small") == records_of(tmp_path / "alone" / "small")


@pytest.mark.slow
def test_a_node_that_differs_gets_no_job_unless_mixed(
    cluster: Cluster, begin: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    # Other instructions, as on a node with an older processor.
    cluster.start(ATEN_CPU_CAPABILITY="default")
    output = finish(begin("--runs", "runs", "--battery", "none", *on_ray(cluster)))

    assert "differs from the first worker (processor.instructions " in output
    assert "allow a mixture with --mixed" in output
    assert len(environments_of(tmp_path / "runs" / "small")) == 1
    mixed = ["--runs", "mixed", "--battery", "none", "--mixed"]
    finish(begin(*mixed, *on_ray(cluster), ADVTRANSFER_CACHE=str(tmp_path / "c")))
    assert len(environments_of(tmp_path / "mixed" / "small")) == 2


def environments_of(run: Path) -> set[str]:
    """The environments that the records of a run name."""
    records = [json.loads(path.read_text()) for path in run.glob("records/*/*.json")]
    return {record["provenance"]["environment"] for record in records}
