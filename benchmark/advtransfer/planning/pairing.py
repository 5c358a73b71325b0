"""Pairs of source trainings and subset seeds (`seeds: {count: 5, paired: true}` of a target).

Training i of a source meets subset seed i alone. Both kinds of variance are then seen with as many
trials as there are seeds, where the full grid would have their product. The fits, and so their ids,
are those of the full grid.

A source with one training, such as a downloaded checkpoint, has nothing to pair: it is used with
every subset seed, and so is a transfer without a source. References are not paired.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from advtransfer.errors import Problem
from advtransfer.planning.trials import Trial
from advtransfer.suite import GridEntry, Subset, Suite

MAX_SOURCES = 3
"""Sources that a problem names; the others are counted."""


class TrainingPairs:
    """The trainings of a suite's sources, and which of them meet which subset."""

    def __init__(self, suite: Suite) -> None:
        self._suite = suite
        self._counts: Counter[str] = Counter()
        self._positions: dict[str, int] = {}
        for source in suite.sources:
            self._positions[source.label] = self._counts[source.row]
            self._counts[source.row] += 1

    def are_paired(self, source: GridEntry | None, subset: Subset) -> bool:
        """Return whether a trial of this source on this subset is in the plan."""
        if source is None or subset.pairing is None:
            return True
        # A wrong number of trainings is reported by `problems`, so all of its trials are kept here.
        if self._counts[source.row] != subset.pairing.seed_count:
            return True
        return self._positions[source.label] == subset.pairing.position

    def problems(self, trials: Iterable[Trial]) -> Iterator[Problem]:
        """Yield a problem for each target and number of trainings that does not fit its seeds."""
        seed_counts = {
            (target.key, subset.n, subset.seed): subset.pairing.seed_count
            for target in self._suite.targets
            for subset in target.subsets
            if subset.pairing is not None
        }
        locations = {target.key: target.seeds_location for target in self._suite.targets}
        # The names of sources by target and counts: a suite may have many sources of one mistake.
        misfits: dict[tuple[str, int, int], dict[str, None]] = {}
        for trial in trials:
            seeds = seed_counts.get((trial.target, trial.n, trial.seed))
            row = trial.row or ""
            trainings = self._counts[row]
            if seeds is not None and trainings not in (0, 1, seeds):
                misfits.setdefault((trial.target, trainings, seeds), {})[row] = None
        for (target, trainings, seeds), rows in misfits.items():
            yield Problem(
                f"{trainings} trainings of {_sources_text(list(rows))}, and {seeds} subset seeds "
                f"paired with them in the target {target!r}",
                "one training, or one for each seed",
                f"write `seeds: {seeds}` at each source, or another count at the target",
                locations[target],
            )


def _sources_text(rows: Sequence[str]) -> str:
    """Return the first few sources by name, and the number of the others."""
    names = ", ".join(map(repr, rows[:MAX_SOURCES]))
    more = f" and {len(rows) - MAX_SOURCES} more" if len(rows) > MAX_SOURCES else ""
    return f"the {'source' if len(rows) == 1 else 'sources'} {names}{more}"
