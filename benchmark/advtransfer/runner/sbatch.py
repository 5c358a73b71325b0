"""The sbatch file that runs a suite as an array of shards, without an engine."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from advtransfer.errors import BadInput, Problem
from advtransfer.runner.engine import split_engine_options
from advtransfer.suite.located import did_you_mean, join_names

DEFAULT_TASKS = 8
"""Tasks of an array whose number is not stated, for a suite with as many trials."""

DEFAULT_OPTIONS = {"time": "4:00:00", "mem": "4G"}
"""Options of sbatch that every file states, and what they are where nobody says."""

SBATCH_OPTIONS = ("n", *DEFAULT_OPTIONS, "partition", "account", "qos", "gres")
"""What ``--sbatch`` takes: the number of tasks, and options of sbatch."""

SCRIPT = """\
#!/bin/bash
# Runs the suite {suite} as an array of {n}: `sbatch FILE` submits it from the folder that runs are in.
# All tasks see one run folder, and each takes what is left. Submit it again to go on with what is missing.
{directives}

requeue=
# Slurm sends USR1 to this shell before the time is over, and TERM when the task is preempted or cancelled: the run
# then ends in order. A preempted task is put into the queue again by Slurm, one without time by this script.
trap 'requeue=1; kill -TERM "$run"' USR1
trap 'kill -TERM "$run"' TERM
{command} &
run=$!
# A signal ends `wait` before the run has ended.
wait "$run"; code=$?
while kill -0 "$run" 2>/dev/null; do wait "$run"; code=$?; done
if [ -n "$requeue" ]; then scontrol requeue "${{SLURM_ARRAY_JOB_ID}}_${{SLURM_ARRAY_TASK_ID}}"; fi
exit "$code"
"""


def sbatch_options(text: str, *, estimate: bool) -> dict[str, str]:
    """Return the options in a text such as ``n=8,partition=gpu``.

    Raises:
        BadInput: An option is unknown or has no value, or an `estimate` is asked for too; holds every problem.
    """
    options = split_engine_options([text] if text else [], setting="--sbatch")
    problems = [
        Problem(
            f"the unknown option {name!r} in --sbatch",
            f"one of {join_names(SBATCH_OPTIONS)}",
            did_you_mean(name, SBATCH_OPTIONS, otherwise="write it into the file"),
        )
        for name in options
        if name not in SBATCH_OPTIONS
    ]
    n = str(options.get("n", DEFAULT_TASKS))
    if not n.isdecimal() or int(n) < 1:
        problems.append(Problem(f"--sbatch n={n}", "a number of tasks from 1 on", "write n=8"))
    if estimate:
        found = "--estimate with --sbatch"
        problems.append(Problem(found, "one of them", "estimate first, then write the file"))
    if problems:
        raise BadInput(problems)
    return {name: str(value) for name, value in options.items()}


def sbatch_script(run: Sequence[str], *, name: str, trials: int, options: Mapping[str, str]) -> str:
    """Return the sbatch file of a suite.

    Args:
        run: The command that runs it with one worker, with ``--threads`` and ``--device``.
        name: The name of the suite.
        trials: Number of the suite's trials.
        options: What `sbatch_options` returned.
    """
    stated = {"n": str(max(1, min(DEFAULT_TASKS, trials))), **DEFAULT_OPTIONS, **options}
    if run[run.index("--device") + 1].startswith("cuda"):
        stated.setdefault("gres", "gpu:1")
    n = stated.pop("n")
    directives = {
        "job-name": name,
        "array": f"1-{n}",
        "cpus-per-task": run[run.index("--threads") + 1],
        **stated,
        "output": f"{name}-%A_%a.log",
        "open-mode": "append",
        "signal": "B:USR1@90",
    }
    lines = [f"#SBATCH --{key}={shlex.quote(value)}" for key, value in directives.items()]
    return SCRIPT.format(
        suite=name,
        n=n,
        directives="\n".join([*lines, "#SBATCH --requeue"]),
        command=f'{shlex.join(run)} --shard "$SLURM_ARRAY_TASK_ID/{n}"',
    )
