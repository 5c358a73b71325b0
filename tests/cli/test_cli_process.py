"""The command line as a process: what its start imports, and the streams it writes to."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

HEAVY = {"torch", "numpy", "scipy", "sklearn", "foolbox", "matplotlib", "pydantic", "rich", "yaml"}
THEN_MODULES = """
import sys
from advtransfer.cli import main
try:
    main(sys.argv[1:])
finally:
    print(*sys.modules, file=sys.stderr)
"""


def loaded(*arguments: str) -> set[str]:
    """The modules that are there when one call of the command line ends."""
    command = [sys.executable, "-c", THEN_MODULES, *arguments]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stderr.split())


def test_help_imports_no_subcommand_and_nothing_heavy() -> None:
    modules = loaded("--help")

    names = {f"advtransfer.cli{part}" for part in ("", ".commands", ".output")}
    assert names == {one for one in modules if "advtransfer.cli" in one}
    assert set() == modules & (HEAVY | {"pluggy", "advtransfer.host"})


@pytest.mark.parametrize("arguments", [("list",), ("list", "--json"), ("list", "evaluation")])
def test_list_loads_every_plugin_and_nothing_heavy(arguments: tuple[str, ...]) -> None:
    modules = loaded(*arguments)

    assert {
        "advtransfer.executors",
        "advtransfer_finetune",
        "advtransfer_foolbox",
        "advtransfer_vision",
    } <= modules
    assert set() == modules & HEAVY


@pytest.mark.parametrize("argument", ["--help", "list"])
def test_pythons_own_account_of_imports_names_neither_torch_nor_numpy(argument: str) -> None:
    command = [sys.executable, "-X", "importtime", "-m", "advtransfer", argument]
    import_times = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    modules = set(
        re.findall(r"^import time: +\d+ \| +\d+ \| +(\S+)$", import_times, flags=re.MULTILINE)
    )

    assert "click" in modules
    assert set() == modules & {"torch", "numpy"}


def test_importing_the_package_imports_nothing_else() -> None:
    code = "import sys; before = set(sys.modules); import advtransfer; print(sorted(set(sys.modules) - before))"
    completed = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )

    assert completed.stdout.strip() == "['advtransfer']"


def test_terminal_that_lacks_a_letter_gets_a_question_mark() -> None:
    command = [sys.executable, "-m", "advtransfer", "show", "quickstart"]
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1"}
    completed = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)

    assert "adapter     ?" in completed.stdout.splitlines()


def test_closed_pipe_causes_no_traceback() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "advtransfer", "schema"]
    completed = subprocess.run(
        command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(writer)

    assert completed.stderr == ""
