"""A sample that a battery broke is broken in every number that is read, and never the reverse."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pytest

from advtransfer.result.battery_index import Ball, BatteryIndex
from advtransfer.result.comparison import judge_result
from advtransfer.result.evidence import FoldedResult, fold_result, unlearned_reason
from advtransfer.result.outcomes import outcomes_from_values, read_outcomes
from advtransfer.result.record import pack_outcomes
from advtransfer.result.verdict import BATTERY_CHECKS, REQUIRED_CHECKS
from advtransfer.result.worst_case import worst_results
from advtransfer.testing.records import complete_record
from advtransfer.types import Json, Outcome

Record: TypeAlias = "dict[str, Any]"  # Any: JSON

R, B, W, U = Outcome.ROBUST, Outcome.BROKEN, Outcome.WRONG, Outcome.UNKNOWN
INPUTS: Mapping[str, Json] = {"model": "m" * 64, "test": "t" * 64}


def battery(
    outcomes: Sequence[Sequence[int]],
    *,
    eps: float = 0.1,
    positions: Sequence[int] | None = None,
    of: int | None = None,
    version: int = 3,
    norm: str = "linf",
    inputs: Mapping[str, Json] = INPUTS,
) -> Record:
    parts: Record = {
        "kind": "battery",
        "of": of or len(outcomes[0]),
        "outcomes": {str(each): pack_outcomes(values) for each, values in enumerate(outcomes)},
        "positions": positions,
    }
    asked: Record = {"options": {"norm": norm, "eps": eps, "size": "small"}, "version": version}
    return complete_record(parts, **asked, inputs=dict(inputs))


def result(
    outcomes: Mapping[str, Sequence[int]],
    *,
    batteries: Json = None,
    use: str = "foolbox/pgd",
    options: Mapping[str, Json] | None = None,
    labels: Json = None,
) -> Record:
    parts: Record = {
        "kind": "result",
        "outcomes": {name: pack_outcomes(values) for name, values in outcomes.items()},
        "battery": batteries,
        **({} if labels is None else {"labels": labels}),
    }
    chosen = {"norm": "linf", "eps": 0.1} if options is None else options
    return complete_record(parts, use=use, options=dict(chosen), inputs=dict(INPUTS))


def folded(record: Record, *batteries: Record) -> FoldedResult:
    return fold_result(record, BatteryIndex(batteries))


def test_packed_outcomes_are_read_as_they_were_written() -> None:
    for count in range(1, 10):
        outcomes = [(3 * each + count) % 4 for each in range(count)]

        assert outcomes == read_outcomes(pack_outcomes(outcomes)).to_array().tolist()


def test_sample_is_robust_only_if_neither_evaluation_nor_battery_broke_it() -> None:
    found = folded(
        result({"robust_accuracy@0.1": [R, R, B, W, U, U, R]}),
        battery([[R, B, R, W, B, R, R], [R, R, R, W, R, R, B]]),
    )

    assert [R, B, B, W, B, U, B] == found.outcomes["robust_accuracy@0.1"].to_array().tolist()
    assert [R, R, B, W, U, U, R] == found.outcomes["attack_accuracy@0.1"].to_array().tolist()
    assert (1 / 7, 2 / 7, 7) == found.shares["robust_accuracy@0.1"]
    assert (3 / 7, 5 / 7, 7) == found.shares["attack_accuracy@0.1"]
    probe = found.probes["robust_accuracy@0.1"]
    assert (7, 7, 3, True) == (probe.count, probe.of, probe.missed, probe.is_complete)


def test_fold_is_never_above_the_attack_alone_and_changes_no_wrong_sample() -> None:
    random = np.random.RandomState(0)
    for _ in range(50):
        attack, probes = random.randint(0, 4, 30), random.randint(0, 4, 12)
        positions = sorted(random.choice(30, 12, replace=False).tolist())
        found = folded(
            result({"robust_accuracy@0.1": attack.tolist()}),
            battery([probes.tolist()], positions=positions, of=30),
        )
        after, alone = found.shares["robust_accuracy@0.1"], found.shares["attack_accuracy@0.1"]

        assert after.low <= alone.low
        assert after.high <= alone.high
        outcomes = found.outcomes["robust_accuracy@0.1"].to_array()
        assert ((outcomes == W) == (attack == W)).all()
        changed = outcomes != attack
        assert (outcomes[changed] == B).all()
        assert set(np.flatnonzero(changed)) <= set(positions)


def test_partly_probed_accuracy_says_which_images_were_attacked() -> None:
    attack = result({"robust_accuracy@0.1": [R] * 6})
    found = folded(attack, battery([[R, B, R]], positions=[1, 3, 5], of=6))
    probe = found.probes["robust_accuracy@0.1"]

    assert [R, R, R, B, R, R] == found.outcomes["robust_accuracy@0.1"].to_array().tolist()
    assert (3, 6, 1, False) == (probe.count, probe.of, probe.missed, probe.is_complete)
    assert pytest.approx(1 / 3) == probe.missed_share
    other = folded(attack, battery([[R, R, R]], positions=[0, 3, 5], of=6))
    same = folded(attack, battery([[B, B, B]], positions=[1, 3, 5], of=6))
    assert probe.images == same.probes["robust_accuracy@0.1"].images
    assert probe.images != other.probes["robust_accuracy@0.1"].images


def test_battery_of_another_model_ball_or_old_version_breaks_nothing() -> None:
    attack = result({"robust_accuracy@0.1": [R, R]})
    others = [
        battery([[B, B]], eps=0.2),
        battery([[B, B]], norm="l2"),
        battery([[B, B]], version=2),
        battery([[B, B]], inputs={**INPUTS, "model": "n" * 64}),
        battery([[B, B]], inputs={**INPUTS, "test": "u" * 64}),
        battery([[B, B, B]], positions=None),
    ]

    found = folded(attack, *others)

    assert [R, R] == found.outcomes["robust_accuracy@0.1"].to_array().tolist()
    assert 0 == found.probes["robust_accuracy@0.1"].count


def test_new_battery_counts_for_a_result_that_names_an_old_one() -> None:
    old, new = battery([[R, R]], version=2), battery([[B, R]])
    found = folded(result({"robust_accuracy": [R, R]}, batteries=old["id"], options={}), old, new)

    assert [B, R] == found.outcomes["robust_accuracy"].to_array().tolist()
    assert {"robust_accuracy": Ball("linf", 0.1)} == found.balls


@pytest.mark.parametrize(
    ("linf", "l2", "probed"),
    [
        # image 1 is attacked by one battery alone, image 2 by both
        pytest.param([0, 1, 2], [2, 3], (1, 1), id="other positions"),
        pytest.param([1, 2], None, (2, 2), id="one attacks all"),
        pytest.param([0, 1], [2, 3], (0, 0), id="none in common"),
        pytest.param(None, None, (4, 2), id="both attack all"),
    ],
)
def test_union_is_probed_where_the_batteries_of_all_balls_attacked(
    linf: list[int] | None, l2: list[int] | None, probed: tuple[int, int]
) -> None:
    names = ("robust_accuracy_linf@0.1", "robust_accuracy_l2@0.5")
    breaks = {1: B, 2: B}
    batteries = [
        battery(
            [[breaks.get(place, R) for place in (range(4) if positions is None else positions)]],
            positions=positions,
            of=4,
            norm=norm,
            eps=eps,
        )
        for norm, eps, positions in (("linf", 0.1, linf), ("l2", 0.5, l2))
    ]
    attack = result(
        {name: [R, R, R, W] for name in (*names, "union_accuracy")},
        batteries={name: each["id"] for name, each in zip(names, batteries, strict=True)},
    )

    probe = folded(attack, *batteries).probes["union_accuracy"]

    assert (probe.count, probe.missed) == probed


def test_smaller_ball_breaks_larger_radii_and_larger_ones_break_nothing() -> None:
    names = ["robust_accuracy@0.05", "robust_accuracy@0.1", "robust_accuracy@0.2"]
    small, middle, large = (
        battery([outcomes], eps=eps)
        for outcomes, eps in (([B, R, R, R], 0.05), ([R, B, R, R], 0.1), ([R, R, B, R], 0.2))
    )
    named = dict(zip(names, (small["id"], middle["id"], large["id"]), strict=True))
    found = folded(result(dict.fromkeys(names, [R] * 4), batteries=named), small, middle, large)

    assert [[B, R, R, R], [B, B, R, R], [B, B, B, R]] == [
        found.outcomes[name].to_array().tolist() for name in names
    ]


def test_snapshot_of_an_earlier_epoch_is_not_folded() -> None:
    found = folded(
        result({"robust_accuracy@0.1": [R], "robust_accuracy@0.1@3": [R], "accuracy": [R]}),
        battery([[B]]),
    )

    assert [B] == found.outcomes["robust_accuracy@0.1"].to_array().tolist()
    assert [R] == found.outcomes["robust_accuracy@0.1@3"].to_array().tolist()
    assert 0 == found.probes["robust_accuracy@0.1@3"].count
    assert [R] == found.outcomes["accuracy"].to_array().tolist()
    assert "accuracy" not in found.probes


def test_worst_is_over_all_attacks_within_the_radius() -> None:
    first = result({"robust_accuracy@0.1": [B, R, R, R, U, W]}, options={"norm": "linf"})
    second = result({"robust_accuracy@0.1": [R, B, R, U, R, W]}, options={"norm": "linf"})
    small = result({"robust_accuracy": [R, R, B, R, R, W]}, options={"norm": "linf", "eps": 0.05})
    large = result({"robust_accuracy@0.2": [B] * 5 + [W]}, options={"norm": "linf"})
    other = result({"robust_accuracy@0.1": [B] * 5 + [W]}, options={"norm": "l2"})
    batteries = BatteryIndex([battery([[R, R, R, R, R, W]])])
    records = [first, second, small, large, other]

    worst = worst_results([judge_result(each, batteries) for each in records], batteries)

    assert {"worst_linf", "worst_l2"} == worst.keys()
    outcomes = {
        name: values.to_array().tolist()
        for name, values in worst["worst_linf"].folded.outcomes.items()
    }
    assert outcomes == {
        "robust_accuracy@0.05": [R, R, B, R, R, W],
        "robust_accuracy@0.1": [B, B, B, U, U, W],
        "robust_accuracy@0.2": [B, B, B, B, B, W],
    }
    for name, values in outcomes.items():
        for each in (first, second):
            if name in each["outcomes"]:
                alone = read_outcomes(each["outcomes"][name]).share
                assert outcomes_from_values(values).share.low <= alone.low
    probe = worst["worst_linf"].folded.probes["robust_accuracy@0.1"]
    assert (6, 0) == (probe.count, probe.missed)


def with_checks(record: Record, *grades: tuple[str, str], limit: float = 0.05) -> Record:
    """Give a result or battery the checks that a verdict needs, all passed but those of `grades`."""
    names = dict.fromkeys(REQUIRED_CHECKS, "pass") | dict(grades)
    return record | {
        "checks": [
            {"name": name, "grade": grade, "value": 0.0, "limit": limit, "samples": 100, "text": ""}
            for name, grade in names.items()
            if record["kind"] == "result" or name in BATTERY_CHECKS - {"missed", "finished"}
        ]
    }


WEAK = [R] * 60 + [B] * 40
STRONG = [B] * 29 + [R] * 31 + [B] * 40


@pytest.mark.parametrize(
    ("attacks", "masking", "expected"),
    [
        # The host broke 30 images; the strong attack missed one of them, the weak one all.
        ([WEAK], "pass", "suspicious"),
        ([STRONG], "pass", "checked"),
        ([WEAK, STRONG], "pass", "checked"),
        ([STRONG, WEAK], "pass", "checked"),
        ([WEAK, WEAK], "pass", "suspicious"),
        ([WEAK, STRONG], "suspicious", "suspicious"),
        ([WEAK, STRONG], "fail", "invalid"),
        # What one attack left unknown stays so where no other broke it.
        ([[U] * 60 + [B] * 40, STRONG], "pass", "suspicious"),
        ([[U] * 29 + [R] * 31 + [B] * 40, STRONG], "pass", "checked"),
    ],
)
def test_worst_is_judged_by_what_all_attacks_missed(
    attacks: Sequence[Sequence[int]], masking: str, expected: str
) -> None:
    host = with_checks(battery([[B] * 30 + [R] * 30 + [B] * 40]), ("noise", masking))
    batteries = BatteryIndex([host])
    records = [
        with_checks(result({"robust_accuracy@0.1": each}, batteries=host["id"])) for each in attacks
    ]

    worst = worst_results([judge_result(each, batteries) for each in records], batteries)

    assert expected == worst["worst_linf"].verdict.value
    missed = min(sum(each[place] in (R, U) for place in range(30)) for each in attacks)
    assert missed == worst["worst_linf"].folded.probes["robust_accuracy@0.1"].missed


def test_worst_keeps_the_strictest_limit_and_other_faults_of_its_attacks() -> None:
    # 5 of 100 missed: the lower bound 2.4 points is above 2 and below 5.
    host = with_checks(battery([[B] * 30 + [R] * 30 + [B] * 40]))
    batteries = BatteryIndex([host])
    weak = result({"robust_accuracy@0.1": WEAK}, batteries=host["id"])
    good = result({"robust_accuracy@0.1": [B] * 25 + [R] * 35 + [B] * 40}, batteries=host["id"])

    def verdict_of(*records: Record) -> str:
        judged = [judge_result(each, batteries) for each in records]
        return worst_results(judged, batteries)["worst_linf"].verdict.value

    assert "checked" == verdict_of(with_checks(weak), with_checks(good))
    assert "suspicious" == verdict_of(with_checks(weak), with_checks(good, limit=0.02))
    illegal = with_checks(weak, ("legal_examples", "fail"))
    assert "invalid" == verdict_of(illegal, with_checks(good))
    # Without the samples of a battery only the recorded checks can tell.
    batteries = BatteryIndex([])
    assert "suspicious" == verdict_of(
        with_checks(weak, ("missed", "suspicious")), with_checks(good)
    )


@pytest.mark.parametrize(
    ("wrong", "labels", "expected"),
    [
        (900, {"largest_class": 0.1, "one_class": True}, "those of a constant"),
        (890, {"largest_class": 0.1, "one_class": False}, "surely above 0.100"),
        (800, {"largest_class": 0.1, "one_class": False}, None),
        (800, {"largest_class": 0.19, "one_class": False}, "surely above 0.190"),
        (890, None, None),
    ],
)
def test_model_learned_if_its_accuracy_is_surely_above_the_largest_class(
    wrong: int, labels: Json, expected: str | None
) -> None:
    outcomes = [W] * wrong + [B] * (1000 - wrong)

    reason = unlearned_reason(result({"robust_accuracy@0.1": outcomes}, labels=labels))

    assert (expected is None) == (reason is None)
    assert (expected or "") in (reason or "")
