"""Core seconds of the quickstart by kind of work, and beside those of an earlier commit with ``--before``.

The earlier commit is another checkout, made for example by ``git worktree add --detach ../before def319a``. Both
checkouts run the same suite in turn, each in a folder and with a cache of its own, in one process of one thread.
Seconds are those that the records of the run have observed, of the machine's clock: they are core seconds where
nothing else runs. The CPU seconds of each run as a whole, which also count imports and the page, stand below them.

    python tests/performance/quickstart_seconds.py --before ../before
    python tests/performance/quickstart_seconds.py --limit 12

It claims that sources, fits, PGD and FGSM together take at most half of the seconds of the earlier commit, where the
suite is the one that it shipped.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from side_by_side.claims import at_most, report

HERE = Path(__file__).resolve().parents[2]

KINDS = ("sources", "fits", "pgd", "fgsm", "clean", "other attacks", "battery")
"""Kinds of work, in the order of the table."""

HALVED = KINDS[:4]
"""Kinds of which the claim is made."""

ATTACK_KINDS = {
    "foolbox/pgd": "pgd",
    "foolbox/fgsm": "fgsm",
    "foolbox/clean_accuracy": "clean",
}
"""Kinds of evaluations by component."""


def run_suite(checkout: Path, suite: Path, folder: Path, *, limit: int | None) -> float:
    """Run a suite with the code of a checkout, and return the run's CPU seconds.

    Records are below ``runs`` in the folder.

    Raises:
        SystemExit: The run failed.
    """
    folder.mkdir()
    paths = [str(checkout / "benchmark"), str(checkout / "plugins")]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
        "ADVTRANSFER_CACHE": str(folder / "cache"),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-c", "from advtransfer.cli import main; main()", "run", str(suite)]
    command += ["--executor", "local/inline", "--quiet", "--runs", str(folder / "runs")]
    if limit is not None:
        command += ["--limit", str(limit)]
    began = os.times()
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"the run with {checkout} ended with {done.returncode}: {done.stderr}")
    ended = os.times()
    user = ended.children_user - began.children_user
    return user + ended.children_system - began.children_system


def seconds_by_kind(runs: Path) -> dict[str, float]:
    """Return the seconds that the records below a folder have observed, by kind of work."""
    seconds: dict[str, float] = defaultdict(float)
    for path in runs.glob("*/records/*/*.json"):
        record = json.loads(path.read_text(encoding="utf-8"))
        for kind, observed in record_seconds(record).items():
            seconds[kind] += observed
    return dict(seconds)


def record_seconds(record: Mapping[str, Any]) -> dict[str, float]:  # Any: JSON of a record
    """Return the seconds of one record by kind; those of a battery are in the result that it verifies."""
    steps = dict(record["observed"].get("seconds") or {})
    if record["kind"] in ("source", "fit"):
        return {f"{record['kind']}s": sum(steps.values())}
    if record["kind"] != "result":
        return {}
    battery = steps.pop("battery", 0.0)
    kind = ATTACK_KINDS.get(record["asked"]["use"], "other attacks")
    return {kind: sum(steps.values()), "battery": battery}


def print_table(own: Mapping[str, float], before: Mapping[str, float] | None) -> None:
    """Print the seconds of each kind, and their ratio where there is an earlier commit."""
    sys.stdout.write(
        f"{'kind':15}{'now, s':>10}" + (f"{'before, s':>12}{'ratio':>8}" if before else "")
    )
    sys.stdout.write("\n")
    for kind in KINDS:
        line = f"{kind:15}{own.get(kind, 0.0):10.1f}"
        if before:
            earlier = before.get(kind, 0.0)
            ratio = f"{own.get(kind, 0.0) / earlier:.2f}" if earlier else "-"
            line += f"{earlier:12.1f}{ratio:>8}"
        sys.stdout.write(line + "\n")


def main() -> int:
    """Run the suite with each checkout, print the seconds by kind, and report the claim."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--before", type=Path, help="a checkout of an earlier commit")
    parser.add_argument(
        "--suite", type=Path, help="the suite of both; by default that of the earlier checkout"
    )
    parser.add_argument("--limit", type=int, help="run at most this many trials")
    options = parser.parse_args()
    if options.before is None and options.limit is None:
        return report([], not_measured=["all of it, which takes minutes; name --before or --limit"])
    checkouts = {"now": HERE}
    if options.before is not None:
        checkouts["before"] = options.before.resolve()
    suite = (options.suite or list(checkouts.values())[-1] / "suites" / "quickstart.yaml").resolve()
    with tempfile.TemporaryDirectory() as name:
        seconds, totals = {}, {}
        for label, checkout in checkouts.items():
            folder = Path(name, label)
            totals[label] = run_suite(checkout, suite, folder, limit=options.limit)
            seconds[label] = seconds_by_kind(folder / "runs")
    print_table(seconds["now"], seconds.get("before"))
    for label, total in totals.items():
        sys.stdout.write(f"CPU seconds of the whole run, {label}: {total:.1f}\n")
    if "before" not in seconds:
        return report([], not_measured=["a ratio, which needs --before CHECKOUT"])
    own, earlier = (sum(seconds[label].get(kind, 0.0) for kind in HALVED) for label in checkouts)
    times = f"{own:.1f} s, before {earlier:.1f} s"
    claim = (
        "the quickstart's sources, fits, PGD and FGSM: seconds beside those of the commit before"
    )
    return report([at_most(claim, own / earlier, 0.5, times=times)])


if __name__ == "__main__":
    sys.exit(main())
