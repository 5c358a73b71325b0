"""CPU seconds of ways that take turns: the least of several, since what else the machine does only ever adds."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping


def alternate(
    ways: Mapping[str, Callable[[], object]],
    *,
    repeats: int,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, float]:
    """Return the least seconds of each way, by its name.

    Every way runs once untimed. Then all take turns `repeats` times, every other time in reverse, so
    that none is always the first.

    Args:
        ways: What is timed.
        repeats: How often each is timed.
        clock: Seconds so far. CPU seconds of this process by default; a way that works in other
            processes or on a GPU needs `time.perf_counter`, and waits for them before it returns.
    """
    for work in ways.values():
        work()
    names = list(ways)
    least = dict.fromkeys(names, float("inf"))
    for number in range(repeats):
        for name in reversed(names) if number % 2 else names:
            began = clock()
            ways[name]()
            least[name] = min(least[name], clock() - began)
    return least


def fastest(seconds: Mapping[str, float], names: Iterable[str]) -> str:
    """Return the name with the fewest seconds: a baseline at its best setting."""
    return min(names, key=seconds.__getitem__)
