"""What the batteries of a run broke, found by model, test part and ball."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from math import isclose
from typing import Any, NamedTuple, TypeAlias

from advtransfer.node import content_id
from advtransfer.result.outcomes import (
    SampleOutcomes,
    SampleSet,
    all_samples,
    read_outcomes,
    sample_positions,
    samples_at,
)
from advtransfer.types import Check

RecordJson: TypeAlias = Mapping[str, Any]
"""A record as parsed JSON. Any: fields differ by kind of record."""

BATTERY_VERSIONS: Mapping[str, int] = {"linf": 8, "l2": 8, "l1": 8}
"""Version of the battery in each norm.

It is raised whenever the same model would get other outcomes or checks in that norm; records in the
other norms stay current.
"""

BATTERY_SIZE_NAMES = ("small", "full")

PROBED_IMAGES = 1000
"""Test images that a battery attacks, a fixed draw; all of them where there are fewer."""

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
class BatteryEvidence:
    """The samples of one model that a battery attacked and broke.

    Attributes:
        ball: The ball of the battery.
        version: Version of the battery.
        of: Number of test samples.
        attacked: The attacked samples.
        broken: Those of them that any attack broke.
        wrong: Those of them that are wrong without attack.
        checks: Checks of the model.
        images: Digest of the test part and the attacked positions; empty unless read from a record.
        id: Id of the battery's record.
    """

    ball: Ball
    version: int
    of: int
    attacked: SampleSet
    broken: SampleSet
    wrong: SampleSet
    checks: tuple[Check, ...] = ()
    images: str = ""
    id: str = ""

    @property
    def attacked_count(self) -> int:
        """Number of attacked samples."""
        return self.attacked.bit_count()

    def missed_count(self, outcomes: SampleOutcomes) -> int:
        """Return how many broken samples an evaluation left robust or unknown."""
        return (self.broken & (outcomes.robust | outcomes.unknown)).bit_count()


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
        self, *, model: str, test: str, ball: Ball, of: int, positions: Sequence[int]
    ) -> None:
        """Add samples of a fit that examples of others broke, at positions in a test part of `of`."""
        broken = samples_at(positions, of)
        # Of no version: a challenge chooses its samples, so nothing follows from those it left.
        evidence = BatteryEvidence(ball, 0, of, attacked=broken, broken=broken, wrong=0)
        self._challenges.setdefault((model, test), []).append(evidence)

    def named_ball(self, id: str) -> Ball | None:
        """Return the ball of the battery record with this id, also of an old version."""
        return self._balls.get(id)

    def within(self, result: RecordJson, ball: Ball) -> list[BatteryEvidence]:
        """Return the evidence on a result's model in balls that lie in `ball`, challenges included."""
        key = _model_and_test(result)
        evidence = (*self._evidence.get(key, ()), *self._challenges.get(key, ()))
        return [each for each in evidence if ball.contains(each.ball)]

    def at(self, result: RecordJson, ball: Ball) -> BatteryEvidence | None:
        """Return the newest evidence on a result's model in this ball, of that the largest."""
        evidence = self._evidence.get(_model_and_test(result), ())
        same_ball = [each for each in evidence if ball.equals(each.ball)]
        if len(same_ball) == 1:
            return same_ball[0]
        return max(same_ball, key=lambda each: (each.version, each.attacked_count), default=None)


def _model_and_test(record: RecordJson) -> tuple[str, str]:
    inputs = record["asked"]["inputs"]
    return str(inputs.get("model")), str(inputs.get("test"))


def read_battery(record: RecordJson, ball: Ball) -> BatteryEvidence | None:
    """Return what a battery broke; None for a record that does not say at which positions."""
    version = int(record["asked"]["version"])
    if version < CHECKED_EXAMPLES_VERSION or "positions" not in record:
        return None
    of = int(record["of"])
    positions = record["positions"]
    count = of if positions is None else len(positions)
    broken = 0
    # Without any outcomes nothing was attacked, since no sample is right without attack.
    wrong = all_samples(count)
    for packed in record["outcomes"].values():
        outcomes = read_outcomes(packed)
        if outcomes.of != count:
            return None
        broken |= outcomes.broken
        wrong &= outcomes.wrong
    test = str(record["asked"]["inputs"].get("test"))
    if positions is None:
        attacked, images = all_samples(of), _whole_digest(test, of)
    else:
        attacked, images = samples_at(positions, of), _images_digest(test, tuple(positions))
        broken = samples_at([positions[place] for place in sample_positions(broken)], of)
        wrong = samples_at([positions[place] for place in sample_positions(wrong)], of)
    checks = tuple(Check(**check) for check in record["checks"])
    id = str(record["id"])
    return BatteryEvidence(ball, version, of, attacked, broken, wrong, checks, images, id)


@lru_cache(maxsize=64)
def _whole_digest(test: str, of: int) -> str:
    """Return `_images_digest` of a whole test part."""
    return _images_digest(test, tuple(range(of)))


@lru_cache(maxsize=64)
def _images_digest(test: str, positions: tuple[int, ...]) -> str:
    """Return the digest of a test part and positions in it, which many batteries share."""
    packed = struct.pack(f"<{len(positions)}q", *positions)
    return sha256(test.encode() + packed).hexdigest()
