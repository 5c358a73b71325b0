"""The executor of a run: its options, their types and their mistakes, and who sets the number of jobs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Literal, cast

import pytest
from annotated_types import Ge

from advtransfer.errors import BadInput, UnknownName
from advtransfer.executors.process_pool import ProcessPool
from advtransfer.hookspecs import hookimpl
from advtransfer.host import Host
from advtransfer.jobs import Executor
from advtransfer.runner import RunSettings
from advtransfer.runner.engine import build_executor, split_engine_options
from advtransfer.types import Factory, Json


class RecordingPool(ProcessPool):
    """A pool that keeps the options that it was built with."""

    options: dict[str, object]


def cluster(
    *,
    address: str = "auto",
    retries: Annotated[int, Ge(0)] = 3,
    share: float | None = None,
    mode: Literal["fast", "safe"] = "safe",
    memory: str | int = 0,
    jobs: int | None = None,
    threads: int = 1,
) -> Executor:
    """Keep its options."""
    pool = RecordingPool(jobs=jobs or 7, threads=threads)
    pool.options = {
        "address": address,
        "retries": retries,
        "share": share,
        "mode": mode,
        "memory": memory,
    }
    return pool


@hookimpl
def register_executors() -> Iterable[Factory[Executor]]:
    return [cluster]


def build(host: Host, engine: dict[str, Json], *, jobs: int | None = None) -> RecordingPool:
    settings = RunSettings(executor="odd/cluster", engine=engine, jobs=jobs, threads=2)
    return cast(RecordingPool, build_executor(settings, host))


def test_texts_of_the_command_become_what_the_factory_takes(host: Host) -> None:
    texts = ["address=10.0.0.1:6379,retries=0", "share=1/4, memory=12", "mode=fast"]
    executor = build(host, split_engine_options(texts))

    assert executor.options == {
        "address": "10.0.0.1:6379",
        "retries": 0,
        "share": 0.25,
        "mode": "fast",
        "memory": "12",
    }


def test_values_from_python_keep_their_types(host: Host) -> None:
    executor = build(host, {"retries": 1, "share": None, "memory": 5})

    assert executor.options["retries"] == 1
    assert executor.options["share"] is None
    assert executor.options["memory"] == 5


def test_number_of_jobs_is_the_executors_own_unless_stated(host: Host) -> None:
    assert build(host, {}).slots == 7
    assert build(host, {}, jobs=3).slots == 3
    assert build(host, {}).threads == 2


def test_all_mistakes_are_told_at_once_with_the_nearest_names(host: Host) -> None:
    wrong: dict[str, Json] = {"adress": "auto", "retries": "-1", "mode": "slow", "jobs": "4"}

    with pytest.raises(BadInput) as caught:
        build(host, wrong)

    assert str(caught.value).splitlines() == [
        "found --engine jobs=4; expected options of odd/cluster alone; use --jobs",
        "found --engine retries=-1; expected greater than or equal to 0; "
        "`advtransfer show odd/cluster` explains the options",
        "found --engine mode=\"slow\"; expected 'fast' or 'safe'; "
        "`advtransfer show odd/cluster` explains the options",
        "found the unknown option 'adress' in --engine; expected one of address, retries, share, "
        "mode, memory; did you mean 'address'?",
    ]


def test_a_comma_belongs_to_a_value_unless_a_name_follows() -> None:
    assert split_engine_options(["nodelist=a1,a2,time=1:00:00", "time=2:00:00"]) == {
        "nodelist": "a1,a2",
        "time": "2:00:00",
    }


def test_a_text_without_a_name_is_refused() -> None:
    with pytest.raises(BadInput, match="found --engine 'auto'; expected name=value"):
        split_engine_options(["auto", "=4"])


def test_unknown_executor_is_told_with_the_nearest(host: Host) -> None:
    with pytest.raises(UnknownName, match="did you mean 'odd/cluster'"):
        build_executor(RunSettings(executor="odd/clustre"), host)
