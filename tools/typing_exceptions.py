"""Counts the exceptions to strict typing, each with its reason beside it; one without a reason fails.

python tools/typing_exceptions.py
"""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
IGNORE = re.compile(r"#\s*type:\s*ignore\[[\w-]+(?:,\s*[\w-]+)*\](?P<reason>\s*#\s*\S.*)?$")


def ignores(path: Path) -> Iterator[tuple[int, str]]:
    """Each ``type: ignore`` of a file: its line, and the reason beside it."""
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if (match := IGNORE.search(line)) and path != Path(__file__):
            yield number, (match["reason"] or "").strip(" #")


def anys(path: Path) -> Iterator[tuple[int, str]]:
    """Each signature of a file that says ``Any``: its line, and the comment ``# Any: why`` in or above the function."""
    lines = path.read_text("utf-8").splitlines()
    for node in ast.walk(ast.parse("\n".join(lines))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _says_any(node):
            nearby = "\n".join(lines[node.lineno - 2 : node.body[-1].end_lineno])
            match = re.search(r"#\s*Any[^:\n]*:\s*(\S.*)", nearby)
            yield node.lineno, match[1] if match else ""


def _says_any(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    arguments = function.args
    every = [
        *arguments.posonlyargs,
        *arguments.args,
        *arguments.kwonlyargs,
        arguments.vararg,
        arguments.kwarg,
    ]
    hints = [one.annotation for one in every if one] + [function.returns]
    names = [node for hint in hints if hint for node in ast.walk(hint)]
    return any(isinstance(node, ast.Name) and node.id == "Any" for node in names)


def main() -> int:
    """Print every exception; 1 when one has no reason."""
    files = [
        path
        for place in ("benchmark", "plugins", "tests")
        for path in sorted((ROOT / place).rglob("*.py"))
    ]
    unexplained = 0
    for title, finder in (("type: ignore", ignores), ("Any in signatures", anys)):
        found = [(path, line, reason) for path in files for line, reason in finder(path)]
        sys.stdout.write(f"{title}: {len(found)}\n")
        for path, line, reason in found:
            sys.stdout.write(f"  {path.relative_to(ROOT)}:{line}: {reason or 'NO REASON'}\n")
            unexplained += not reason
    return min(unexplained, 1)


if __name__ == "__main__":
    sys.exit(main())
