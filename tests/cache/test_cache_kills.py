"""SIGKILL at any moment leaves no torn artifact, and what a dead process held is taken over by exactly one."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from advtransfer import files
from advtransfer.cache import Cache
from advtransfer.cache.lock import HeldLock, acquire
from advtransfer.errors import Busy, CacheError
from advtransfer.process_id import ProcessId, process_start

ID = "ab" * 32
LINE = "cpu-1-float32"

HEAD = f"""
import sys, time
from pathlib import Path
from advtransfer.cache import Cache
from advtransfer.errors import Busy
cache = Cache(Path(sys.argv[1]), line={LINE!r})
def ready(): print("ready", flush=True)
"""
BUILDERS = """
import os, signal, torch
tensors = {"x": torch.arange(60_000.0)}
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
def build(first):
    for number in range(first, first + 10_000):
        with cache.hold_lock("ab" * 32):
            cache.save_checkpoint("ab" * 32, tensors)
            cache.put(f"{number:064x}", tensors, {"number": number})
ready()
for line in sys.stdin:
    child = os.fork()  # torch is imported once for all builders
    if child == 0:
        build(int(line))
    print(child, flush=True)
"""
HOLDER = """
with cache.hold_lock("ab" * 32):
    ready()
    time.sleep(60)
"""
RACER = """
ready()
for start in map(float, sys.stdin):
    time.sleep(max(0.0, start - time.time()))
    try:
        with cache.hold_lock("ab" * 32):
            time.sleep(0.1)
        print("won", flush=True)
    except Busy:
        print("busy", flush=True)
"""


@contextmanager
def process(program: str, root: Path) -> Iterator[subprocess.Popen[str]]:
    """A child that is ready; killed with SIGKILL when the context ends."""
    command = [sys.executable, "-c", HEAD + program, str(root)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment) as child:
        try:
            assert "ready\n" == line_of(child)
            yield child
        finally:
            child.kill()


def line_of(child: subprocess.Popen[str]) -> str:
    assert child.stdout is not None
    return child.stdout.readline()


def tell(child: subprocess.Popen[str], line: str) -> None:
    assert child.stdin is not None
    child.stdin.write(f"{line}\n")
    child.stdin.flush()


def gone(pid: int) -> None:
    """Wait until a killed process has ended."""
    deadline = time.time() + 10
    while process_start(pid) is not None and time.time() < deadline:
        time.sleep(0.002)


def stale_lock(root: Path) -> Path:
    """A lock whose owner, of this host, is dead."""
    path = root / "leases" / LINE / ID
    lock = acquire(path, seconds=300)
    said = json.loads(path.read_text())
    said["owner"] |= {"pid": 2**22 + 1}  # above the largest pid of Linux
    path.write_text(json.dumps(said))
    assert lock.path == path
    return path


def test_killed_builder_leaves_whole_artifacts_only(tmp_path: Path) -> None:
    cache = Cache(tmp_path, line=LINE)
    moments = random.Random(0)
    kinds: Counter[str] = Counter()
    with process(BUILDERS, tmp_path) as builders:
        # On a busy machine a builder writes less before it is killed: then more of them are.
        for kill in range(200):
            if kill >= 20 and kinds["whole"] > 20:
                break
            tell(builders, str(kill * 10_000))
            builder = int(line_of(builders))
            time.sleep(moments.uniform(0.0, 0.05))
            os.kill(builder, signal.SIGKILL)
            gone(builder)

            with cache.hold_lock(ID):
                kinds.update("torn" if checked.reason else "whole" for checked in cache.verify())
            assert [] == list(tmp_path.rglob("*.tmp"))

    assert 0 == kinds["torn"]
    assert 20 < kinds["whole"]


def test_lock_binds_while_its_owner_lives_and_is_taken_over_when_it_is_killed(
    tmp_path: Path,
) -> None:
    cache = Cache(tmp_path, line=LINE)
    with process(HOLDER, tmp_path) as holder:
        with pytest.raises(Busy, match=f"held by process {holder.pid}"), cache.hold_lock(ID):
            pass

        holder.kill()  # not waited for: a zombie holds nothing
        gone(holder.pid)
        with cache.hold_lock(ID):
            assert (tmp_path / "leases" / LINE / ID).exists()

    assert not (tmp_path / "leases" / LINE / ID).exists()


def test_one_of_two_processes_that_race_for_a_lock_gets_it(tmp_path: Path) -> None:
    rounds = []
    with process(RACER, tmp_path) as one, process(RACER, tmp_path) as other:
        for number in range(8):
            if number % 2:
                stale_lock(tmp_path)
            start = time.time() + 0.03
            for racer in (one, other):
                tell(racer, str(start))
            rounds.append(sorted(line_of(racer) for racer in (one, other)))

    assert [["busy\n", "won\n"]] * 8 == rounds


def test_one_of_many_threads_takes_over_a_stale_lock(tmp_path: Path) -> None:
    def take(path: Path) -> HeldLock | None:
        try:
            return acquire(path, seconds=300)
        except Busy:
            return None

    with ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            path = stale_lock(tmp_path)
            winners = [lock for lock in pool.map(take, [path] * 8) if lock]

            assert 1 == len(winners)
            winners[0].release()


def test_lock_of_another_host_binds_until_it_expires(tmp_path: Path) -> None:
    path = stale_lock(tmp_path)
    said = json.loads(path.read_text())
    said["owner"] |= {"host": "elsewhere"}
    path.write_text(json.dumps(said))
    cache = Cache(tmp_path, line=LINE)
    with pytest.raises(Busy, match="'elsewhere'"), cache.hold_lock(ID):
        pass

    late = time.time() - 301
    os.utime(path, (late, late))
    with cache.hold_lock(ID):
        assert "elsewhere" not in path.read_text()


def test_torn_lock_file_does_not_bind(tmp_path: Path) -> None:
    path = stale_lock(tmp_path)
    path.write_text('{"token": "ab')

    with Cache(tmp_path, line=LINE).hold_lock(ID):
        assert "owner" in json.loads(path.read_text())


def test_short_lock_is_renewed_while_it_is_held(tmp_path: Path) -> None:
    cache = Cache(tmp_path, line=LINE)

    with cache.hold_lock(ID, seconds=0.3):
        time.sleep(0.5)
        with pytest.raises(Busy), cache.hold_lock(ID):
            pass


def test_owner_of_a_lost_lock_does_not_release_the_new_one(tmp_path: Path) -> None:
    path = tmp_path / "leases" / LINE / ID
    slow = acquire(path, seconds=0.0)
    quick = acquire(path, seconds=300.0)

    with pytest.raises(CacheError, match="taken over"):
        slow.renew()
    slow.release()
    assert path.exists()
    quick.release()
    assert not path.exists()


def test_lock_lost_while_it_is_held_is_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "leases" / LINE / ID

    with Cache(tmp_path, line=LINE).hold_lock(ID, seconds=0.15):
        path.write_text(path.read_text().replace('"token": ', '"token": 1'))
        time.sleep(0.1)

    assert "taken over" in caplog.text
    assert path.exists()


def test_lock_is_released_when_the_build_fails(tmp_path: Path) -> None:
    cache = Cache(tmp_path, line=LINE)
    with pytest.raises(ZeroDivisionError), cache.hold_lock(ID):
        _ = 1 / 0

    with cache.hold_lock(ID):
        pass


def test_temporary_files_are_removed_only_when_their_writer_has_ended(tmp_path: Path) -> None:
    cache = Cache(tmp_path, line=LINE)
    artifact = cache.put(ID, {"x": torch.zeros(1)}, {})
    mine = files.temporary_path(artifact.path)
    mine.mkdir()
    host, (pid, tag) = mine.name.split(".")[2].split("-")[0], mine.name.split(".")[2].split("-")[1:]
    dead = mine.with_name(mine.name.replace(f"-{pid}-", f"-{2**22 + 1}-"))
    reused = mine.with_name(mine.name.replace(tag, "0" * 12))
    elsewhere = mine.with_name(mine.name.replace(host, "0" * 12))
    ancient = mine.with_name(mine.name.replace(host, "1" * 12))
    for path in (dead, reused, elsewhere, ancient):
        path.mkdir()
        (path / "data.safetensors").write_bytes(b"torn")
    os.utime(ancient, (0, 0))
    stale_lock(tmp_path)

    cache.prune(10**9)

    assert [False, False, True, False, True] == [
        path.exists() for path in (dead, reused, elsewhere, ancient, mine)
    ]
    assert not (tmp_path / "leases" / LINE / ID).exists()
    assert cache.get(ID) is not None


def test_process_id_is_more_than_a_pid() -> None:
    me = ProcessId.current_process()

    assert me.is_alive() is True
    assert replace(me, start="another boot 1").is_alive() is False
    assert replace(me, host="elsewhere").is_alive() is None
