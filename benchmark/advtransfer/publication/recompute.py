"""Recomputation of what records say, from their outcomes and by the host's limits.

A record holds outcomes of images, and what was made of them when it was measured: shares, intervals,
checks with a grade, a verdict. Here all of it is made again. A grade is never read, and a limit only
where it depends on the images; so an edit must change the outcomes to change a number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, TypeAlias

from advtransfer.result.battery_index import (
    CHECKED_EXAMPLES_VERSION,
    PROBED_IMAGES,
    BatteryIndex,
    battery_version,
)
from advtransfer.result.comparison import (
    SATURATED_SHARE,
    STRONG_SHARE,
    SUSPICIOUS_SHARE,
    compare_outcomes,
    missed_limit,
    share_lower_bound,
    status_of_share,
)
from advtransfer.result.evidence import FoldedResult, claimed_ball, fold_result, is_snapshot
from advtransfer.result.outcome_validation import SHARE_TOLERANCE
from advtransfer.result.outcomes import read_outcomes
from advtransfer.result.record import battery_ids
from advtransfer.result.verdict import BATTERY_CHECKS, RULES_VERSION, base_name, verdict_from_checks
from advtransfer.types import Check, CheckStatus, Outcome
from advtransfer.types.metric_names import CLAIM_PREFIX

RecordJson: TypeAlias = Mapping[str, Any]  # Any: JSON

FAILS_ABOVE_ZERO = frozenset(
    {
        "legal_examples",
        "own_examples",
        "untouched",
        "eps_zero",
        "claimed_radius",
        "eval_mode",
        "box",
    }
)
"""Checks that count faults of which one is too many."""

SUSPICIOUS_ABOVE_ZERO = frozenset({"claims", "stochastic", "batch", "finite"})
"""Checks that count faults of which one is suspicious."""

SHARE_CHECKS = frozenset({"gradients", "derivatives", "continuity"})
"""Checks of a share of bad samples, with a second limit above which they fail."""

MASKING_CHECKS = ("noise", "single_step", "transferred", "smoothed", "rounded")
"""Checks of a battery whose value follows from its outcomes, with those of its ascent."""

LIMITS: Mapping[str, float] = {
    **dict.fromkeys(FAILS_ABOVE_ZERO | SUSPICIOUS_ABOVE_ZERO, 0),
    **dict.fromkeys(SHARE_CHECKS | {"finished"}, SUSPICIOUS_SHARE),
    "saturation": SATURATED_SHARE,
    **dict.fromkeys(MASKING_CHECKS, STRONG_SHARE),
    "logits": 1,
    "surrogate": SUSPICIOUS_SHARE,
}
"""The limits of the host, by check. `missed` has one of two; that of `huge_eps` depends on the images."""

MISSED_LIMITS = (STRONG_SHARE, SUSPICIOUS_SHARE)

CHANCE_TEXT = "guessing gives "


class RecordFault(NamedTuple):
    """A number of a record that is not what its outcomes give; `metric` may be empty."""

    metric: str
    text: str


@dataclass(slots=True)
class Recomputed:
    """What was made again of one result.

    Attributes:
        faults: Where the record says otherwise.
        shares: Number of shares with interval that were computed from outcomes.
        checks: Number of checks whose value was computed from outcomes.
        as_recorded: Names of metrics without outcomes, which nothing here can compute.
        folded: The outcomes after the fold with the batteries.
    """

    faults: list[RecordFault] = field(default_factory=list)
    shares: int = 0
    checks: int = 0
    as_recorded: list[str] = field(default_factory=list)
    folded: FoldedResult | None = None


def recompute_result(
    record: RecordJson,
    batteries: Mapping[str, RecordJson],
    index: BatteryIndex,
    *,
    is_strong: Callable[[str], bool | None] = lambda use: None,
) -> Recomputed:
    """Return what a result's outcomes give, and where the record says otherwise.

    Args:
        record: A valid result record: its shares agree with its outcomes.
        batteries: The valid battery records at hand, by id.
        index: The same, by model, test part and ball.
        is_strong: Whether an evaluation claims to be strong, by its name; None where unknown.
    """
    found = Recomputed(shares=len(record["outcomes"]))
    found.as_recorded = sorted(record["metrics"].keys() - record["outcomes"].keys())
    missing = [id for id in battery_ids(record) if id not in batteries]
    found.faults += [
        RecordFault("", f"found no record of its battery {id[:12]}; expected one") for id in missing
    ]
    found.folded = fold_result(record, index)
    checks = [Check(**check) for check in record["checks"]]
    named = [batteries[id] for id in battery_ids(record) if id in batteries]
    is_current = all(map(is_current_battery, named))
    expected = [_graded_check(check, is_current=is_current) for check in checks]
    if not missing and all(map(_is_comparable, named)):
        own = _battery_comparisons(record, batteries, index, is_strong(record["asked"]["use"]))
        found.checks = len(own)
        expected = [own.pop(check.name, check) for check in expected]
        # A check that the record lacks altogether would have been left out to hide it.
        found.faults += [
            RecordFault("", f"found no check {name}; expected {check.grade} at {check.value:.4g}")
            for name, check in own.items()
        ]
    found.faults += list(_check_differences(checks, expected))
    found.faults += list(_verdict_difference(record, expected))
    return found


def recompute_battery(record: RecordJson) -> list[RecordFault]:
    """Return where a battery's images or checks are not what its outcomes and the host's limits give."""
    if not _is_comparable(record):
        return []  # It had other limits; readers call its results unchecked.
    faults = list(_count_fault(record))
    checks = [Check(**check) for check in record["checks"]]
    if not is_current_battery(record):
        # Its other checks had limits of their own, and stay as recorded.
        checks = [check for check in checks if base_name(check.name) in MASKING_CHECKS]
    expected = [_graded_check(_masking_check(check, record)) for check in checks]
    return [*faults, *_check_differences(checks, expected)]


def _count_fault(battery: RecordJson) -> Iterator[RecordFault]:
    """Yield that a battery attacked fewer images than the host's does: what it left out may have fallen."""
    of, positions = battery["of"], battery["positions"]
    count, expected = of if positions is None else len(positions), min(PROBED_IMAGES, of)
    if count != expected:
        yield RecordFault("", f"found {count:,} attacked images of {of:,}; expected {expected:,}")


def _is_comparable(battery: RecordJson) -> bool:
    return int(battery["asked"]["version"]) >= CHECKED_EXAMPLES_VERSION


def is_current_battery(battery: RecordJson) -> bool:
    """Return whether a battery is of this release's version."""
    asked = battery["asked"]
    return bool(asked["version"] == battery_version(str(asked["options"].get("norm", ""))))


def _battery_comparisons(
    record: RecordJson,
    batteries: Mapping[str, RecordJson],
    index: BatteryIndex,
    strong: bool | None,
) -> dict[str, Check]:
    """Return the checks of a result's outcomes against the batteries that it names, by name."""
    comparisons: dict[str, Check] = {}
    named = [id for id in battery_ids(record) if id in batteries]
    own_index = BatteryIndex(batteries[id] for id in named)
    for metric, packed in record["outcomes"].items():
        if not metric.startswith(CLAIM_PREFIX) or is_snapshot(metric, record["outcomes"]):
            continue
        ball = claimed_ball(record, metric, index)
        battery = own_index.at(record, ball) if ball is not None else None
        if ball is None or battery is None:
            continue
        limit = _missed_limit(record, strong)
        for check in compare_outcomes(read_outcomes(packed), battery, limit=limit):
            name = check.name if len(named) == 1 else f"{check.name}@{ball.eps:g}"
            comparisons[name] = replace(check, name=name)
    return comparisons


def _missed_limit(record: RecordJson, strong: bool | None) -> float:
    """Return the host's limit of `missed`, which is stricter for an evaluation that is strong."""
    if strong is not None:
        return missed_limit(is_strong=strong)
    stated: list[float] = [
        check["limit"] for check in record["checks"] if base_name(check["name"]) == "missed"
    ]
    # Of an evaluation that is not installed, one of the two is accepted as it is recorded.
    return min([SUSPICIOUS_SHARE, *(limit for limit in stated if limit in MISSED_LIMITS)])


def _masking_check(check: Check, battery: RecordJson) -> Check:
    """Return a battery's check with the value that its outcomes give, where they give one."""
    name = base_name(check.name)
    outcomes = battery["outcomes"]
    if name not in MASKING_CHECKS or name not in outcomes or "targeted" not in outcomes:
        return check
    attacked = read_outcomes(outcomes[name])
    missed = attacked.broken & read_outcomes(outcomes["targeted"]).robust
    share = share_lower_bound(missed.bit_count(), attacked.of)
    # It was attacked, so it applies.
    return replace(check, grade="pass", value=share, samples=attacked.of)


def _graded_check(check: Check, *, is_current: bool = True) -> Check:
    """Return a check with the host's limit, and the grade that its value has by it.

    Checks of an old battery, and with it, stay as they are recorded.
    """
    name = base_name(check.name)
    if check.grade == "not applicable" or (not is_current and name in BATTERY_CHECKS):
        return check
    if name == "huge_eps":
        limit = _chance_limit(check)
    elif name == "missed":
        limit = check.limit if check.limit in MISSED_LIMITS else SUSPICIOUS_SHARE
    elif name in LIMITS:
        limit = LIMITS[name]
    else:
        return check  # One of a plugin, or of a battery of an old version.
    return replace(check, limit=limit, grade=_grade(name, check.value, limit))


def _grade(name: str, value: float, limit: float) -> CheckStatus:
    if name in FAILS_ABOVE_ZERO:
        return "fail" if value > limit else "pass"
    if name in SHARE_CHECKS:
        return status_of_share(value)
    # All outputs are probabilities exactly where their share is 1.
    is_bad = value >= limit if name == "logits" else value > limit
    return "suspicious" if is_bad else "pass"


def _chance_limit(check: Check) -> float:
    """Return the limit of `huge_eps`: guessing, which its text states to three digits, and 5 points."""
    stated = check.text.partition(CHANCE_TEXT)[2]
    try:
        chance = float(stated)
    except ValueError:
        return SUSPICIOUS_SHARE
    is_printed_chance = f"{check.limit - SUSPICIOUS_SHARE:.3g}" == f"{chance:.3g}"
    return check.limit if is_printed_chance else chance + SUSPICIOUS_SHARE


def _check_differences(found: Sequence[Check], expected: Sequence[Check]) -> Iterator[RecordFault]:
    for one, other in zip(found, expected, strict=True):
        same_limit = _is_close(one.limit, other.limit)
        if base_name(one.name) == "missed":
            # An evaluation may have been called strong since: its grade has to hold today as well.
            same_limit = one.limit in MISSED_LIMITS
        same_numbers = _is_close(one.value, other.value) and same_limit
        if one.grade != other.grade or not same_numbers or one.samples != other.samples:
            yield RecordFault(
                "",
                f"found the check {one.name} {one.grade} at {one.value:.6g} (limit {one.limit:.6g}, "
                f"{one.samples} samples); expected {other.grade} at {other.value:.6g} (limit "
                f"{other.limit:.6g}, {other.samples} samples), from the outcomes and the host's limits",
            )


def _verdict_difference(record: RecordJson, checks: Sequence[Check]) -> Iterator[RecordFault]:
    found = record["verdict"]
    expected = verdict_from_checks(checks)
    # Verdicts by earlier rules are not read by anything.
    if found["rules"] == RULES_VERSION and found["value"] != expected.value:
        yield RecordFault(
            "",
            f"found the verdict {found['value']!r}; expected {expected.value!r} ({expected.reason})",
        )


def _is_close(one: float, other: float) -> bool:
    return math.isclose(one, other, rel_tol=SHARE_TOLERANCE, abs_tol=SHARE_TOLERANCE)


class RepeatedOutcomes(NamedTuple):
    """Outcomes of one metric that stand under two ids."""

    metric: str
    first: str
    second: str


def other_images_faults(batteries: Iterable[RecordJson]) -> Iterator[tuple[str, RecordFault]]:
    """Yield ids of batteries that attacked other images of a test part than most of its batteries.

    The host draws the images by the test part alone, so that they are the same for every model.
    """
    drawn: dict[str, dict[tuple[int, ...], list[str]]] = {}
    for battery in batteries:
        if _is_comparable(battery):
            test, positions = str(battery["asked"]["inputs"]["test"]), battery["positions"]
            ids_by_images = drawn.setdefault(test, {})
            ids_by_images.setdefault(tuple(positions or ()), []).append(str(battery["id"]))
    for ids_by_images in drawn.values():
        usual = max(ids_by_images.values(), key=len)
        for ids in ids_by_images.values():
            for id in ids if ids is not usual else ():
                text = f"found other attacked images than those of {len(usual)} batteries of its test part"
                yield id, RecordFault("", f"{text}; expected the same for every model")


MIN_PATTERN_BITS = 40
"""Two models agree by chance in outcomes of so many bits once in 10^12 pairs, if they are independent."""


def repeated_outcomes(results: Sequence[RecordJson]) -> list[RepeatedOutcomes]:
    """Return pairs of results of different models with the same outcomes, beyond chance.

    Outcomes count by the number of ways to arrange them: where nearly all images have one outcome,
    equal outcomes say nothing. A model that predicts one class alone is left out as well.
    """
    first_by_outcomes: dict[tuple[str, int, str], tuple[str, str, str]] = {}
    repeated: list[RepeatedOutcomes] = []
    constant = _constant_models(results)
    for record in sorted(results, key=lambda result: str(result["id"])):
        inputs = record["asked"]["inputs"]
        model, test = str(inputs.get("model")), str(inputs.get("test"))
        for metric, packed in record["outcomes"].items():
            if model in constant or pattern_bits(packed) < MIN_PATTERN_BITS:
                continue
            key = (test, packed["of"], packed["packed"])
            first = first_by_outcomes.setdefault(key, (str(record["id"]), model, metric))
            if first[1] != model:
                repeated.append(RepeatedOutcomes(metric, first[0], str(record["id"])))
    return repeated


def _constant_models(results: Sequence[RecordJson]) -> Collection[str]:
    """Return the models that predict one class alone, which many models that did not learn do."""
    return {
        str(record["asked"]["inputs"].get("model"))
        for record in results
        if (record.get("labels") or {}).get("one_class")
    }


def pattern_bits(packed: RecordJson) -> float:
    """Return log2 of the number of ways to arrange outcomes with these counts."""
    counts = [packed[outcome.name.lower()] for outcome in Outcome]
    ways = math.lgamma(packed["of"] + 1) - sum(math.lgamma(count + 1) for count in counts)
    return ways / math.log(2)
