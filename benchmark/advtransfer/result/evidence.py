"""Robust accuracies as they are read: the outcomes of an attack, folded with what batteries broke.

An adversarial example that the host has checked breaks its sample, whoever found it, so a robust
accuracy counts a sample only if neither its own evaluation nor a battery of the same model broke
it in the ball. A smaller ball of the same norm lies in the larger one, and its batteries count too. So do
the examples of others (`advtransfer.result.challenges`).
Records stay as they were measured: every page, question, event and line reads through this module.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, reduce
from operator import and_

from advtransfer.result.battery_index import Ball, BatteryEvidence, BatteryIndex, RecordJson
from advtransfer.result.outcomes import (
    SampleOutcomes,
    SampleSet,
    Share,
    read_outcomes,
    worst_outcomes,
)
from advtransfer.statistics import wilson_interval
from advtransfer.types.metric_names import (
    CLAIM_PREFIX,
    UNION_ACCURACY,
    WORST_LABELS,
    attack_name,
)


@dataclass(frozen=True, slots=True)
class Probe:
    """Extent and result of the host's own attacks behind one robust accuracy.

    Attributes:
        images: Digest of the test part and the attacked positions, empty without a battery.
        count: Number of images that a battery attacked.
        of: Number of test images.
        missed: Images among them that a battery broke and the evaluation did not.
    """

    images: str
    count: int
    of: int
    missed: int

    @property
    def is_complete(self) -> bool:
        """Whether every test image was attacked: else the accuracy is an upper bound."""
        return 0 < self.count == self.of

    @property
    def missed_share(self) -> float | None:
        """Share of the attacked images that the evaluation missed, None without a battery."""
        return self.missed / self.count if self.count else None


@dataclass(frozen=True, slots=True)
class FoldedResult:
    """The outcomes of one result record after the fold.

    Attributes:
        outcomes: Outcomes of each share, by metric: folded ones of robust accuracies, those of the
            attack alone as ``attack_accuracy*``, and others as recorded.
        probes: Probes of the robust accuracies, by metric; without images where no battery ran.
        balls: Balls of the robust accuracies, by metric, where they are known.
        batteries: Ids of the batteries whose breaks are folded in, by metric, sorted.
        newest: The newest battery in the ball of each metric of `balls`, None where none ran.
    """

    outcomes: Mapping[str, SampleOutcomes]
    probes: Mapping[str, Probe] = field(default_factory=dict)
    balls: Mapping[str, Ball] = field(default_factory=dict)
    batteries: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    newest: Mapping[str, BatteryEvidence | None] = field(default_factory=dict)

    @property
    def shares(self) -> dict[str, Share]:
        """The share of robust samples of each metric."""
        return {name: outcomes.share for name, outcomes in self.outcomes.items()}


def fold_result(record: RecordJson, batteries: BatteryIndex) -> FoldedResult:
    """Return the outcomes of a result record, with its robust accuracies folded."""
    recorded = {name: read_outcomes(packed) for name, packed in record.get("outcomes", {}).items()}
    outcomes: dict[str, SampleOutcomes] = {}
    probes: dict[str, Probe] = {}
    balls: dict[str, Ball] = {}
    ids: dict[str, tuple[str, ...]] = {}
    newest: dict[str, BatteryEvidence | None] = {}
    for name, values in recorded.items():
        outcomes[name] = values
        if not name.startswith(CLAIM_PREFIX):
            continue
        outcomes[attack_name(name)] = values
        ball = None if is_snapshot(name, recorded) else claimed_ball(record, name, batteries)
        if ball is not None and ball.eps == 0:
            continue  # no robustness is claimed at radius 0
        probes[name] = Probe("", 0, values.of, 0)
        if ball is not None:
            balls[name] = ball
            within = batteries.within(record, ball)
            outcomes[name] = fold_outcomes(values, within)
            ids[name] = tuple(sorted(each.id for each in within))
            newest[name] = batteries.at(record, ball)
            probes[name] = probe_outcomes(values, newest[name])
    if UNION_ACCURACY in recorded:
        claims = [name for name in probes if not is_snapshot(name, recorded)]
        union = worst_outcomes([outcomes[name] for name in (UNION_ACCURACY, *claims)])
        outcomes[UNION_ACCURACY] = union
        ids[UNION_ACCURACY] = tuple(sorted({id for name in claims for id in ids.get(name, ())}))
        missed = union.broken & ~recorded[UNION_ACCURACY].broken
        evidence = [newest.get(name) for name in claims]
        probes[UNION_ACCURACY] = _union_probe(evidence, union.of, missed)
    return FoldedResult(outcomes, probes, balls, ids, newest)


def _union_probe(evidence: Sequence[BatteryEvidence | None], of: int, missed: SampleSet) -> Probe:
    """Return the probe of a union of balls: only an image that the battery of every ball attacked is probed.

    Today's batteries attack the same images in every ball; those of an earlier version may not.

    Args:
        evidence: The newest battery in each ball, None where none ran.
        of: Number of test images.
        missed: Images that are broken in a ball and that the evaluation did not break.
    """
    batteries = [each for each in evidence if each is not None and each.of == of]
    if not batteries or len(batteries) < len(evidence):
        return Probe("", 0, of, 0)
    attacked = reduce(and_, (each.attacked for each in batteries))
    images = " ".join(sorted({each.images for each in batteries}))
    if not attacked:
        return Probe("", 0, of, 0)
    return Probe(images, attacked.bit_count(), of, (missed & attacked).bit_count())


def fold_outcomes(outcomes: SampleOutcomes, evidence: Iterable[BatteryEvidence]) -> SampleOutcomes:
    """Return outcomes in which every robust or unknown sample that a battery broke is broken."""
    broken = 0
    for battery in evidence:
        if battery.of == outcomes.of:
            broken |= battery.broken
    # A sample that is wrong without attack stays wrong: clean accuracy is not folded.
    return outcomes.with_broken(broken)


def claimed_ball(record: RecordJson, metric: str, batteries: BatteryIndex) -> Ball | None:
    """Return the ball of a robust accuracy: that of its battery, else the one its options name."""
    named = record.get("battery")
    id = named.get(metric) if isinstance(named, Mapping) else named
    ball = batteries.named_ball(str(id)) if id else None
    stated = _stated_eps(metric)
    if ball is not None and (stated is None or ball.equals(Ball(ball.norm, stated))):
        return ball
    # A run without batteries: attacks name their threat model by the options `norm` and `eps`.
    options = record["asked"]["options"]
    eps = options.get("eps") if stated is None else stated
    if options.get("norm") in WORST_LABELS and type(eps) in (int, float):
        return Ball(options["norm"], float(eps))
    return None


def probe_outcomes(alone: SampleOutcomes, battery: BatteryEvidence | None) -> Probe:
    """Return the probe of outcomes of an attack alone by a battery in the same ball."""
    if battery is None or battery.of != alone.of:
        return Probe("", 0, alone.of, 0)
    missed = battery.missed_count(alone)
    return _probe_of(battery.images, battery.attacked_count, alone.of, missed)


@lru_cache(maxsize=4096)
def _probe_of(images: str, count: int, of: int, missed: int) -> Probe:
    """Return a probe as one object for all results that have it."""
    return Probe(images, count, of, missed)


def is_snapshot(metric: str, metrics: Iterable[str]) -> bool:
    """Return whether a metric is that of an earlier epoch, which no battery attacks."""
    base, _, epoch = metric.rpartition("@")
    return epoch.isdigit() and base in metrics


@lru_cache(maxsize=256)
def _stated_eps(metric: str) -> float | None:
    """Return the radius in a metric's name, None where it states none."""
    try:
        return float(metric.partition("@")[2])
    except ValueError:
        return None


def unlearned_reason(record: RecordJson) -> str | None:
    """Return why a result's model did not learn its task, None where it did or nothing is known.

    Its clean accuracy must lie above the share of the largest class, by the one-sided 95 % bound
    of Wilson (1927). A model that predicts a constant never lies above it, and is named as such.
    """
    labels = record.get("labels")
    outcomes = record.get("outcomes", {})
    clean = next((name for name in outcomes if tells_clean_accuracy(name)), None)
    if not labels or clean is None:
        return None
    values = read_outcomes(outcomes[clean])
    correct = values.of - values.wrong.bit_count()
    if labels["one_class"]:
        return (
            "its predictions are those of a constant: it is right on all images of one class only"
        )
    # The lower end of a two-sided 90 % interval leaves 5 % below it: a one-sided 95 % bound.
    if wilson_interval(correct, values.of, confidence=0.9)[0] > labels["largest_class"]:
        return None
    share = labels["largest_class"]
    return f"its clean accuracy is not surely above {share:.3f}, the share of the largest class"


def labels_fault(labels: object) -> str | None:
    """Return what is wrong with the field ``labels`` of a result from elsewhere, or None."""
    if not isinstance(labels, Mapping) or type(labels.get("one_class")) is not bool:
        return f"found labels {str(labels)[:80]}; expected largest_class and one_class"
    share = labels.get("largest_class")
    # A bool is an int, and no share.
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
        return f"found largest_class {share!r}; expected a share"
    return None


def tells_clean_accuracy(metric: str) -> bool:
    """Return whether the wrong outcomes of a metric are the fitted model's errors without attack."""
    return metric == "accuracy" or metric.startswith(CLAIM_PREFIX)
