"""A score in several processes is that of one; a process that is killed is an error, and none is left behind."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from advtransfer.errors import BadInput, PluginError
from advtransfer.testing.canaries import CANARIES
from advtransfer.testing.canaries.models import FEW_IMAGES, ModelName, honest_model, scored_models
from advtransfer.testing.canaries.processes import ModelWorkers, Scoring, score_evaluation
from advtransfer.testing.canaries.score import Examination, ExaminationStatus, ScoredModel
from advtransfer.testing.command import Command
from advtransfer.worker.verification import ThreatModel
from advtransfer.worker.verification.config import BATTERY_SIZES

PLUGIN = '''\
"""PGD, which ends its process at a linear model."""
import os, signal

from advtransfer.hookspecs import hookimpl
from advtransfer.types import Evaluation, component
from advtransfer_foolbox.components.gradient import pgd


class Deadly:
    def __init__(self, how):
        self.how = how

    def measure(self, given, *, context):
        if self.how and type(given.model).__name__ == "LinearClassifier":
            exec(self.how)
        return pgd(norm="linf", eps=0.1, steps=20, step_size=0.0125).measure(given, context=context)


@component(needs=["model"])
def attack(*, how: str = "") -> Evaluation:
    """Ends as it is told."""
    return Deadly(how)


@hookimpl
def register_evaluations():
    return [attack]
'''
SCORING = Scoring(
    "deadly/attack",
    {"how": ""},
    ThreatModel("linf", 0.1),
    BATTERY_SIZES["small"],
    seed=0,
    is_strong=False,
)
# It needs no training.
PLANE = ModelName("exact", images=FEW_IMAGES)


@pytest.fixture(autouse=True)
def deadly(install_plugin: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """The plugin above, installed on this process's path, which workers take over."""
    site = install_plugin("deadly", PLUGIN)
    monkeypatch.syspath_prepend(str(site))
    return site


@pytest.mark.slow
def test_two_processes_give_the_bits_of_one_in_the_order_asked_for() -> None:
    noise, rounding = (
        ModelName("canary", "natural", name, CANARIES[name].strengths[0], FEW_IMAGES)
        for name in ("random noise", "quantised input")
    )
    names = [honest_model("natural", images=FEW_IMAGES), noise, rounding]
    with ModelWorkers(SCORING, jobs=1) as one, ModelWorkers(SCORING, jobs=2) as two:
        # Noise draws from the global generator: what came before must not matter.
        first = list(two.examine(names))
        again = list(one.examine(names[::-1]))[::-1]

    assert [name.text for name in names] == [row.name for row in first]
    assert first == again
    assert [False, True, True] == [row.seen.is_doubted for row in first]
    assert 20 <= first[0].seen.passes < 50


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("os.kill(os.getpid(), signal.SIGKILL)", r"SIGKILL: out of memory, or killed"),
        pytest.param("os._exit(0)", "exit code 0", marks=pytest.mark.slow),
    ],
    ids=["killed", "exit 0"],
)
def test_a_process_that_ends_is_an_error_and_catches_no_canary(how: str, words: str) -> None:
    scoring = replace(SCORING, options={"how": how})
    reason = f"plugin 'deadly': .*examined two classes, a plane ended .{words}"
    with ModelWorkers(scoring, jobs=1) as workers, pytest.raises(PluginError, match=reason):
        list(workers.examine([PLANE]))


def test_a_score_that_is_given_up_leaves_no_process() -> None:
    with ModelWorkers(SCORING, jobs=2) as workers:
        started = [worker.process for worker in workers.idle]
        rows = workers.examine([PLANE] * 4)
        next(rows)

    assert [-signal.SIGKILL] * 2 == [process.returncode for process in started]


def test_costly_evaluation_is_scored_on_the_weakest_of_each_canary() -> None:
    names, costly = (scored_models("linf", is_costly=is_costly) for is_costly in (False, True))

    assert {"honest": 2, "exact": 1, "canary": 82} == Counter(name.kind for name in names)
    assert {"honest": 2, "exact": 1, "canary": 15} == Counter(name.kind for name in costly)
    assert {FEW_IMAGES} == {name.images for name in costly}
    assert {name: canary.strengths[-1] for name, canary in CANARIES.items()} == {
        name.canary: name.strength for name in costly if name.canary
    }


class MadeUp:
    """Workers that answer with a made-up result at once."""

    def __init__(self, scoring: Scoring, *, jobs: int) -> None:
        self.passes = float(scoring.seed)
        self.judged: ExaminationStatus = "refused" if scoring.is_strong else "checked"
        self.asked: list[ModelName] = []

    def __enter__(self) -> MadeUp:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def examine(self, names: Sequence[ModelName]) -> Iterator[ScoredModel]:
        for name in names:
            seen = Examination(self.judged, "made up", passes=self.passes)
            yield ScoredModel(name.kind, name.text, name.strength, seen)


@pytest.mark.parametrize(("passes", "rows", "notes"), [(200, 85, 0), (201, 18, 1)])
def test_what_is_left_out_of_a_costly_evaluation_is_said(
    passes: int, rows: int, notes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("advtransfer.testing.canaries.processes.ModelWorkers", MadeUp)
    told: list[str] = []
    scored = list(score_evaluation(replace(SCORING, seed=passes), jobs=2, report=told.append))

    assert (rows, notes) == (len(scored), len(told))
    assert ["honest", "honest", "exact", "canary"] == [row.kind for row in scored[:4]]
    if told:
        assert told[0].startswith("left out: 67 of 82 canaries (all on the robust network, and ")
        assert "all images after the first 64, since the evaluation takes 201 passes" in told[0]


def test_an_evaluation_that_refuses_honest_models_has_no_score(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("advtransfer.testing.canaries.processes.ModelWorkers", MadeUp)
    with pytest.raises(BadInput, match="every model refused, the honest ones too"):
        list(score_evaluation(replace(SCORING, is_strong=True), jobs=2, report=print))


@pytest.mark.slow
def test_ctrl_c_ends_a_score_and_its_processes(tmp_path: Path, deadly: Path) -> None:
    environment = dict(os.environ)
    environment["PYTHONPATH"] = os.pathsep.join([str(deadly), *filter(None, sys.path)])
    command = Command(tmp_path, environment)
    process = command.start("check", "deadly/attack", "--canaries")
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("fine: natural network"):
            break
    group = os.getpgid(process.pid)
    os.killpg(group, signal.SIGINT)
    began = time.monotonic()
    output, _ = process.communicate(timeout=30)

    assert time.monotonic() - began < 10
    assert process.returncode != 0
    assert "KeyboardInterrupt" not in output
    with pytest.raises(ProcessLookupError):  # Nothing of its group is left.
        os.killpg(group, 0)
