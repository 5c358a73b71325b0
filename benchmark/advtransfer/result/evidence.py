"""Robust accuracies as they are read: the outcomes of an attack, folded with what batteries broke.

An adversarial example that the host has checked breaks its sample, whoever found it, so a robust
accuracy counts a sample only if neither its own evaluation nor a battery of the same model broke
it in the ball. A smaller ball of the same norm lies in the larger one, and its batteries count too. So do
the examples of others (`advtransfer.result.challenges`).
Records stay as they were measured: every page, question, event and line reads through this module.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from hashlib import sha256
from math import isclose
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from advtransfer.node import content_id
from advtransfer.statistics import wilson_interval
from advtransfer.types import Check, Outcome
from advtransfer.types.metric_names import CLAIM_PREFIX, WORST_LABELS, attack_name

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    OutcomeArray: TypeAlias = npt.NDArray[np.uint8]
    """Values of `Outcome` in test order, ``(N,)``."""
    PositionArray: TypeAlias = npt.NDArray[np.int64]

RecordJson: TypeAlias = Mapping[str, Any]
"""A record as parsed JSON. Any: fields differ by kind of record."""

ROBUST, BROKEN, UNKNOWN, WRONG = (
    int(outcome) for outcome in (Outcome.ROBUST, Outcome.BROKEN, Outcome.UNKNOWN, Outcome.WRONG)
)
"""The outcomes as numbers: numpy compares an array with a member of an enum many times slower."""

BATTERY_VERSIONS: Mapping[str, int] = {"linf": 5, "l2": 5, "l1": 5}
"""Version of the battery in each norm.

It is raised whenever the same model would get other outcomes or checks in that norm; records in the
other norms stay current.
"""

BATTERY_SIZE_NAMES = ("small", "full")

CHECKED_EXAMPLES_VERSION = 3
"""First version of the battery whose records name the attacked positions, and whose breaks rest on
examples that were checked in float64."""

RADIUS_TOLERANCE = 1e-5
"""Relative difference of radii that are equal: metric names hold them with six digits."""


class Ball(NamedTuple):
    """A norm ball around each image; `eps` is in the unit of the inputs."""

    norm: str
    eps: float

    def contains(self, other: Ball) -> bool:
        """Return whether the other ball has the same norm and no larger radius."""
        return self.norm == other.norm and other.eps <= self.eps * (1 + RADIUS_TOLERANCE)

    def equals(self, other: Ball) -> bool:
        """Return whether norm and radius agree."""
        return self.norm == other.norm and isclose(self.eps, other.eps, rel_tol=RADIUS_TOLERANCE)


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


class Share(NamedTuple):
    """A share of test images: unknown outcomes count as broken in `low`, as robust in `high`."""

    low: float
    high: float
    of: int


@dataclass(frozen=True, slots=True)
class BatteryEvidence:
    """The samples of one model that a battery attacked and broke.

    Attributes:
        ball: The ball of the battery.
        version: Version of the battery.
        of: Number of test samples.
        positions: Attacked positions in the test part, ``(B,)``.
        is_broken: Whether any attack broke the sample at each position, ``(B,)``.
        is_wrong: Whether the sample at each position is wrong without attack, ``(B,)``.
        checks: Checks of the model.
        images: Digest of the test part and the attacked positions.
        id: Id of the battery's record.
        broken_positions: Positions in the test part of the broken samples.
        wrong_positions: Positions in the test part of the samples that are wrong without attack.
        is_in_order: Whether all samples were attacked, in test order.
    """

    ball: Ball
    version: int
    of: int
    positions: PositionArray
    is_broken: npt.NDArray[np.bool_]
    is_wrong: npt.NDArray[np.bool_]
    checks: tuple[Check, ...] = ()
    images: str = ""
    id: str = ""
    broken_positions: PositionArray = field(init=False)
    wrong_positions: PositionArray = field(init=False)
    is_in_order: bool = field(init=False)

    def __post_init__(self) -> None:
        """Find the positions once: every result on the model reads them."""
        in_order = len(self.positions) == self.of and _is_in_order(self.positions)
        object.__setattr__(self, "broken_positions", self.positions[self.is_broken])
        object.__setattr__(self, "wrong_positions", self.positions[self.is_wrong])
        object.__setattr__(self, "is_in_order", in_order)

    def attacked(self, outcomes: OutcomeArray) -> OutcomeArray:
        """Return the outcomes at the attacked positions, ``(B,)``."""
        if self.is_in_order and len(outcomes) == self.of:
            return outcomes
        return outcomes[self.positions]

    def missed_count(self, outcomes: OutcomeArray) -> int:
        """Return how many broken samples an evaluation left robust or unknown."""
        import numpy as np

        before = outcomes[self.broken_positions]
        return int(np.count_nonzero((before == ROBUST) | (before == UNKNOWN)))


@dataclass(frozen=True, slots=True)
class FoldedResult:
    """The outcomes of one result record after the fold.

    Attributes:
        outcomes: Outcomes of each share, by metric, ``(N,)``: folded ones of robust accuracies,
            those of the attack alone as ``attack_accuracy*``, and others as recorded.
        probes: Probes of the robust accuracies, by metric; without images where no battery ran.
        balls: Balls of the robust accuracies, by metric, where they are known.
        batteries: Ids of the batteries whose breaks are folded in, by metric, sorted.
        newest: The newest battery in the ball of each metric of `balls`, None where none ran.
    """

    outcomes: Mapping[str, OutcomeArray]
    probes: Mapping[str, Probe] = field(default_factory=dict)
    balls: Mapping[str, Ball] = field(default_factory=dict)
    batteries: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    newest: Mapping[str, BatteryEvidence | None] = field(default_factory=dict)

    @property
    def shares(self) -> dict[str, Share]:
        """The share of robust samples of each metric."""
        return {name: outcome_share(outcomes) for name, outcomes in self.outcomes.items()}


def battery_version(norm: str) -> int:
    """Return the version of today's battery in a norm; in one without attacks, that of most norms."""
    return BATTERY_VERSIONS.get(norm, BATTERY_VERSIONS["linf"])


def battery_ball(record: RecordJson) -> Ball:
    """Return the ball of a battery record."""
    options = record["asked"]["options"]
    return Ball(str(options["norm"]), float(options["eps"]))


def current_battery_id(record: RecordJson, size: str) -> str:
    """Return the id that the battery of a record has today, in this size."""
    asked = record["asked"]
    options = {**asked["options"], "size": size}
    # A record from elsewhere may name no norm.
    version = battery_version(str(options.get("norm", "")))
    return content_id({**asked, "version": version, "options": options})


class BatteryIndex:
    """The battery records of a run, and challenges of its models, found by model, test part and ball."""

    def __init__(self, batteries: Iterable[RecordJson]) -> None:
        self._balls: dict[str, Ball] = {}
        self._evidence: dict[tuple[str, str], list[BatteryEvidence]] = {}
        self._challenges: dict[tuple[str, str], list[BatteryEvidence]] = {}
        for record in batteries:
            self.add(record)

    def add(self, record: RecordJson) -> None:
        """Add the record of a battery."""
        options = record["asked"]["options"]
        if "norm" not in options or "eps" not in options:
            return
        ball = battery_ball(record)
        self._balls[str(record["id"])] = ball
        evidence = read_battery(record, ball)
        if evidence is not None:
            self._evidence.setdefault(_model_and_test(record), []).append(evidence)

    def add_broken(
        self, *, model: str, test: str, ball: Ball, of: int, positions: Iterable[int]
    ) -> None:
        """Add samples of a fit that examples of others broke, at positions in a test part of `of`."""
        import numpy as np

        broken = np.array(list(positions), dtype=np.int64)
        is_broken = np.ones(len(broken), dtype=np.bool_)
        # Of no version: a challenge chooses its samples, so nothing follows from those it left.
        evidence = BatteryEvidence(ball, 0, of, broken, is_broken, ~is_broken)
        self._challenges.setdefault((model, test), []).append(evidence)

    def named_ball(self, id: str) -> Ball | None:
        """Return the ball of the battery record with this id, also of an old version."""
        return self._balls.get(id)

    def within(self, result: RecordJson, ball: Ball) -> list[BatteryEvidence]:
        """Return the evidence on a result's model in balls that lie in `ball`, challenges included."""
        evidence = [*self._of_model(result), *self._challenges.get(_model_and_test(result), ())]
        return [each for each in evidence if ball.contains(each.ball)]

    def at(self, result: RecordJson, ball: Ball) -> BatteryEvidence | None:
        """Return the newest evidence on a result's model in this ball, of that the largest."""
        same_ball = [each for each in self._of_model(result) if ball.equals(each.ball)]
        return max(same_ball, key=lambda each: (each.version, len(each.positions)), default=None)

    def _of_model(self, result: RecordJson) -> list[BatteryEvidence]:
        return self._evidence.get(_model_and_test(result), [])


def _model_and_test(record: RecordJson) -> tuple[str, str]:
    inputs = record["asked"]["inputs"]
    return str(inputs.get("model")), str(inputs.get("test"))


def read_battery(record: RecordJson, ball: Ball) -> BatteryEvidence | None:
    """Return what a battery broke; None for a record that does not say at which positions."""
    import numpy as np

    version = int(record["asked"]["version"])
    if version < CHECKED_EXAMPLES_VERSION or "positions" not in record:
        return None
    of = int(record["of"])
    positions = record["positions"]
    attacked = _all_positions(of) if positions is None else np.array(positions, dtype=np.int64)
    is_broken = np.zeros(len(attacked), dtype=np.bool_)
    # Without any outcomes nothing was attacked, since no sample is right without attack.
    is_wrong = np.ones(len(attacked), dtype=np.bool_)
    for packed in record["outcomes"].values():
        outcomes = unpack_array(packed)
        if len(outcomes) != len(attacked):
            return None
        is_broken |= outcomes == BROKEN
        is_wrong &= outcomes == WRONG
    checks = tuple(Check(**check) for check in record["checks"])
    test = str(record["asked"]["inputs"].get("test"))
    images = _whole_digest(test, of) if positions is None else _digest_of(test, attacked)
    id = str(record["id"])
    return BatteryEvidence(ball, version, of, attacked, is_broken, is_wrong, checks, images, id)


@lru_cache(maxsize=8)
def _all_positions(of: int) -> PositionArray:
    """Return the positions of all of a test part's samples, one array for all of its batteries."""
    import numpy as np

    positions = np.arange(of)
    positions.setflags(write=False)
    return positions


def _is_in_order(positions: PositionArray) -> bool:
    import numpy as np

    everything = _all_positions(len(positions))
    return positions is everything or np.array_equal(positions, everything)


@lru_cache(maxsize=64)
def _whole_digest(test: str, of: int) -> str:
    """Return `_digest_of` a whole test part."""
    return _digest_of(test, _all_positions(of))


def _digest_of(test: str, positions: PositionArray) -> str:
    return _images_digest(test, positions.astype("<i8").tobytes())


@lru_cache(maxsize=64)
def _images_digest(test: str, positions: bytes) -> str:
    """Return the digest of a test part and positions in it, which many batteries share."""
    return sha256(test.encode() + positions).hexdigest()


def unpack_array(packed: RecordJson) -> OutcomeArray:
    """Return packed outcomes as an array, ``(N,)``, which is not to be changed."""
    return _unpacked(str(packed["packed"]), int(packed["of"]))


@lru_cache(maxsize=32)
def _unpacked(packed: str, of: int) -> OutcomeArray:
    """Unpack outcomes: the fold and the checks of one result read the same ones in turn."""
    import numpy as np

    bits = np.frombuffer(zlib.decompress(base64.b64decode(packed)), dtype=np.uint8)
    values = _outcomes_of_bytes()[bits].reshape(-1)[:of]
    values.setflags(write=False)
    return values


@cache
def _outcomes_of_bytes() -> OutcomeArray:
    """Return the four outcomes in each byte ``(256, 4)``, two bits each, the lowest bits first."""
    import numpy as np

    bits = np.arange(256, dtype=np.uint8)[:, None] >> np.array([0, 2, 4, 6], dtype=np.uint8)
    return (bits & 3).astype(np.uint8)


def outcome_share(outcomes: OutcomeArray) -> Share:
    """Return the share of robust samples."""
    import numpy as np

    of = len(outcomes)
    robust = int(np.count_nonzero(outcomes == ROBUST))
    unknown = int(np.count_nonzero(outcomes == UNKNOWN))
    return Share(robust / of, (robust + unknown) / of, of)


def fold_result(record: RecordJson, batteries: BatteryIndex) -> FoldedResult:
    """Return the outcomes of a result record, with its robust accuracies folded."""
    recorded = {name: unpack_array(packed) for name, packed in record.get("outcomes", {}).items()}
    outcomes: dict[str, OutcomeArray] = {}
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
        probes[name] = Probe("", 0, len(values), 0)
        if ball is not None:
            balls[name] = ball
            within = batteries.within(record, ball)
            outcomes[name] = fold_outcomes(values, within)
            ids[name] = tuple(sorted(each.id for each in within))
            newest[name] = batteries.at(record, ball)
            probes[name] = probe_outcomes(record, values, newest[name])
    return FoldedResult(outcomes, probes, balls, ids, newest)


def fold_outcomes(outcomes: OutcomeArray, evidence: Iterable[BatteryEvidence]) -> OutcomeArray:
    """Return outcomes in which every robust or unknown sample that a battery broke is broken."""
    folded = outcomes.copy()
    for battery in evidence:
        if battery.of == len(folded):
            broken = battery.broken_positions
            # A sample that is wrong without attack stays wrong: clean accuracy is not folded.
            broken = broken[folded[broken] != WRONG]
            folded[broken] = BROKEN
    return folded


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


def probe_outcomes(
    record: RecordJson, alone: OutcomeArray, battery: BatteryEvidence | None
) -> Probe:
    """Return the probe of outcomes of an attack alone by a battery in the same ball."""
    of = len(alone)
    if battery is None or battery.of != of:
        return Probe("", 0, of, 0)
    missed = battery.missed_count(alone)
    test = str(record["asked"]["inputs"].get("test"))
    images = battery.images or _digest_of(test, battery.positions)
    return Probe(images, len(battery.positions), of, missed)


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
    import numpy as np

    labels = record.get("labels")
    outcomes = record.get("outcomes", {})
    clean = next((name for name in outcomes if tells_clean_accuracy(name)), None)
    if not labels or clean is None:
        return None
    values = unpack_array(outcomes[clean])
    correct, of = int(np.count_nonzero(values != WRONG)), len(values)
    if labels["one_class"]:
        return (
            "its predictions are those of a constant: it is right on all images of one class only"
        )
    # The lower end of a two-sided 90 % interval leaves 5 % below it: a one-sided 95 % bound.
    if wilson_interval(correct, of, confidence=0.9)[0] > labels["largest_class"]:
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
