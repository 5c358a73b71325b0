"""A plan as plain data.

The position of each trial in the grid, its id, and the ids of its results.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

from advtransfer.errors import CacheError
from advtransfer.types import Json

SubsetSize: TypeAlias = int | Literal["all"]
PLAN_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Trial:
    """One fit and the results it is shown with.

    `row` is the source's label without its replicate; `evaluations` maps an evaluation's label to the ids of its
    results (one a reference where it needs one); `builds` are the ids of the sources and references it stands on.
    """

    id: str
    source: str | None
    row: str | None
    replicate: int | None
    adapter: str | None
    target: str
    n: SubsetSize
    seed: int
    transfer: str
    evaluations: Mapping[str, tuple[str, ...]]
    builds: tuple[str, ...] = ()
    skipped: str | None = None

    @property
    def name(self) -> str:
        """The trial in words: ``linf 0.1 -> digits_5_9 n=20 seed=0 probe``."""
        adapter = f" via {self.adapter}" if self.adapter else ""
        return f"{self.source or 'no source'}{adapter} -> {self.target} n={self.n} seed={self.seed} {self.transfer}"

    def record_ids(self) -> tuple[str, ...]:
        """The ids of every record of this trial: the fit's, then the results'."""
        return (self.id, *(id for ids in self.evaluations.values() for id in ids))

    def to_json(self) -> dict[str, Json]:
        """The trial as `plan.json` holds it."""
        return {
            "id": self.id,
            "source": self.source,
            "row": self.row,
            "replicate": self.replicate,
            "adapter": self.adapter,
            "target": self.target,
            "n": self.n,
            "seed": self.seed,
            "transfer": self.transfer,
            "evaluations": {name: list(ids) for name, ids in self.evaluations.items()},
            "builds": list(self.builds),
            "skipped": self.skipped,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Trial:  # Any: JSON that `to_json` wrote
        """The inverse of `to_json`."""
        lists = {name: tuple(ids) for name, ids in data["evaluations"].items()}
        return cls(**(dict(data) | {"evaluations": lists, "builds": tuple(data["builds"])}))


@dataclass(frozen=True, slots=True)
class Plan:
    """The trials of a suite, sorted by place; `sources` names each source and reference by id."""

    suite: str
    title: str
    leaderboard: Mapping[str, Json]
    sources: Mapping[str, str]
    trials: tuple[Trial, ...]

    def count_results(self) -> int:
        """How many distinct results are asked for."""
        return len(
            {id for trial in self.trials if not trial.skipped for id in trial.record_ids()[1:]}
        )

    def to_json(self) -> dict[str, Json]:
        """The plan as `plan.json` holds it."""
        return {
            "format": PLAN_FORMAT,
            "suite": self.suite,
            "title": self.title,
            "leaderboard": dict(self.leaderboard),
            "sources": dict(self.sources),
            "trials": [trial.to_json() for trial in self.trials],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Plan:  # Any: JSON that `to_json` wrote
        """The inverse of `to_json`.

        Raises:
            CacheError: It is not what `to_json` gives.
        """
        try:
            trials = tuple(map(Trial.from_json, data["trials"]))
            return cls(
                data["suite"],
                data["title"],
                dict(data["leaderboard"]),
                dict(data["sources"]),
                trials,
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CacheError(
                f"found a plan.json that is no plan ({type(error).__name__}: {error}); expected what a run writes; "
                "run the suite again, which writes it anew"
            ) from error
