"""A plugin as one was written for advtransfer 0.2: a component of each of the six kinds, and every hook.

NEVER EDIT THIS FILE OR ITS NEIGHBOUR. It stands for the plugins of others, which nobody edits for us. When its
test fails, advtransfer has broken them: repair advtransfer. What a later version adds is tested elsewhere.
"""

import json
import os

from advtransfer.hookspecs import hookimpl
from advtransfer.types import component


def stripes(*, side: int = 8):
    """Horizontal and vertical stripes."""
    from advtransfer_built_for_0_2.parts import make_stripes

    return make_stripes(side)


def small(*, width: int = 4):
    """A small network with the weights of its first step."""
    from advtransfer_built_for_0_2.parts import SmallSource

    return SmallSource(width)


def brighter(*, factor: float = 1.0):
    """Multiply the pixels."""
    from advtransfer_built_for_0_2.parts import Brighter

    return Brighter(factor)


@component(needs=["source"])
def means(*, shrink: float = 0.0):
    """The nearest class mean on frozen features."""
    from advtransfer_built_for_0_2.parts import Means

    return Means(shrink)


@component(needs=["model"])
def correct():
    """Accuracy, and the mean of the largest logit."""
    from advtransfer_built_for_0_2.parts import Correct

    return Correct()


def here():
    """Run the jobs in this process."""
    from advtransfer_built_for_0_2.parts import Here

    return Here()


@hookimpl
def register_datasets():
    return [stripes]


@hookimpl
def register_sources():
    return [small]


@hookimpl
def register_adapters():
    return [brighter]


@hookimpl
def register_transfers():
    return [means]


@hookimpl
def register_evaluations():
    return [correct]


@hookimpl
def register_executors():
    return [here]


def note(hook, **facts):
    with open(os.environ["BUILT_FOR_0_2_NOTES"], "a") as file:
        file.write(json.dumps({"hook": hook, "process": os.getpid(), **facts}) + "\n")


@hookimpl
def run_started(run, plan):
    note("run_started", run=run, trials=len(plan["trials"]))
    return "notes\n are \x1b[31mwritten"


@hookimpl
def record_written(record):
    note("record_written", kind=record["kind"], id=record["id"], curves=record.get("curves"))


@hookimpl
def run_finished(run, summary, files):
    note("run_finished", run=run, summary=summary, files=files)


@hookimpl
def trial_started(trial):
    note("trial_started", trial=trial)


@hookimpl
def trial_finished(trial, metrics, upper_bounds, intervals):
    note("trial_finished", trial=trial, metrics=metrics, intervals=intervals)


@hookimpl
def trial_skipped(trial, reason):
    note("trial_skipped", reason=reason)


@hookimpl
def trial_failed(trial, reason):
    note("trial_failed", reason=reason)
