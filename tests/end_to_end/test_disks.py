"""Full and read-only disks, and folders that vanish: told with a next step, and nothing recorded is lost."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from click.testing import Result

    from advtransfer.testing.command import Command

Records = Callable[[Path], dict[str, str]]
SUITE = """\
version: 1
datasets: {d: {use: vision/digits, classes: [0, 1, 2]}}
sources:
  natural: {use: vision/trained, data: d, network: small_cnn, width: 4, epochs: 1}
targets: {t: {data: d, n: [20], seeds: 2, test: 40}}
transfers: {probe: {use: finetune/linear_probe}}
evaluations:
  clean: {use: foolbox/clean_accuracy}
  pgd: {use: foolbox/pgd, norm: linf, eps: 0.1, steps: 2, step_size: 0.05}
leaderboard: {rank_by: clean.accuracy, columns: [clean.accuracy, pgd.robust_accuracy]}
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run folder of the suite, undisturbed."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "tiny.yaml").write_text(SUITE)
    subprocess.run(
        [sys.executable, "-m", "advtransfer", "run", "tiny.yaml", "--quiet", "--jobs", "1"],
        cwd=folder,
        env=os.environ | {"ADVTRANSFER_CACHE": str(folder / "cache")},
        check=True,
        capture_output=True,
    )
    return folder / "runs" / "tiny"


@pytest.fixture
def tiny(command: Command) -> Command:
    """A command in a fresh folder with the suite in it as ``tiny.yaml``."""
    (command.folder / "tiny.yaml").write_text(SUITE)
    return command


def refuse_first(monkeypatch: pytest.MonkeyPatch, name: str, code: int, *, after: int = 0) -> None:
    """Refuse the first write (but for `after`) of a file whose path holds `name`, as a disk does."""
    fsync = os.fsync
    skipped: list[str] = []
    refused: list[str] = []

    def refusing(file: int) -> None:
        path = str(Path(f"/proc/self/fd/{file}").readlink())
        if name in path and ".tmp" in path and Path(path).is_file() and not refused:
            if len(skipped) == after:
                refused.append(path)
                raise OSError(code, os.strerror(code))
            skipped.append(path)
        fsync(file)

    monkeypatch.setattr(os, "fsync", refusing)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc [fork]")
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
@pytest.mark.parametrize(
    ("name", "after", "exit_code", "told"),
    [
        ("/records/", 3, 1, "1 failed"),
        ("/records/", 0, 1, "2 failed"),  # that of the source
        ("/artifacts/", 0, 1, "2 failed"),
        ("/artifacts/", 2, 1, "1 failed"),  # two files are those of the source
        ("/data/", 0, 1, "2 failed"),
        ("/.plan.json", 0, 2, "expected room and permission in the run folder; make room there"),
        ("leaderboard.md", 0, 2, "expected room and permission in the run folder; make room there"),
    ],
)
def test_a_write_that_the_disk_refuses_is_told_with_its_path_and_made_up_for(
    tiny: Command,
    inline: Callable[..., Result],
    whole: Path,
    records_of: Records,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    after: int,
    exit_code: int,
    told: str,
    code: int,
) -> None:
    run = tiny.folder / "runs" / "tiny"
    with monkeypatch.context() as patch:
        refuse_first(patch, name, code, after=after)
        refused = inline("run", "tiny.yaml", exit_code=exit_code).output
        status = inline("status", "runs/tiny").output if exit_code == 1 else ""
    before = records_of(run)
    inline("run", "tiny.yaml")

    assert told in refused
    assert os.strerror(code) in refused
    assert name.strip("/.") in (status or refused).replace("\n", "")
    assert before.items() <= records_of(whole).items()
    assert records_of(whole) == records_of(run)


def in_own_mounts(command: Command, script: str) -> subprocess.CompletedProcess[str]:
    """Run a shell script in a mount namespace of its own, where ``run`` is advtransfer; skip where none can be made."""
    unshare = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    if (
        shutil.which("unshare") is None
        or subprocess.run([*unshare, "true"], check=False).returncode
    ):
        pytest.skip("this machine lets nobody make a mount namespace [mount]")
    text = f"run() {{ {sys.executable} -m advtransfer run tiny.yaml --jobs 2 --quiet; }}\n{script}"
    return subprocess.run(
        [*unshare, "bash", "-c", text],
        cwd=command.folder,
        env=dict(command.environment),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


FULL = """
mkdir -p WHERE && mount -t tmpfs -o size=20m tmpfs WHERE
{ until [ $(find runs -path '*records*' -name '[0-9a-f]*.json' | wc -l) -ge 3 ]; do sleep 0.02; done
  cat /dev/zero > WHERE/filler; } 2> /dev/null &
run; echo "first $?"
wait; rm WHERE/filler
cp -r runs after-first
run; echo "second $?"
cp -r runs after-second
"""


@pytest.mark.slow
@pytest.mark.parametrize("where", ["runs", "cache"])
def test_a_disk_that_fills_up_loses_nothing(
    tiny: Command, whole: Path, records_of: Records, where: str
) -> None:
    ended = in_own_mounts(tiny, FULL.replace("WHERE", where))
    first = records_of(tiny.folder / "after-first" / "tiny")

    assert "second 0" in ended.stdout, ended
    assert ("first 2" if where == "runs" else "first 1") in ended.stdout, ended
    assert "No space left on device" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert first.items() <= records_of(whole).items()
    assert records_of(whole) == records_of(tiny.folder / "after-second" / "tiny")


READ_ONLY = """
mkdir -p runs/tiny/records && mount --bind runs/tiny/records runs/tiny/records
{ until [ $(find runs/tiny/records -name '[0-9a-f]*.json' | wc -l) -ge 3 ]; do sleep 0.02; done
  until mount -o remount,bind,ro runs/tiny/records; do sleep 0.02; done; } 2> /dev/null &
run; echo "first $?"
mount -o remount,bind,rw runs/tiny/records
cp -r runs after-first
run; echo "second $?"
"""


@pytest.mark.slow
def test_records_that_become_read_only_lose_nothing(
    tiny: Command, whole: Path, records_of: Records
) -> None:
    ended = in_own_mounts(tiny, READ_ONLY)
    first = records_of(tiny.folder / "after-first" / "tiny")

    assert "second 0" in ended.stdout, ended
    assert "first 1" in ended.stdout, ended
    assert "Read-only file system" in ended.stderr
    assert 3 <= len(first) < len(records_of(whole))
    assert records_of(whole) == records_of(tiny.folder / "runs" / "tiny")


@pytest.mark.parametrize("moved", [True, False], ids=["moved", "deleted"])
def test_a_run_folder_that_vanishes_stops_the_run_and_is_named(
    tiny: Command, whole: Path, records_of: Records, moved: bool
) -> None:
    run = tiny.folder / "runs" / "tiny"
    process = tiny.start("run", "tiny.yaml", "--quiet", "--jobs", "1")
    while not list(run.glob("records/*/[0-9a-f]*.json")):
        assert process.poll() is None
        time.sleep(0.01)
    run.rename(tiny.folder / "elsewhere")
    output, _ = process.communicate(timeout=120)
    kept = records_of(tiny.folder / "elsewhere")
    shutil.rmtree(run, ignore_errors=True)
    if moved:
        (tiny.folder / "elsewhere").rename(run)
    tiny("run", "tiny.yaml", "--quiet", "--jobs", "1")

    assert process.returncode == 2, output
    assert "found the run folder runs/tiny deleted, moved or replaced while the run" in output
    assert "put it back and run again" in output
    assert kept.items() <= records_of(whole).items()
    assert records_of(whole) == records_of(run)


DATA = """\
import numpy as np
rng = np.random.default_rng(0)
y = np.arange(120) % 2
x = (rng.random((120, 8, 8, 1)) * 100 + 100 * y[:, None, None, None]).astype("uint8")
np.savez("data.npz", x_train=x, y_train=y, x_test=x, y_test=y)
"""


def test_a_data_set_that_vanishes_fails_what_needs_it_and_is_measured_when_it_is_back(
    tiny: Command, inline: Callable[..., Result]
) -> None:
    subprocess.run([sys.executable, "-c", DATA], cwd=tiny.folder, check=True)
    text = SUITE.replace(
        "{use: vision/digits, classes: [0, 1, 2]}", "{use: vision/npz, file: data.npz}"
    )
    (tiny.folder / "tiny.yaml").write_text(text)
    inline("run", "tiny.yaml", "--limit", "1")
    data, away = tiny.folder / "data.npz", tiny.folder / "away.npz"
    data.rename(away)
    gone = tiny("run", "tiny.yaml", exit_code=2).stderr
    data.write_bytes(away.read_bytes()[:1000])
    torn = tiny("run", "tiny.yaml", exit_code=1).stderr
    away.replace(data)
    inline("run", "tiny.yaml")
    status = json.loads(inline("status", "runs/tiny", "--json").output)

    assert "data.npz" in gone
    assert "data.npz" in torn
    assert "Traceback" not in gone + torn
    assert (2, 0, 0) == (status["done"], status["failed"], status["todo"])
