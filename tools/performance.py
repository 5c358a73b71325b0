"""Run every script in tests/performance, and say at the end which failed and what was not measured.

    python tools/performance.py [OPTIONS OF THE SCRIPTS]

A script says what it leaves out in lines that begin with ``not measured:``.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[1] / "tests" / "performance"
OMITTED = "not measured: "
NO_GPU = "anything on a GPU: the claims are about one CPU thread"


def run(script: Path, options: list[str]) -> tuple[int, list[str]]:
    """The exit code of a script, and what it says that it did not measure; its output is passed on as it comes."""
    sys.stdout.write(f"== {script.name}\n")
    sys.stdout.flush()
    omitted = []
    with subprocess.Popen(
        [sys.executable, str(script), *options], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            sys.stdout.write(line)
            sys.stdout.flush()
            if line.startswith(OMITTED):
                omitted.append(line.removeprefix(OMITTED).strip())
    return process.returncode, omitted


def main(options: list[str]) -> int:
    """Run them all, also after a failure; 1 where one failed."""
    scripts = sorted(SCRIPTS.glob("*.py"))
    results = {script.name: run(script, options) for script in scripts}
    failed = [name for name, (code, _) in results.items() if code]
    sys.stdout.write(
        f"== {len(scripts)} scripts, {len(failed)} failed{': ' if failed else ''}{', '.join(failed)}\n"
    )
    for name, (_, omitted) in results.items():
        for reason in omitted:
            sys.stdout.write(f"{OMITTED}{name}: {reason}\n")
    sys.stdout.write(f"{OMITTED}{NO_GPU}\n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
