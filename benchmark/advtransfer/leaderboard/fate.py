"""What became of each planned trial: done, failed, skipped or to do, and why; none is silently absent."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from advtransfer.plan import Trial

Value: TypeAlias = Literal["done", "failed", "skipped", "todo"]
WORDS: Mapping[Value, str] = {"done": "done", "failed": "failed", "skipped": "skipped", "todo": "to do"}
VALUES = tuple(WORDS)


@dataclass(frozen=True, slots=True)
class Attempt:
    """A try that did not end in a record: failed, skipped or lost; a deterministic one would end so again."""

    status: str
    reason: str
    deterministic: bool = False


@dataclass(frozen=True, slots=True)
class State:
    """How one trial stands, and the reason where it is not done.

    `evaluation` is the one whose result the reason is of; `final` says that the same command would not try it again.
    """

    value: Value
    reason: str | None = None
    evaluation: str | None = None
    final: bool = False


def state_of(
    trial: Trial, *, done: Callable[[str], bool], attempts: Mapping[str, Attempt], sources: Mapping[str, str]
) -> State:
    """How a trial stands: done when every record of it is there, failed when what it stands on or a part of it did.

    Args:
        trial: The trial.
        done: Whether the record of an id is there.
        attempts: The latest try of each id that has no record.
        sources: The names of sources and references, by id.
    """
    if trial.skipped:
        return State("skipped", trial.skipped, final=True)
    if all(map(done, trial.records())):
        return State("done", final=True)
    for id, evaluation in _parts(trial):
        if (attempt := attempts.get(id)) and not done(id):
            source = f"source {sources.get(id, id[:12])}: " if id in trial.builds else ""
            lost = "lost: " if attempt.status == "lost" else ""
            value: Value = "skipped" if attempt.status == "skipped" else "failed"
            return State(value, f"{source}{lost}{attempt.reason}", evaluation, final=attempt.deterministic)
    return State("todo")


def _parts(trial: Trial) -> Iterator[tuple[str, str | None]]:
    """The ids that a trial needs in the order they are made, each with its evaluation."""
    yield from ((id, None) for id in (*trial.builds, trial.id))
    yield from ((id, label) for label, ids in trial.evaluations.items() for id in ids)
