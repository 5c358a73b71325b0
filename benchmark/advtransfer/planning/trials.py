"""A plan as plain data: the position of each trial, its id, and the ids of its results."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

from advtransfer.errors import CacheError
from advtransfer.types import Json

SubsetSize: TypeAlias = int | Literal["all"]
PLAN_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Trial:
    """One fit and the results that are shown with it.

    `row` is the source's label without its replicate. `evaluations` maps an evaluation's label to
    the ids of its results, one for each reference where it needs one. `builds` are the ids of the
    source and the references that must be built before. `submission` is the name of the submission
    on a board's page, where there are several.
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
    submission: str | None = None

    @property
    def name(self) -> str:
        """The trial as people read it: ``linf 0.1 -> digits_5_9 n=20 seed=0 probe``."""
        source = self.source or "no source"
        adapter = f" via {self.adapter}" if self.adapter else ""
        return f"{source}{adapter} -> {self.target} n={self.n} seed={self.seed} {self.transfer}"

    def axes(self) -> dict[str, Json]:
        """Return the trial's label or value on each axis of the grid."""
        return {
            "source": self.source,
            "adapter": self.adapter,
            "target": self.target,
            "n": self.n,
            "seed": self.seed,
            "transfer": self.transfer,
        }

    def record_ids(self) -> tuple[str, ...]:
        """Return the ids of every record of this trial: the fit's, then the results'."""
        return (self.id, *(id for ids in self.evaluations.values() for id in ids))

    def to_json(self) -> dict[str, Json]:
        """Return the trial as `plan.json` holds it."""
        trial: dict[str, Json] = {
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
        # Left out in the plan of a run.
        return trial | ({"submission": self.submission} if self.submission else {})

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Trial:  # Any: JSON that `to_json` wrote
        """Return the trial of `to_json`."""
        evaluations = {name: tuple(ids) for name, ids in data["evaluations"].items()}
        builds = tuple(data["builds"])
        return cls(**(dict(data) | {"evaluations": evaluations, "builds": builds}))


class FurtherTest(NamedTuple):
    """The label of an evaluation, and of the further data set on which it is measured again."""

    evaluation: str
    data: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The trials of a suite, sorted by position.

    `sources` names each source and reference by id, `deterministic` the transfers that draw no random number.
    `datasets` has what is known of each target's data before it is read: its component (``use``), ``classes``,
    ``shape``, and the ``train`` and ``test`` images that it has at most; under ``also`` the same of its further data
    sets, by label. `also` has the evaluations that are measured on the test part of such a data set.
    """

    suite: str
    title: str
    leaderboard: Mapping[str, Json]
    sources: Mapping[str, str]
    trials: tuple[Trial, ...]
    deterministic: tuple[str, ...] = ()
    datasets: Mapping[str, Mapping[str, Json]] = field(default_factory=dict)
    also: Mapping[str, FurtherTest] = field(default_factory=dict)

    def count_results(self) -> int:
        """Return the number of distinct results of trials that are not skipped."""
        ids: set[str] = set()
        for trial in self.trials:
            if not trial.skipped:
                ids.update(trial.record_ids()[1:])
        return len(ids)

    def to_json(self) -> dict[str, Json]:
        """Return the plan as `plan.json` holds it."""
        plan: dict[str, Json] = {
            "format": PLAN_FORMAT,
            "suite": self.suite,
            "title": self.title,
            "leaderboard": dict(self.leaderboard),
            "sources": dict(self.sources),
            "trials": [trial.to_json() for trial in self.trials],
        }
        # Left out where there is none, so that plans of earlier releases stay as they are.
        if self.deterministic:
            plan["deterministic"] = list(self.deterministic)
        if self.datasets:
            plan["datasets"] = {target: dict(facts) for target, facts in self.datasets.items()}
        if self.also:
            plan["also"] = {label: list(test) for label, test in self.also.items()}
        return plan

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Plan:  # Any: JSON that `to_json` wrote
        """Return the plan of `to_json`.

        Raises:
            CacheError: The data is not what `to_json` returns.
        """
        try:
            trials = tuple(map(Trial.from_json, data["trials"]))
            return cls(
                data["suite"],
                data["title"],
                dict(data["leaderboard"]),
                dict(data["sources"]),
                trials,
                tuple(data.get("deterministic", ())),
                {target: dict(facts) for target, facts in data.get("datasets", {}).items()},
                {
                    label: FurtherTest(*map(str, each))
                    for label, each in data.get("also", {}).items()
                },
            )
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise CacheError(
                f"found a plan.json that is no plan ({type(error).__name__}: {error}); "
                "expected what a run writes; run the suite again, which writes it anew"
            ) from error
