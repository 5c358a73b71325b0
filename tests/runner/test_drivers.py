"""Several drivers of one run folder: who is refused, who is waited for and how long, and what shards share."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from advtransfer.cache import lock
from advtransfer.cache.lock import hold
from advtransfer.errors import BadInput
from advtransfer.planning import Plan, Trial
from advtransfer.result import Run
from advtransfer.result.claims import hold_job_claim
from advtransfer.runner.drivers import drivers_folder, register_driver, require_driver_lock
from advtransfer.runner.shard import Shard
from advtransfer.types import Json

SETTINGS: Mapping[str, Json] = {"device": "cpu", "threads": 1}


def put_on_another_host(path: Path) -> None:
    content = json.loads(path.read_text())
    content["owner"]["host"] = "node7 pid:[1]"
    path.write_text(json.dumps(content))


@contextmanager
def driver(run: Run, shard: Shard | None = None, **changed: int) -> Iterator[list[str]]:
    waits: list[str] = []
    settings = {**SETTINGS, **changed}
    with register_driver(
        run, settings, shard=shard, mixed=False, prepare=lambda: None, wait=waits.append
    ):
        yield waits


def test_second_driver_is_refused_with_who_holds_the_folder(tmp_path: Path) -> None:
    run = Run(tmp_path / "x")
    with driver(run):
        for other in (None, Shard(1, 2)):
            with pytest.raises(BadInput) as refused, driver(run, other):
                pass
            pattern = rf"held by process {os.getpid()} on '.+' since \d{{4}}-\d\d-\d\d \d\d:\d\d"
            assert re.search(pattern, str(refused.value))
            assert f"advtransfer run x --runs {tmp_path} --watch" in str(refused.value)
    with driver(run):
        pass


def test_shards_work_beside_each_other_with_the_same_settings_alone(tmp_path: Path) -> None:
    run = Run(tmp_path)
    with driver(run, Shard(1, 2)), driver(run, Shard(2, 2)):
        with pytest.raises(BadInput, match=r"as shard 2/2 since"), driver(run, Shard(2, 2)):
            pass
        with pytest.raises(BadInput, match=r"as shard 1/2 since"), driver(run):
            pass
        with (
            pytest.raises(BadInput, match="found threads 2; expected threads 1, as another driver"),
            driver(run, Shard(3, 4), threads=2),
        ):
            pass


def test_dead_driver_of_this_host_is_not_waited_for(tmp_path: Path) -> None:
    run = Run(tmp_path)
    path = drivers_folder(run) / "whole"
    lock.acquire(path)
    content = json.loads(path.read_text())
    content["owner"]["pid"] = 2**22 + 1
    path.write_text(json.dumps(content))
    began = time.monotonic()
    with driver(run) as waits:
        assert waits == []
    assert time.monotonic() - began < 1


def test_silent_driver_of_another_host_is_waited_for_once_and_named(tmp_path: Path) -> None:
    run = Run(tmp_path)
    path = drivers_folder(run) / "whole"
    lock.acquire(path)
    put_on_another_host(path)
    late = time.time() - 58
    os.utime(path, (late, late))
    began = time.monotonic()
    with driver(run) as waits:
        (text,) = waits
        assert re.search(r"process \d+ on 'node7' holds 1 run folder; .* at most 2 s", text)
    assert 1 < time.monotonic() - began < 5


def test_driver_of_another_host_that_renews_its_lock_is_refused_soon(tmp_path: Path) -> None:
    run = Run(tmp_path)
    path = drivers_folder(run) / "whole"
    with hold(path, seconds=3):
        put_on_another_host(path)

        def renew(_: str) -> None:
            os.utime(path)

        late = time.time() - 2
        os.utime(path, (late, late))
        with (
            pytest.raises(BadInput, match="held by process"),
            register_driver(
                run, SETTINGS, shard=None, mixed=False, prepare=lambda: None, wait=renew
            ),
        ):
            pass


def plan_of(count: int) -> Plan:
    trials = [
        Trial(
            id=f"{number:064x}",
            source=f"s{number % 3}",
            row=None,
            replicate=None,
            adapter=None,
            target="t",
            n=20,
            seed=number,
            transfer="probe",
            evaluations={},
            builds=(f"{number % 3:064d}",),
        )
        for number in range(count)
    ]
    return Plan("x", "x", {}, {}, tuple(trials))


def test_shares_are_disjoint_cover_the_plan_and_keep_the_trials_of_a_source_together() -> None:
    plan = plan_of(30)
    shares = [
        Shard(index, 3, own_share=True).order_trials(plan.trials, plan) for index in (1, 2, 3)
    ]

    assert [10, 10, 10] == list(map(len, shares))
    assert {trial.id for trial in plan.trials} == {trial.id for share in shares for trial in share}
    assert [1, 1, 1] == [len({trial.source for trial in share}) for share in shares]


def test_shard_begins_with_its_share_and_goes_on_with_the_next() -> None:
    plan = plan_of(30)
    first, second, third = (
        Shard(index, 3, own_share=True).order_trials(plan.trials, plan) for index in (1, 2, 3)
    )

    assert [*second, *third, *first] == Shard(2, 3).order_trials(plan.trials, plan)


@pytest.mark.parametrize("text", ["0/2", "3/2", "1", "a/b", "1/0", "-1/2"])
def test_wrong_shard_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match=r"expected i/n, with i from 1 to n"):
        Shard.from_text(text, own_share=False)


def test_own_share_needs_a_shard() -> None:
    with pytest.raises(BadInput, match="--own-share without --shard"):
        Shard.from_text(None, own_share=True)


def test_claim_of_a_silent_host_is_named_when_a_run_begins(tmp_path: Path) -> None:
    from advtransfer.cache import Cache
    from advtransfer.runner.lock_waits import foreign_work_text

    cache = Cache(tmp_path / "cache", line="cpu-1-float32")
    with hold_job_claim(tmp_path / "x", "ab" * 32) as job, cache.hold_lock("cd" * 32) as node:
        assert foreign_work_text(Run(tmp_path / "x"), cache, []) == ""
        put_on_another_host(job.path)
        put_on_another_host(node.path)
        text = foreign_work_text(Run(tmp_path / "x"), cache, [])

    assert re.search(r"'node7' holds 1 job and 1 artifact; nobody here can ask .* (59|60) s", text)


def test_a_driver_whose_folder_was_taken_over_is_told_to_stop(tmp_path: Path) -> None:
    run = Run(tmp_path / "x")
    with register_driver(
        run, SETTINGS, shard=None, mixed=False, prepare=lambda: None, wait=lambda text: None
    ) as held:
        require_driver_lock(held, run)
        content = json.loads(held.path.read_text())
        content["token"] += 1
        held.path.write_text(json.dumps(content))
        with pytest.raises(BadInput, match=r"no longer held by this process.*taken over by"):
            require_driver_lock(held, run)
