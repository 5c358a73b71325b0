"""Limits of a run that its executor must be able to keep."""

from __future__ import annotations

from advtransfer.errors import BadInput, Problem
from advtransfer.host import Component
from advtransfer.runner.settings import RunSettings


def require_enforced_limits(settings: RunSettings, executor: Component) -> None:
    """Refuse limits that the executor does not keep.

    Raises:
        BadInput: There is such a limit.
    """
    problems: list[Problem] = []
    if settings.timeout is not None and executor.name == "local/inline":
        expected = "an executor whose processes can be stopped"
        problems.append(
            Problem("--timeout with local/inline", expected, "use local/pool, or leave it out")
        )
    if settings.memory is not None and "memory_limit" not in executor.options.fields:
        expected = "an executor that watches the memory of its workers, such as local/pool"
        next_step = "use it, or leave --memory out and limit memory by the engine's own options"
        problems.append(Problem(f"--memory with {executor.name}", expected, next_step))
    if problems:
        raise BadInput(problems)
