"""Facts that several records repeat: class shares, digests of data and weights, the machine.

Nothing here can be computed from outcomes, but each fact is in more than one place: in the records of
all models on one test part, in a fit and in its results, in a record and in its environment, in a
submission and in its board. A forged one has to be forged everywhere, also in the board's file.
"""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from advtransfer.publication.replay_tolerances import read_tolerances
from advtransfer.result.evidence import is_snapshot, tells_clean_accuracy
from advtransfer.result.outcomes import SampleOutcomes, SampleSet, all_samples, read_outcomes
from advtransfer.result.record import HALVED_KERNEL_BATCH

RecordJson: TypeAlias = Mapping[str, Any]  # Any: JSON

LARGEST_CLASS = "largest_class"
IMAGES = "images"
WEIGHTS = "weights"
DATA_ROLES = ("test", "subset", "data")
"""Inputs whose data a record was made with, so that it has their digest."""
SUBSET_DATA_ROLES = ("train", "validation")
"""Data of a fit that follow from its subset: the whole training part, and what is held out."""
WEIGHT_ROLES = ("model", "source", "reference")
"""Inputs that are models, so that a record on them has the digest of their weights."""
MACHINE_FIELDS = ("device", "threads", "precision")
KERNEL_FIELDS = ("kernel_batch", HALVED_KERNEL_BATCH)
"""Fields that a record and its environment have only where a run named its kernel batch, or halved it."""
WHOLE_TOLERANCE = 1e-6
EARLIEST_START = 1577836800
"""The first second of 2020, before which there was nothing to measure with."""
SECONDS_OF_A_DAY = 86400
"""Clocks of machines differ, and time zones by less than this."""

Facts: TypeAlias = "dict[str, dict[str, str | float]]"
"""The facts of a board by the id of a target or subset: digests of data, images, the class share."""


class Fact(NamedTuple):
    """What one record says of something that other records are about too.

    Attributes:
        subject: Id of what it is about: a target, a subset, a source, a fit.
        name: `LARGEST_CLASS`, `IMAGES`, `WEIGHTS`, or ``data of ROLE``.
        value: A share, a number of images, or a digest.
        is_own: Whether the record is that of the subject itself.
    """

    subject: str
    name: str
    value: str | float
    is_own: bool = False


class FactFault(NamedTuple):
    """A record whose fact is not that of the others, or cannot be."""

    record: str
    text: str


def stated_facts(record: RecordJson) -> Iterator[Fact]:
    """Yield what a valid record says of things that other records are about too."""
    inputs, provenance = record["asked"]["inputs"], record["provenance"]
    for role, digest in provenance["data"].items():
        subject = inputs.get("subset" if role in SUBSET_DATA_ROLES else role)
        if isinstance(subject, str):
            yield Fact(subject, f"data of {role}", str(digest))
    is_model = record["kind"] in ("source", "fit")
    if is_model:
        yield Fact(record["id"], WEIGHTS, str(record["weights"]["digest"]), is_own=True)
    for role, digest in provenance.get("weights", {}).items():
        # The record of a source names its own weights, not those of a source that it was made from.
        subject = record["id"] if record["kind"] == "source" else inputs.get(role)
        if isinstance(subject, str):
            yield Fact(subject, WEIGHTS, str(digest))
    labels, test = record.get("labels"), inputs.get("test")
    if labels and isinstance(test, str):
        yield Fact(test, LARGEST_CLASS, labels["largest_class"])
    clean = _clean_metric(record)
    if labels and clean is not None and isinstance(test, str):
        yield Fact(test, IMAGES, record["outcomes"][clean]["of"])
    if record["kind"] == "battery" and isinstance(test, str):
        yield Fact(test, IMAGES, record["of"])


def board_facts(records: Iterable[RecordJson], subjects: Iterable[str]) -> Facts:
    """Return what most records say of the targets and subsets of a board.

    Args:
        records: The records of a submission.
        subjects: The ids of the board's targets and subsets.
    """
    known = set(subjects)
    counts: dict[tuple[str, str], Counter[str | float]] = defaultdict(Counter)
    for record in records:
        for fact in stated_facts(record):
            if fact.subject in known:
                counts[fact.subject, fact.name][fact.value] += 1
    facts: Facts = {}
    for (subject, name), values in sorted(counts.items()):
        facts.setdefault(subject, {})[name] = _most_common(values)
    return facts


def _most_common(values: Counter[str | float]) -> str | float:
    # The smaller one of two that are equally frequent, whatever the order of the records.
    return min(values, key=lambda value: (-values[value], str(value)))


def fact_faults(
    records: Iterable[RecordJson],
    environments: Mapping[str, RecordJson],
    board: Mapping[str, Mapping[str, str | float]] | None,
) -> Iterator[FactFault]:
    """Yield the records whose facts disagree with others, their environment, or the board.

    Args:
        records: The valid records of a submission.
        environments: Their environments, by digest.
        board: The facts of the board; None where this checkout has no file of it.
    """
    listed = list(records)
    stated: dict[tuple[str, str], list[tuple[str, Fact]]] = defaultdict(list)
    for record in listed:
        yield from _machine_faults(record, environments)
        yield from _missing_faults(record)
        yield from _time_faults(record)
        for fact in stated_facts(record):
            stated[fact.subject, fact.name].append((record["id"], fact))
    for (subject, name), claims in stated.items():
        known = (board or {}).get(subject, {}).get(name)
        yield from _disagreements(name, claims, known)
    yield from _label_faults(listed, stated, board)
    yield from _clean_error_faults(listed)


def _disagreements(
    name: str, claims: list[tuple[str, Fact]], known: str | float | None
) -> Iterator[FactFault]:
    """Yield the records that say something else than the board, the record itself, or most others."""
    own = next((fact.value for _, fact in claims if fact.is_own), None)
    if known is not None:
        expected, origin = known, "of the board"
    elif own is not None:
        expected, origin = own, "in the model's own record"
    else:
        expected = _most_common(Counter(fact.value for _, fact in claims))
        origin = "of the other records"
    for id, fact in claims:
        if fact.value != expected:
            found, wanted = _shown(fact.value), _shown(expected)
            yield FactFault(id, f"found {name} {found}; expected {wanted}, that {origin}")


def _shown(value: str | float) -> str:
    return value[:12] if isinstance(value, str) else f"{value:.6g}"


def _machine_faults(
    record: RecordJson, environments: Mapping[str, RecordJson]
) -> Iterator[FactFault]:
    """Yield settings in which a record differs from the environment that it names."""
    provenance = record["provenance"]
    environment = environments.get(provenance["environment"], {})
    for name in MACHINE_FIELDS:
        found = provenance.get(name)
        if name == "device":
            found = str(found).partition(":")[0]  # Environments are without the index of a GPU.
        if name in environment and found != environment[name]:
            text = f"found {name} {str(found)[:40]!r}; expected {str(environment[name])[:40]!r}"
            yield FactFault(record["id"], f"{text}, as its environment says")
    for name in KERNEL_FIELDS if environment else ():
        found, expected = provenance.get(name), environment.get(name)
        if found != expected:
            text = f"found {name} {str(found)[:40]}; expected {str(expected)[:40]}"
            yield FactFault(record["id"], f"{text}, as its environment says")


def _time_faults(record: RecordJson) -> Iterator[FactFault]:
    """Yield a time of measurement that cannot be, and from which a page would take its date."""
    started = record.get("observed", {}).get("started")
    latest = time.time() + SECONDS_OF_A_DAY
    if isinstance(started, int | float) and not EARLIEST_START <= started <= latest:
        text = f"found started {started:.6g}; expected seconds since 1970, of 2020 to now"
        yield FactFault(record["id"], text)


def _missing_faults(record: RecordJson) -> Iterator[FactFault]:
    """Yield digests that a record should have by its inputs, and has not."""
    inputs, provenance = record["asked"]["inputs"], record["provenance"]
    weights = provenance.get("weights", {})
    for role in inputs.keys() & set(DATA_ROLES) - provenance["data"].keys():
        yield FactFault(record["id"], f"found no digest of the data of {role}; expected one")
    if record["kind"] != "source":
        for role in inputs.keys() & set(WEIGHT_ROLES) - weights.keys():
            yield FactFault(record["id"], f"found no digest of the weights of {role}; expected one")


# --- class shares ---


class _Predictions(NamedTuple):
    """The images that a model is right on without attack, of one result."""

    record: str
    model: str
    one_class: bool
    correct: SampleSet


def _label_faults(
    records: Iterable[RecordJson],
    stated: Container[tuple[str, str]],
    board: Mapping[str, Mapping[str, str | float]] | None,
) -> Iterator[FactFault]:
    """Yield class shares that no test part can have, or that are missing beside others."""
    listed = list(records)
    by_test: dict[tuple[str, int], list[_Predictions]] = defaultdict(list)
    # One result with labels tells of its model; records of before labels stand beside others.
    labelled = {_model_and_test(record) for record in listed if record.get("labels")}
    for record in listed:
        clean = _clean_metric(record)
        if clean is None:
            continue
        (model, test), labels = _model_and_test(record), record.get("labels")
        if not labels:
            is_known = (test, LARGEST_CLASS) in stated
            if board is not None:
                is_known = LARGEST_CLASS in board.get(test, {})
            if is_known and (model, test) not in labelled:
                yield FactFault(record["id"], "found no labels; expected the share of a class")
            continue
        outcomes = read_outcomes(record["outcomes"][clean])
        correct = all_samples(outcomes.of) & ~outcomes.wrong
        yield from _share_faults(record["id"], labels, correct.bit_count(), outcomes.of)
        predictions = _Predictions(record["id"], model, labels["one_class"], correct)
        by_test[test, outcomes.of].append(predictions)
    for each in by_test.values():
        yield from _constant_faults(each)


def _model_and_test(record: RecordJson) -> tuple[str, str]:
    inputs = record["asked"]["inputs"]
    return str(inputs.get("model")), str(inputs.get("test"))


def _clean_metric(record: RecordJson) -> str | None:
    """Return the metric of a result that tells the clean accuracy of a fit; None without one."""
    if record["kind"] != "result" or "model" not in record["asked"]["inputs"]:
        return None
    return next(filter(tells_clean_accuracy, record["outcomes"]), None)


def _share_faults(id: str, labels: RecordJson, correct: int, of: int) -> Iterator[FactFault]:
    count = labels["largest_class"] * of
    if abs(count - round(count)) > WHOLE_TOLERANCE:
        text = f"found largest_class {labels['largest_class']:.6g}; expected a share of {of} images"
        yield FactFault(id, text)
    if labels["one_class"] and not 1 <= correct <= round(count):
        expected = f"1 to {round(count)}, those of a class"
        yield FactFault(id, f"found one_class with {correct} images right; expected {expected}")


def _constant_faults(predictions: Sequence[_Predictions]) -> Iterator[FactFault]:
    """Yield results whose `one_class` contradicts others: two classes share no image."""
    classes = {each.correct for each in predictions if each.one_class}
    # Of an image in two classes, one of both is none.
    in_any: SampleSet = 0
    in_several: SampleSet = 0
    for images in classes:
        in_several |= in_any & images
        in_any |= images
    by_model: dict[str, set[bool]] = defaultdict(set)
    for each in predictions:
        by_model[each.model].add(each.one_class)
    for each in predictions:
        if each.one_class and each.correct & in_several:
            text = "found one_class; expected images of one class, which no other class shares"
            yield FactFault(each.record, text)
        if not each.one_class and each.correct in classes:
            text = "found no one_class; expected it, as of another model that is right on the same images"
            yield FactFault(each.record, text)
        elif len(by_model[each.model]) > 1:
            text = "found another one_class than in other results of this model; expected one"
            yield FactFault(each.record, text)


# --- errors without attack ---


def _clean_error_faults(records: Iterable[RecordJson]) -> Iterator[FactFault]:
    """Yield records whose images wrong without attack are not those of most others on one model.

    Evaluations and batteries all say of one model which images it misclassifies without attack. On
    another machine an image may fall on the other side, so records of one environment have the same errors,
    and those of two differ in a few images.
    """
    by_model: dict[tuple[str, str, int], list[_CleanErrors]] = defaultdict(list)
    for record in records:
        for metric, packed in _outcomes_of_whole_test(record):
            outcomes = read_outcomes(packed)
            environment = record["provenance"]["environment"]
            errors = _CleanErrors(record["id"], metric, environment, outcomes)
            by_model[*_model_and_test(record), outcomes.of].append(errors)
    tolerance = read_tolerances().by_metric["clean_accuracy"]
    for (*_, of), listed in by_model.items():
        usual = _usual_errors(listed)
        by_environment: dict[str, list[_CleanErrors]] = defaultdict(list)
        for each in listed:
            by_environment[each.environment].append(each)
        for environment, own in by_environment.items():
            expected = _usual_errors(own)
            for each in own:
                if count := each.count_differences(expected):
                    text = (
                        f"found {each.metric} with {count} images right or wrong without attack "
                        "that are not in most outcomes of this model; expected the same errors in all"
                    )
                    yield FactFault(each.record, text)
                elif (count := each.count_differences(usual)) > tolerance * of:
                    text = (
                        f"found {each.metric} with {count} of {of} images right or wrong without attack in "
                        f"the environment {environment[:12]} that are not in most outcomes of this model; "
                        f"expected at most {tolerance:.2%} of them, by which machines may differ"
                    )
                    yield FactFault(each.record, text)


class _CleanErrors(NamedTuple):
    """The outcomes of a metric that tell which images a model misclassifies without attack."""

    record: str
    metric: str
    environment: str
    outcomes: SampleOutcomes

    def count_differences(self, expected: SampleSet | None) -> int:
        """Return the number of known images that are wrong here or in `expected`, and not in both."""
        if expected is None:
            return 0
        is_known = all_samples(self.outcomes.of) & ~self.outcomes.unknown
        return ((self.outcomes.wrong ^ expected) & is_known).bit_count()


def _usual_errors(listed: Iterable[_CleanErrors]) -> SampleSet | None:
    """Return the most frequent errors without attack; None where no outcomes are known of every image."""
    known = [each.outcomes for each in listed if not each.outcomes.unknown]
    counts = Counter(outcomes.wrong for outcomes in known)
    # Of two that are equally frequent the one with more errors: nobody forges these.
    return max(counts, key=lambda wrong: (counts[wrong], wrong.bit_count(), wrong), default=None)


def _outcomes_of_whole_test(record: RecordJson) -> Iterator[tuple[str, RecordJson]]:
    """Yield the outcomes of a record that tell which images a model misclassifies without attack."""
    if "model" not in record["asked"]["inputs"] or record.get("positions") is not None:
        return
    outcomes = record.get("outcomes", {})
    for metric, packed in outcomes.items():
        is_whole = packed["of"] == record.get("of", packed["of"])
        is_comparable = is_whole and not is_snapshot(metric, record.get("metrics", ()))
        is_clean = metric == "clean_accuracy" or tells_clean_accuracy(metric)
        if is_comparable and (record["kind"] == "battery" or is_clean):
            yield metric, packed
