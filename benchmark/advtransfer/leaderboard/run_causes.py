"""What differs between the records of two runs, in the order in which it is likely to explain results."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

from advtransfer.planning import Plan, Trial
from advtransfer.result.record import HALVED_KERNEL_BATCH
from advtransfer.text import one_line, printable_text

RecordJson: TypeAlias = Mapping[str, Any]  # Any: JSON that `Run` has validated

CAUSES = (
    "suite",
    "options",
    "plugins",
    "libraries",
    "device",
    "processor",
    "threads",
    "data",
    "weights",
    "seeds",
    "battery",
    "name",
)
"""Kinds of difference, the likeliest first: what was asked, then code, machine, inputs and draws.

A suite's name is last, since no number depends on it.
"""

SETTINGS = (
    ("device", "device"),
    ("threads", "threads"),
    ("threads", "precision"),
    ("threads", "kernel_batch"),
    ("threads", HALVED_KERNEL_BATCH),
)
"""Kind and name of the settings of a run that records state beside their environment."""

MAX_TEXT = 200


class Cause(NamedTuple):
    """One difference between two sides."""

    kind: str
    what: str
    left: str
    right: str

    def __str__(self) -> str:
        return one_line(f"{self.kind}: {self.what}: {self.left} | {self.right}")


class RunSide(NamedTuple):
    """One side of a comparison: its plan, all its records by id, and its environments by digest."""

    plan: Plan
    records: Mapping[str, RecordJson]
    environments: Mapping[str, RecordJson]


TrialPair: TypeAlias = tuple[Trial, Trial]


def find_causes(
    left: RunSide, right: RunSide, pairs: Iterable[TrialPair], *, whole: bool
) -> list[Cause]:
    """Return every difference once, ordered by `CAUSES`.

    Args:
        left: The first side.
        right: The second side.
        pairs: The trials that correspond.
        whole: The runs are compared, and not two rows of them: the axes of their grids and the seeds of
            equal rows should then be equal.
    """
    pairs = list(pairs)
    causes: dict[Cause, None] = {}
    if whole:
        causes.update(dict.fromkeys(_axis_causes(left.plan, right.plan)))
        causes.update(dict.fromkeys(_seed_causes(left.plan, right.plan)))
    for pair in pairs:
        for role, ids in _roles(left, right, pair):
            records = (left.records.get(ids[0]), right.records.get(ids[1]))
            if records[0] is None or records[1] is None:
                continue
            found = _record_causes(role, records[0], records[1], left, right)
            causes.update(dict.fromkeys(found))
    return sorted(_grouped(causes), key=lambda cause: CAUSES.index(cause.kind))


def _grouped(causes: Iterable[Cause]) -> Iterator[Cause]:
    """Yield one cause for all that name the same thing, with the values of the first."""
    by_name: dict[tuple[str, str], list[Cause]] = {}
    for cause in causes:
        by_name.setdefault((cause.kind, cause.what), []).append(cause)
    for group in by_name.values():
        more = f" (and {len(group) - 1} more)" if len(group) > 1 else ""
        yield group[0]._replace(what=f"{group[0].what}{more}")


def _axis_causes(left: Plan, right: Plan) -> Iterator[Cause]:
    if left.suite != right.suite:
        yield Cause("name", "suite", left.suite, right.suite)
    for axis in ("source", "adapter", "target", "n", "transfer", "evaluation"):
        labels = [_axis_labels(plan, axis) for plan in (left, right)]
        if labels[0] != labels[1]:
            only = [", ".join(sorted(one - other)) for one, other in (labels, labels[::-1])]
            yield Cause("suite", f"{axis} of one side only", only[0] or "-", only[1] or "-")


def _axis_labels(plan: Plan, axis: str) -> set[str]:
    labels: set[str] = set()
    for trial in plan.trials:
        if axis == "evaluation":
            labels |= trial.evaluations.keys()
        elif axis == "source":
            labels.add(str(trial.row))
        else:
            labels.add(str(getattr(trial, axis)))
    return labels


def _seed_causes(left: Plan, right: Plan) -> Iterator[Cause]:
    seeds = [_seeds_by_row(plan) for plan in (left, right)]
    for row in seeds[0].keys() & seeds[1].keys():
        if seeds[0][row] != seeds[1][row]:
            texts = [", ".join(map(str, sorted(each[row]))) for each in seeds]
            yield Cause("seeds", "training and subset seed of each trial of a row", *texts)


def _seeds_by_row(plan: Plan) -> dict[tuple[object, ...], set[tuple[int, int]]]:
    seeds: dict[tuple[object, ...], set[tuple[int, int]]] = {}
    for trial in plan.trials:
        row = (trial.row, trial.adapter, trial.target, trial.n, trial.transfer)
        seeds.setdefault(row, set()).add((trial.replicate or 0, trial.seed))
    return seeds


def _roles(left: RunSide, right: RunSide, pair: TrialPair) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield what a record is in a trial, and its ids on both sides."""
    fits = [side.records.get(trial.id) for side, trial in zip((left, right), pair, strict=True)]
    sources = [str((fit or {}).get("asked", {}).get("inputs", {}).get("source")) for fit in fits]
    names = [str(trial.row) for trial in pair]
    yield f"source {_both(names)}", (sources[0], sources[1])
    transfers = [trial.transfer for trial in pair]
    yield f"transfer {_both(transfers)}", (pair[0].id, pair[1].id)
    for label in sorted(pair[0].evaluations.keys() & pair[1].evaluations.keys()):
        results = [trial.evaluations[label] for trial in pair]
        for ids in zip(*results, strict=False):
            yield f"evaluation {label}", (ids[0], ids[1])
            batteries = [
                _battery_id(side.records.get(id))
                for side, id in zip((left, right), ids, strict=True)
            ]
            yield f"battery of {label}", (batteries[0], batteries[1])


def _battery_id(record: RecordJson | None) -> str:
    named = (record or {}).get("battery")
    if isinstance(named, Mapping):
        return str(next(iter(sorted(named.values(), key=str)), ""))
    return str(named or "")


def _both(names: list[str]) -> str:
    return names[0] if names[0] == names[1] else f"{names[0]} | {names[1]}"


def _record_causes(
    role: str, left: RecordJson, right: RecordJson, left_side: RunSide, right_side: RunSide
) -> Iterator[Cause]:
    """Yield the differences between two records of one role."""
    is_battery = left["kind"] == right["kind"] == "battery"
    yield from _asked_causes(role, left, right, kind="battery" if is_battery else "options")
    yield from _plugin_causes(left, right)
    yield from _environment_causes(left, right, left_side, right_side)
    yield from _input_causes(role, left, right)


def _asked_causes(role: str, left: RecordJson, right: RecordJson, *, kind: str) -> Iterator[Cause]:
    asked = (left["asked"], right["asked"])
    if asked[0]["use"] != asked[1]["use"]:
        yield Cause(kind, f"{role}, component", asked[0]["use"], asked[1]["use"])
        return
    options = [_flatten_options(each["options"]) for each in asked]
    for name in sorted(options[0].keys() | options[1].keys()):
        values = [_short_text(each.get(name, "not set")) for each in options]
        # A tagged union that is null has no options of its own.
        if values[0] != values[1] and {*values} != {"null", "not set"}:
            # The seed of a training is an option of its source.
            is_seed = name == "seed" and left["kind"] == "source"
            yield Cause("seeds" if is_seed else kind, f"{role}, {name}", *values)
    if asked[0]["version"] != asked[1]["version"]:
        versions = [str(each["version"]) for each in asked]
        part = "battery" if kind == "battery" else "plugins"
        yield Cause(part, f"version of {asked[0]['use']}", *versions)
    data = [_data_digests(record) for record in (left, right)]
    for name, what in (("subset", "subset"), ("test", "test part")):
        ids = [str(each["inputs"].get(name)) for each in asked]
        # The seed of a subset is part of its id, and is compared with the trials.
        same_data = data[0].get("train") == data[1].get("train")
        if name == "test" and ids[0] != ids[1] and not _are_batteries(left, right):
            yield Cause("options", f"target, {what}", ids[0][:12], ids[1][:12])
        if name == "subset" and ids[0] != ids[1] and same_data and _same_seed(left, right):
            yield Cause("options", f"target, {what} or validation", ids[0][:12], ids[1][:12])


def _are_batteries(left: RecordJson, right: RecordJson) -> bool:
    """Return whether two records are batteries, whose test part is that of their result."""
    return bool(left["kind"] == right["kind"] == "battery")


def _same_seed(left: RecordJson, right: RecordJson) -> bool:
    """Return whether the trials of two fits are named with the same seed."""
    names = [str(each["observed"].get("asked_by", {}).get("name")) for each in (left, right)]
    seeds = [name.rpartition(" seed=")[2].partition(" ")[0] for name in names]
    return seeds[0] == seeds[1]


def _plugin_causes(left: RecordJson, right: RecordJson) -> Iterator[Cause]:
    plugins = [record["provenance"]["plugin"] for record in (left, right)]
    name = str(plugins[0].get("name"))
    if name != plugins[1].get("name"):
        return
    for field in ("distribution", "version"):
        values = [_short_text(plugin.get(field)) for plugin in plugins]
        if values[0] != values[1]:
            yield Cause("plugins", f"{field} of {name}", *values)
    code = [record["observed"].get("code") or {} for record in (left, right)]
    for plugin in sorted(code[0].keys() & code[1].keys()):
        if code[0][plugin] != code[1][plugin]:
            digests = [str(each[plugin])[:12] for each in code]
            yield Cause("plugins", f"code of {plugin}", *digests)


def _environment_causes(
    left: RecordJson, right: RecordJson, left_side: RunSide, right_side: RunSide
) -> Iterator[Cause]:
    provenance = (left["provenance"], right["provenance"])
    for kind, field in SETTINGS:
        values = [_short_text(each.get(field)) for each in provenance]
        if values[0] != values[1]:
            yield Cause(kind, field, *values)
    environments = [
        _flatten_options(side.environments.get(str(each.get("environment")), {}))
        for side, each in zip((left_side, right_side), provenance, strict=True)
    ]
    for name in sorted(environments[0].keys() | environments[1].keys()):
        values = [_short_text(each.get(name, "not recorded")) for each in environments]
        if values[0] != values[1] and name not in (field for _, field in SETTINGS):
            is_machine = name.partition(".")[0] in ("machine", "processor", "system")
            what = name.removeprefix("libraries.")
            yield Cause("processor" if is_machine else "libraries", what, *values)


def _input_causes(role: str, left: RecordJson, right: RecordJson) -> Iterator[Cause]:
    data = [_data_digests(record) for record in (left, right)]
    for name in sorted(data[0].keys() & data[1].keys()):
        # What is drawn from other seeds differs with them.
        is_drawn = name in ("subset", "validation") and not _same_seed(left, right)
        if data[0][name] != data[1][name] and not is_drawn:
            digests = [str(each[name])[:12] for each in data]
            yield Cause("data", f"{role}, {name} part", *digests)
    if left["kind"] in ("source", "fit"):
        weights = [
            str((record.get("weights") or {}).get("digest"))[:12] for record in (left, right)
        ]
        if weights[0] != weights[1]:
            yield Cause("weights", role, *weights)


def _data_digests(record: RecordJson) -> Mapping[str, Any]:  # Any: JSON
    data = record["provenance"].get("data")
    return data if isinstance(data, Mapping) else {}


def _flatten_options(value: object, prefix: str = "") -> dict[str, object]:
    """Return nested options as ``{"optimiser.lr": 0.1}``."""
    if not isinstance(value, Mapping):
        return {prefix.removesuffix("."): value}
    flat: dict[str, object] = {}
    for name, each in value.items():
        flat |= _flatten_options(each, f"{prefix}{name}.")
    return flat


def _short_text(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return printable_text(text)[:MAX_TEXT]
