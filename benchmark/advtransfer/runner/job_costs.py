"""What jobs cost, told from the records of jobs like them: seconds, memory and bytes on disk.

A source, a fit or a result costs what the median of its likes did. Those are, the first that exist:
records of its own id; of its component with the same options, on the same source; the same on any
source; of its component. Radii, rates and seeds do not count as options. Where the likes have
another size (training images x epochs, test images x steps), their seconds are scaled to it. The first
of several likes is left out: it paid for what it shares with them, such as a library's import or features.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from statistics import linear_regression, median
from typing import Any, NamedTuple, TypeAlias, cast

from advtransfer.cache import Cache
from advtransfer.errors import CacheError
from advtransfer.node import Node, canonical_json
from advtransfer.planning import JobRequest, Plan, Trial
from advtransfer.result import Record, Run
from advtransfer.result.record import battery_ids
from advtransfer.runner.environment import battery_size_of, recorded_settings, requested_settings
from advtransfer.runner.settings import RunSettings
from advtransfer.types import Json

SIZE_OPTIONS = ("epochs", "steps", "restarts")
"""Options that seconds are proportional to; they belong to the size and not to the kind."""

MOST_TRIALS_READ = 1000
"""Recorded trials that an estimate is made from; more add nothing to medians."""

Fields: TypeAlias = Mapping[str, Any]
"""JSON of a record or of a node's options. Any: fields differ by kind."""


class Cost(NamedTuple):
    """The cost of one node: seconds of one worker, its peak memory, and the size of its record."""

    seconds: float
    peak_bytes: int
    record_bytes: int


class Sample(NamedTuple):
    """The cost of a recorded node, its size (None where it has none), and when it was begun."""

    size: float | None
    cost: Cost
    started: float


@dataclass(slots=True)
class JobCosts:
    """Costs of recorded nodes, by id and by kind of work."""

    _by_id: dict[str, Cost] = field(default_factory=dict)
    _by_kind: dict[Hashable, list[Sample]] = field(default_factory=lambda: defaultdict(list))
    _sizes: dict[str, int] = field(default_factory=dict)

    def add_records(self, records: Iterable[tuple[Record, int]]) -> None:
        """Add records of one run, with their sizes in bytes."""
        by_id: dict[str, tuple[Fields, int]] = {
            str(record["id"]): (record, size) for record, size in records
        }
        for record, bytes in by_id.values():
            if record["kind"] == "battery" or not record["observed"].get("seconds"):
                continue
            self._learn_sizes(record)
            # A battery belongs to the result that it was run for.
            battery, battery_bytes = by_id.get(str(record.get("battery")), ({}, 0))
            observed = record["observed"]
            peak = max(_peak_bytes(record), _peak_bytes(battery) if battery else 0)
            cost = Cost(math.fsum(observed["seconds"].values()), peak, bytes + battery_bytes)
            asked = record["asked"]
            source = _source_of_record(record, by_id)
            size = self._size(asked["options"], asked["inputs"], asked["kind"])
            self._by_id[record["id"]] = cost
            for key in _kind_keys(asked["kind"], asked["use"], asked["options"], source):
                self._by_kind[key].append(Sample(size, cost, observed.get("started", 0.0)))

    def add_run(self, run: Run, settings: RunSettings, *, most_trials: int) -> int:
        """Add records of a run that was made as these settings say; return the number of its trials read.

        At most `most_trials` are read, one of each cell first; a run that cannot be read adds nothing.
        """
        wanted = requested_settings(settings)
        try:
            if battery_size_of(run) != settings.battery:
                return 0
            trials = _first_of_cells(Plan.from_json(run.read_plan()).trials)[:most_trials]
            records = [
                run.read_record(id) for id in _recorded_ids(run, trials) if run.has_record(id)
            ]
            environments = run.read_environments()
        except (CacheError, OSError):
            return 0
        self.add_records(
            (record, len(canonical_json(record)))
            for record in records
            if recorded_settings(cast("Fields", record["provenance"]), environments) == wanted
        )
        return len(trials)

    def add_job(self, run: Run, request: JobRequest) -> None:
        """Add the records that a job has just written."""
        source = request.node.inputs.get("source")
        nodes = [request.node, *request.results, *([source] if isinstance(source, Node) else [])]
        records = [run.read_record(node.id) for node in nodes if run.has_record(node.id)]
        batteries = {id for record in records for id in battery_ids(record) if run.has_record(id)}
        self.add_records((record, 0) for record in (*records, *map(run.read_record, batteries)))

    def cost_of(self, node: Node) -> Cost | None:
        """Return the expected cost of a source, fit or result; None where nothing like it is recorded."""
        if (own := self._by_id.get(node.id)) is not None:
            return own
        size = self._node_size(node)
        for key in _kind_keys(node.kind, node.use, node.options, _source_of_node(node)):
            if key in self._by_kind:
                return _scaled_cost(self._by_kind[key], size)
        return None

    def kind_and_size(self, node: Node) -> tuple[Hashable, float | None]:
        """Return what work a node is, the same for all of its component and options, and its size."""
        _, kind, _ = _kind_keys(node.kind, node.use, node.options, None)
        return kind, self._node_size(node)

    def recorded_sizes(self, kind: Hashable) -> list[float | None]:
        """Return the sizes of the recorded nodes that are such work."""
        return [sample.size for sample in self._by_kind.get(kind, ())]

    def job_seconds(self, request: JobRequest) -> float | None:
        """Return the expected seconds of a job; None where nothing is known of any part of it."""
        costs = [self.cost_of(node) for node in (request.node, *request.results)]
        known = [cost.seconds for cost in costs if cost is not None]
        return math.fsum(known) if known else None

    def _node_size(self, node: Node) -> float | None:
        inputs = {name: value.id for name, value in node.inputs.items() if isinstance(value, Node)}
        part = node.inputs.get("subset") or node.inputs.get("test")
        if isinstance(part, Node):
            images = part.options.get("n", part.options.get("count"))
            if isinstance(images, int):
                self._sizes.setdefault(part.id, images)
        return self._size(node.options, inputs, node.kind)

    def _size(self, options: Fields, inputs: Fields, kind: str) -> float | None:
        """Return images times epochs or steps; None where the number of images is not known."""
        repeats = [options.get(name) for name in SIZE_OPTIONS]
        factor = math.prod(number for number in repeats if isinstance(number, int) and number > 0)
        if kind == "source":
            return factor
        images = self._sizes.get(str(inputs.get("subset") or inputs.get("test")))
        return None if images is None else images * factor

    def _learn_sizes(self, record: Fields) -> None:
        """Remember the number of images of the subset or test part that a record used."""
        inputs = record["asked"]["inputs"]
        if record["kind"] == "fit" and (labels := record["facts"].get("labels_used")):
            self._sizes[str(inputs.get("subset"))] = labels
        for outcomes in record.get("outcomes", {}).values():
            self._sizes[str(inputs.get("test"))] = outcomes["of"]


def read_known_costs(
    folder: Run, settings: RunSettings, *, most_trials: int = MOST_TRIALS_READ
) -> JobCosts:
    """Return the costs that a run folder, then the other runs of this machine, recorded.

    At most `most_trials` trials are read.
    """
    others = map(Run, Cache(settings.cache, line="any").registered_runs())
    costs = JobCosts()
    for run in (folder, *others):
        if most_trials > 0 and (run is folder or run.path.resolve() != folder.path.resolve()):
            most_trials -= costs.add_run(run, settings, most_trials=most_trials)
    return costs


def _first_of_cells(trials: Iterable[Trial]) -> list[Trial]:
    """Return trials with the first of each cell before the second of any, spread over the grid."""
    by_cell: dict[Hashable, list[Trial]] = defaultdict(list)
    for trial in trials:
        by_cell[trial.row, trial.adapter, trial.target, trial.n, trial.transfer].append(trial)
    rounds = zip_longest(*by_cell.values())
    return [trial for one_round in rounds for trial in one_round if trial is not None]


def _recorded_ids(run: Run, trials: Iterable[Trial]) -> list[str]:
    ids = dict.fromkeys(id for trial in trials for id in (*trial.builds, *trial.record_ids()))
    for id in list(ids):
        if run.has_record(id):
            ids |= dict.fromkeys(battery_ids(run.read_record(id)))
    return list(ids)


def _peak_bytes(record: Fields) -> int:
    return record["observed"].get("peak_bytes") or 0


def _kind_keys(
    kind: str, use: str, options: Fields, source: tuple[str, Fields] | None
) -> tuple[Hashable, Hashable, Hashable]:
    """Return the keys under which the likes of a node are sought, the most alike first."""
    same_options = (kind, use, _cost_options(options))
    source_key = None if source is None else (source[0], _cost_options(source[1]))
    return (*same_options, source_key), same_options, (kind, use)


def _cost_options(options: Fields) -> str:
    """Return the options that decide on the cost: no radius, no rate, no seed and no size."""
    kept = {name: _without_floats(value) for name, value in options.items()}
    for name in (*SIZE_OPTIONS, "seed"):
        kept.pop(name, None)
    return canonical_json(kept)


def _without_floats(value: Json) -> Json:
    if isinstance(value, float):
        return "a number"
    if isinstance(value, Mapping):
        return {name: _without_floats(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_floats(each) for each in value]
    return value


def _source_of_node(node: Node) -> tuple[str, Fields] | None:
    model = node.inputs.get("model")
    source = (model if isinstance(model, Node) else node).inputs.get("source")
    return (source.use, source.options) if isinstance(source, Node) else None


def _source_of_record(
    record: Fields, by_id: Mapping[str, tuple[Fields, int]]
) -> tuple[str, Fields] | None:
    inputs = record["asked"]["inputs"]
    model, _ = by_id.get(str(inputs.get("model")), (None, 0))
    source_id = (model["asked"]["inputs"] if model else inputs).get("source")
    source, _ = by_id.get(str(source_id), (None, 0))
    return None if source is None else (source["asked"]["use"], source["asked"]["options"])


def _scaled_cost(samples: Sequence[Sample], size: float | None) -> Cost:
    """Return the median cost of samples, with seconds that are scaled to a size."""
    peak = max(sample.cost.peak_bytes for sample in samples)
    if len(samples) > 1:
        first = min(samples, key=lambda sample: sample.started)
        samples = [sample for sample in samples if sample is not first]
    record_bytes = round(median(sample.cost.record_bytes for sample in samples))
    by_size: dict[float, list[float]] = defaultdict(list)
    for sample in samples:
        if sample.size is not None:
            by_size[sample.size].append(sample.cost.seconds)
    if size is None or not by_size:
        seconds = median(sample.cost.seconds for sample in samples)
        return Cost(seconds, peak, record_bytes)
    medians = {other: median(values) for other, values in by_size.items()}
    if size in medians:
        return Cost(medians[size], peak, record_bytes)
    nearest = min(medians, key=lambda other: abs(other - size))
    seconds = medians[nearest] * size / nearest
    if len(medians) > 1:
        slope, at_zero = linear_regression(list(medians), list(medians.values()))
        # Noise can make the line fall; then the size does not matter.
        seconds = (
            max(slope * size + at_zero, min(medians.values())) if slope > 0 else medians[nearest]
        )
    return Cost(seconds, peak, record_bytes)
