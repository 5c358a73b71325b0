"""The time limit of a step: it ends its process in any code, and the next attempt tells where."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from advtransfer.errors import TimeLimitExceeded
from advtransfer.jobs import Job
from advtransfer.node import Node
from advtransfer.worker.time_limit import forget_overdue_steps, time_limit

STEP = Node("evaluation", "toy/slow")
LIMITED = """
import ctypes, sys, time
from pathlib import Path
from advtransfer.jobs import Job
from advtransfer.node import Node
from advtransfer.worker.time_limit import time_limit

step = Node("evaluation", "toy/slow")
run = Path({run!r})
sys.path.insert(0, str(run))

def hang():
    {hang}

with time_limit(Job(step.id, {{}}, run, run, "", {{}}, "cpu", 1, seconds=0.5), step):
    hang()
"""


TRIES_IMPORTS = """end = time.monotonic() + 30
    while time.monotonic() < end:
        try: import nothing_of_this_name
        except ImportError: time.sleep(0.1)"""


def limited(run: Path, hang: str) -> subprocess.CompletedProcess[str]:
    code = LIMITED.format(run=str(run), hang=hang)
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )


def job(run: Path, seconds: float | None = 60.0) -> Job:
    return Job(STEP.id, {}, run, run, "", {}, "cpu", 1, seconds=seconds)


@pytest.mark.parametrize(
    "hang",
    ["time.sleep(30)", "ctypes.PyDLL(None).sleep(30)", "while True: pass", TRIES_IMPORTS],
    ids=["sleeps", "in C code with the GIL", "spins", "tries an import again and again"],
)
def test_a_step_above_its_limit_ends_its_process_and_is_told_with_the_place(
    tmp_path: Path, hang: str
) -> None:
    ended = limited(tmp_path, hang)
    with (
        pytest.raises(TimeLimitExceeded, match=r"^stopped in hang \(<string>:1[356]\)") as raised,
        time_limit(job(tmp_path), STEP),
    ):
        raise AssertionError("it is not tried again")

    assert (1, "") == (ended.returncode, ended.stderr)
    assert "in hang\n" in "\n".join(raised.value.__notes__)


def test_the_place_is_the_code_that_imports_not_the_machinery_of_imports(tmp_path: Path) -> None:
    trace = tmp_path / f".overdue-{STEP.id}.txt"
    trace.write_text(
        "Timeout (0:00:00.500000)!\nThread 0x00007fe90a1d6b80 (most recent call first):\n"
        '  File "<frozen importlib._bootstrap_external>", line 147 in _path_stat\n'
        '  File "<frozen importlib._bootstrap>", line 1138 in _find_and_load_unlocked\n'
        '  File "plugin/slow.py", line 15 in hang\n'
    )
    with (
        pytest.raises(
            TimeLimitExceeded, match=r"^stopped in hang \(plugin/slow.py:15\) at its time"
        ),
        time_limit(job(tmp_path), STEP),
    ):
        raise AssertionError("it is not tried again")


def test_the_next_run_tries_it_again(tmp_path: Path) -> None:
    limited(tmp_path, "time.sleep(30)")
    forget_overdue_steps(tmp_path)
    with time_limit(job(tmp_path), STEP):
        reached = True

    assert reached
    assert [] == list(tmp_path.iterdir())


def test_imports_do_not_count(tmp_path: Path) -> None:
    # As a library does, it takes longer than the limit, but goes on.
    for number in range(8):
        (tmp_path / f"part{number}.py").write_text("import time; time.sleep(0.2)")
    imports = "; ".join(f"import part{number}" for number in range(8))
    ended = limited(tmp_path, f"{imports}; print('ended')")

    assert ("ended\n", "") == (ended.stdout, ended.stderr)


def test_a_step_without_a_limit_leaves_nothing(tmp_path: Path) -> None:
    with time_limit(job(tmp_path, None), STEP):
        assert [] == list(tmp_path.iterdir())
