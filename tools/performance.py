"""Run every script in tests/performance, and write their claims as the table of docs/performance.md.

    python tools/performance.py                   all scripts, and the table
    python tools/performance.py estimate.py ...   only these, and their rows

A script prints its claims as JSON in its last line (`tests/performance/side_by_side`). The exit code is 1 where a claim
falls short, or a script has none to show.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from advtransfer.host.distributions import installed_version
from advtransfer.worker.environment import describe_environment

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "tests" / "performance"
PAGE = ROOT / "docs" / "performance.md"
BEGIN, END = "<!-- begin, by `make performance` -->\n", "<!-- end -->\n"
MOST_SECONDS = 180
"""Seconds within which a script ends on two cores."""
OPTIONAL = ("pyautoattack",)
"""Distributions that a script compares with only where they are installed."""
NO_GPU = "anything on a GPU: the claims are about CPU threads"
HEADER = "| claim | figure | limit | | measured | command |\n|---|---|---|---|---|---|\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class ScriptResult:
    """One script after it has ended.

    Attributes:
        command: The command that runs it.
        seconds: Wall seconds from its start to its end.
        claims: The objects of its last line; empty where it has none.
        not_measured: The reasons of its last line.
        failure: The reason why it counts as failed; None where each claim holds.
    """

    command: str
    seconds: float
    claims: Sequence[dict[str, Any]]  # Any: JSON
    not_measured: Sequence[str]
    failure: str | None


def run_script(script: Path) -> ScriptResult:
    """Run one script, pass its output on as it comes, and read its last line."""
    command = f"python tests/performance/{script.name}"
    sys.stdout.write(f"== {command}\n")
    sys.stdout.flush()
    began, last = time.perf_counter(), ""
    with subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
            last = line
    seconds = time.perf_counter() - began
    body = _parse_last_line(last)
    claims: list[dict[str, Any]] = [] if body is None else body["claims"]  # Any: JSON
    return ScriptResult(
        command=command,
        seconds=seconds,
        claims=claims,
        not_measured=[] if body is None else body["not_measured"],
        failure=_failure(body, process.returncode),
    )


def _failure(body: dict[str, Any] | None, code: int) -> str | None:  # Any: JSON
    if body is None:
        return f"no claims in its last line (exit code {code})"
    if not all(claim["holds"] for claim in body["claims"]):
        return "a claim falls short"
    return f"exit code {code}" if code else None


def _parse_last_line(line: str) -> dict[str, Any] | None:  # Any: JSON
    try:
        body = json.loads(line)
    except json.JSONDecodeError:
        return None
    return body if isinstance(body, dict) and {"claims", "not_measured"} <= set(body) else None


def longest_script(results: Iterable[ScriptResult]) -> dict[str, Any]:  # Any: JSON
    """Return the claim that every script ends in time, in the form that scripts print."""
    longest = max(results, key=lambda result: result.seconds)
    return {
        "claim": "the longest of these scripts",
        "figure": float(f"{longest.seconds:.3g}"),
        "unit": "s",
        "wanted": f"at most {MOST_SECONDS}",
        "holds": longest.seconds <= MOST_SECONDS,
        "times": longest.command.rpartition("/")[2],
    }


def render_table(results: Sequence[ScriptResult]) -> str:
    """Return the table of all claims in Markdown, with what was not measured below it."""
    notes = [f"{result.command}: {reason}" for result in results for reason in result.not_measured]
    notes += [
        f"{result.command}: failed, {result.failure}"
        for result in results
        if result.failure and not result.claims
    ]
    listed = "".join(f"- {note}\n" for note in [*notes, NO_GPU])
    longest = _render_row(longest_script(results), "make performance")
    lines = "".join([*(line for result in results for line in render_rows(result)), longest])
    return f"{HEADER}{lines}\nNot measured:\n\n{listed}"


def render_rows(result: ScriptResult) -> list[str]:
    """Return the rows of one script, each with its command and the commit that it measured."""
    return [_render_row(claim, result.command) for claim in result.claims]


def _render_row(claim: dict[str, Any], command: str) -> str:  # Any: JSON
    cells = [
        claim["claim"],
        f"{claim['figure']:g} {claim['unit']}".rstrip(),
        claim["wanted"],
        "holds" if claim["holds"] else "**falls short**",
        claim["times"],
        f"`{command}` at {_commit()}",
    ]
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |\n"


def describe_machine() -> str:
    """Return the processor, the cores and the versions that the figures belong to, as a sentence."""
    environment: dict[str, Any] = describe_environment(device="cpu", threads=1)  # Any: JSON
    processor = environment["processor"]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = environment["libraries"] | {name: installed_version(name) for name in OPTIONAL}
    libraries = ", ".join(f"{name} {version or 'absent'}" for name, version in versions.items())
    return (
        f"Measured on {cores} cores of a {processor['model']} "
        f"({processor['instructions']}), {environment['system']}, with Python "
        f"{environment['python']}, {libraries}.\n"
    )


def _commit() -> str:
    """Return the short id of the checkout's commit, and whether files differ from it."""
    command = ["git", "describe", "--always", "--dirty=, with changes", "--exclude=*"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "unknown"


def rewrite_page(page: str, results: Sequence[ScriptResult], machine: str) -> str:
    """Return the page with the table made from these results."""
    before, _, rest = page.partition(BEGIN)
    after = rest.partition(END)[2]
    return f"{before}{BEGIN}\n{machine}\n{render_table(results)}\n{END}{after}"


def replace_rows(page: str, results: Iterable[ScriptResult]) -> str:
    """Return the page with the rows of these scripts in the place of those that it has of them."""
    for result in results:
        named = f"| `{result.command}` "
        lines = page.splitlines(keepends=True)
        places = [place for place, line in enumerate(lines) if named in line]
        if places:
            kept = [line for line in lines[places[0] :] if named not in line]
            page = "".join([*lines[: places[0]], *render_rows(result), *kept])
    return page


def main(names: Sequence[str]) -> int:
    """Run the scripts, also after a failure; write the table, or the rows of those named; 1 where one failed."""
    every = sorted(SCRIPTS.glob("*.py"))
    scripts = [script for script in every if not names or script.name in names]
    if absent := set(names) - {script.name for script in scripts}:
        expected = ", ".join(script.name for script in every)
        sys.stderr.write(f"found {', '.join(sorted(absent))}; expected names of {expected}\n")
        return 2
    machine = describe_machine()
    results = [run_script(script) for script in scripts]
    page = PAGE.read_text("utf-8")
    page = replace_rows(page, results) if names else rewrite_page(page, results, machine)
    PAGE.write_text(page, "utf-8")
    sys.stdout.write(f"==\n{machine}{render_table(results)}")
    failed = [result for result in results if result.failure]
    for result in failed:
        sys.stdout.write(f"failed: {result.command}: {result.failure}\n")
    return 1 if failed or not longest_script(results)["holds"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
