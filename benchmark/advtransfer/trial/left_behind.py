"""What plugins left behind in the process of one job, by who did: it marks the results, and the worker is replaced."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import cast

from torch import nn

from advtransfer.trial.untouched import Watched, untouched_check, watched
from advtransfer.types import Check, Json


@dataclass(slots=True)
class LeftBehind:
    """One job's account of it.

    Args:
        job: All of it, in words: why no other job may run in this process.
        trial: What marks every result of the job; an evaluation's own marks its own result alone.
        running: Threads that still run, which nobody can put back.
    """

    job: list[str] = field(default_factory=list)
    trial: list[str] = field(default_factory=list)
    running: list[str] = field(default_factory=list)

    @property
    def checks(self) -> list[Check]:
        """The check that marks what was made with something left behind; none where nothing was."""
        changes = list(dict.fromkeys(self.trial))
        return [untouched_check(changes)] if changes else []

    def mark(self, who: str, found: Watched) -> dict[str, Json]:
        """What an artifact says of how it was made; nothing where all was left as it was."""
        return {"left": [f"{who}: {text}" for text in found.changed]} if found.changed else {}

    def marked(self, facts: Mapping[str, Json]) -> None:
        """Let an artifact that was made with something left behind mark what is made from it."""
        self.trial += cast("list[str]", facts.get("left", []))

    @contextmanager
    def by(
        self, who: str, model: nn.Module | None = None, *, own: bool = False, fits: bool = False
    ) -> Iterator[Watched]:
        """Watch what a plugin does inside, and put down what it leaves behind.

        Args:
            who: The component.
            model: The model that it is handed.
            own: Whether it marks one result, which is made inside, and no other. Whoever does may not even draw from
                global random state; others may, for the first weights of a layer.
            fits: Whether it is there to change the model's weights.
        """
        try:
            with watched(model, draws=not own, fits=fits) as found:
                yield found
        finally:
            self.trial += [] if own else [f"{who}: {text}" for text in found.changed]
            self.job += [f"{who}: {text}" for text in found.lasting]
            self.running += [f"{who}: {text}" for text in found.running]
