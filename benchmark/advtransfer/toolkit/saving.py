"""When a training saves its state and tells where it is: by the clock, which no result depends on."""

from __future__ import annotations

import time
from collections.abc import Callable

from advtransfer.types import Tensors

EVERY_SECONDS = 30.0
"""Within an epoch a state is saved this often: what a kill can cost."""

MOST_SHARE = 0.05
"""The most of a training's time that saving may take; a state that is dear to save is saved more seldom."""

TOLD_SECONDS = 1.0
"""Within an epoch progress is told this often."""


class Saver:
    """Saves states, each when enough time has passed since the one before.

    Args:
        save: Keeps a state.
    """

    def __init__(self, save: Callable[[Tensors], None]) -> None:
        self._save, self._last, self._cost = save, time.monotonic(), 0.0

    def cheap(self) -> bool:
        """Whether saving now, at the end of an epoch, keeps within its share of the time."""
        return self._cost <= MOST_SHARE * (time.monotonic() - self._last)

    def due(self) -> bool:
        """Whether it is time to save in the middle of an epoch."""
        return time.monotonic() - self._last >= EVERY_SECONDS and self.cheap()

    def save(self, state: Callable[[], Tensors]) -> None:
        """Save the state, and learn what that costs."""
        began = time.monotonic()
        self._save(state())
        self._last = time.monotonic()
        self._cost = self._last - began


class Pulse:
    """Says when to tell progress."""

    def __init__(self) -> None:
        self._last = time.monotonic()

    def due(self) -> bool:
        """Whether enough time has passed since this was last so."""
        now = time.monotonic()
        if now - self._last < TOLD_SECONDS:
            return False
        self._last = now
        return True
