"""Locks end by the file system's clock alone, and tokens fence what a late owner would publish."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import threading
import time
from pathlib import Path

import pytest

from advtransfer.cache import Cache
from advtransfer.cache.lock import HeldLock, acquire, binding_locks, folder_guard, hold
from advtransfer.cache.lock_renewal import RENEWALS
from advtransfer.errors import Busy, CacheError, ClaimLost
from advtransfer.files import write_atomic

DAY = 24 * 3600.0


def lock_of_another_host(folder: Path, *, age: float = 0.0) -> Path:
    path = folder / "leases" / "ab"
    acquire(path)
    content = json.loads(path.read_text())
    content["owner"]["host"] = "elsewhere 1"
    path.write_text(json.dumps(content))
    with folder_guard(path.parent) as guard:
        renewed = guard.now() - age
    os.utime(path, (renewed, renewed))
    return path


def take(path: Path) -> HeldLock | None:
    try:
        return acquire(path)
    except Busy:
        return None


def test_lease_is_a_minute_with_a_heartbeat_of_ten_seconds(tmp_path: Path) -> None:
    held = acquire(tmp_path / "ab")

    assert (60.0, 10.0) == (held.seconds, held.seconds / RENEWALS)


def wait_for_renewal(path: Path, *, after: int) -> bool:
    """Return whether a lock is renewed within 5 s."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if path.stat().st_mtime_ns > after:
            return True
        time.sleep(0.01)
    return False


def test_one_thread_renews_locks_of_several_lengths(tmp_path: Path) -> None:
    before = threading.active_count()
    with (
        hold(tmp_path / "ab"),
        hold(tmp_path / "cd", seconds=0.6),
        hold(tmp_path / "ef", seconds=1.2),
    ):
        assert threading.active_count() <= before + 1
        for name in ("cd", "ef", "cd"):
            path = tmp_path / name
            assert wait_for_renewal(path, after=path.stat().st_mtime_ns)
    assert {".guard"} == {path.name for path in tmp_path.iterdir()}


def test_a_lock_that_was_taken_over_is_told_once_and_others_are_renewed_still(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        hold(tmp_path / "lost", seconds=0.3),
        hold(tmp_path / "held", seconds=0.3),
    ):
        (tmp_path / "lost").unlink()
        for _ in range(3):
            path = tmp_path / "held"
            assert wait_for_renewal(path, after=path.stat().st_mtime_ns)

    assert ["only time is lost"] == [text.rpartition("; ")[2] for text in caplog.messages]


@pytest.mark.filterwarnings("ignore:.*multi-threaded:DeprecationWarning")
def test_a_forked_process_renews_its_own_locks(tmp_path: Path) -> None:
    with hold(tmp_path / "parent"):
        child = os.fork()
        if child == 0:
            code = 1
            try:
                with hold(tmp_path / "child", seconds=0.6):
                    path = tmp_path / "child"
                    code = int(not wait_for_renewal(path, after=path.stat().st_mtime_ns))
            finally:
                os._exit(code)
        assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("jump", [DAY, -DAY])
def test_clock_of_a_host_that_jumps_ends_no_lock_and_keeps_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, jump: float
) -> None:
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + jump)

    assert take(lock_of_another_host(tmp_path / "fresh", age=50)) is None
    assert take(lock_of_another_host(tmp_path / "late", age=61)) is not None


def test_lock_from_before_a_file_system_clock_was_set_back_ends_after_one_lease(
    tmp_path: Path,
) -> None:
    path = lock_of_another_host(tmp_path, age=-DAY)

    assert take(path) is None
    (claim,) = binding_locks(path.parent).values()
    assert 59 < claim.seconds_left <= 60.1


def test_each_acquisition_has_a_larger_token(tmp_path: Path) -> None:
    tokens = []
    for number in range(5):
        held = acquire(tmp_path / f"{number % 2}", seconds=0)
        tokens.append(held.token)
        if number % 3 == 0:
            held.release()
    (tmp_path / ".guard").write_bytes(b"")  # as after a power failure
    after = acquire(tmp_path / "0", seconds=0).token

    assert tokens == sorted(set(tokens))
    assert after > tokens[4]


def test_late_owner_publishes_nothing_after_a_takeover(tmp_path: Path) -> None:
    late = acquire(tmp_path / "claim", seconds=0)
    write_atomic(tmp_path / "out" / "first", b"1", guard=late.guard())
    acquire(tmp_path / "claim")

    with pytest.raises(ClaimLost, match=f"taken over by process {os.getpid()} on "):
        write_atomic(tmp_path / "out" / "second", b"2", guard=late.guard())
    assert ["first"] == [path.name for path in (tmp_path / "out").iterdir()]


def test_owner_whose_folder_was_deleted_publishes_nothing(tmp_path: Path) -> None:
    late = acquire(tmp_path / "claims" / "ab")
    for path in (tmp_path / "claims").iterdir():
        path.unlink()
    again = acquire(tmp_path / "claims" / "ab")
    again.release()

    assert late.token == again.token  # tokens have begun again
    with pytest.raises(ClaimLost, match="without its lock"):
        write_atomic(tmp_path / "out", b"2", guard=late.guard())


def test_disk_is_synchronised_outside_the_guard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = acquire(tmp_path / "claim")
    synchronised: list[bool] = []
    fsync = os.fsync

    def watched(descriptor: int) -> None:
        with (tmp_path / ".guard").open() as guard:
            fcntl.flock(guard, fcntl.LOCK_EX | fcntl.LOCK_NB)  # raises where it is held
        synchronised.append(True)
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watched)
    write_atomic(tmp_path / "out", b"1", guard=held.guard())

    assert [True, True] == synchronised  # the file and its folder


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.ENOSYS])
def test_disk_without_locks_is_named_with_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", refuse)
    cache = Cache(tmp_path, line="cpu-1-float32")
    with (
        pytest.raises(CacheError, match=r"without file locks .*--runs"),
        cache.hold_lock("ab" * 32),
    ):
        pass


def test_a_lock_whose_folder_is_gone_is_lost_and_does_not_make_it_again(tmp_path: Path) -> None:
    held = acquire(tmp_path / "run" / "claims" / "ab")
    shutil.rmtree(tmp_path / "run")

    with pytest.raises(ClaimLost, match="without its folder"):
        held.renew()
    held.release()
    assert [] == list(tmp_path.iterdir())
