from __future__ import annotations

import pytest

from advtransfer.node import Node
from advtransfer.result import Record, battery_record, result_record
from advtransfer.result.record import Provenance, battery_ids, unpack_outcomes
from advtransfer.result.validation import record_fault
from advtransfer.types import Check, Json, Outcome

PROVENANCE = Provenance("e" * 64, {"name": "host"}, "cpu", 1)
CHECK = Check("noise", "pass", 0.0, 0.05, 200, "what it means")


def result(batteries: dict[str, str]) -> dict[str, Json]:
    return result_record(
        Node("result", "foolbox/pgd"),
        outcomes={"robust_accuracy@0.1": [0, 1]},
        metrics={},
        checks=[CHECK],
        batteries=batteries,
        samples=None,
        files={},
        provenance=PROVENANCE,
        observed={},
    )


def test_a_metric_that_is_a_share_is_recorded_as_such() -> None:
    record = result_record(
        Node("result", "interpret/influence"),
        outcomes={},
        metrics={"match": 0.5, "size": 7.0},
        shares=["match"],
        checks=[],
        batteries={},
        samples=None,
        files={},
        provenance=PROVENANCE,
        observed={},
    )
    metrics = record["metrics"]

    assert {"match": {"value": 0.5, "share": True}, "size": {"value": 7.0}} == metrics
    assert record_fault(record) is None
    assert "expected a value alone, a share, or outcomes" in str(
        record_fault(record | {"metrics": {"match": {"value": 1.5, "share": True}}})
    )


OUTCOMES = [Outcome.ROBUST, Outcome.BROKEN, Outcome.WRONG]
BATTERY = Node("battery", "host/battery", 3, {"norm": "linf", "eps": 0.1, "size": "small"})


def battery(positions: list[int], *, of: int) -> Record:
    return battery_record(
        BATTERY,
        positions=positions,
        outcomes={"noise": OUTCOMES},
        of=of,
        checks=[CHECK],
        provenance=PROVENANCE,
        observed={},
    )


def test_a_battery_record_keeps_what_became_of_each_probed_sample() -> None:
    record = battery([1, 4, 7], of=10)
    packed = record["outcomes"]

    assert "battery" == record["kind"]
    assert BATTERY.id == record["id"]
    assert [1, 4, 7] == record["positions"]
    assert isinstance(packed, dict)
    assert isinstance(packed["noise"], dict)
    assert OUTCOMES == unpack_outcomes(packed["noise"])
    assert record_fault(record) is None


def test_a_battery_of_all_samples_lists_no_positions() -> None:
    record = battery([0, 1, 2], of=3)

    assert record["positions"] is None
    assert record_fault(record) is None


@pytest.mark.parametrize(
    "positions", [[1, 4], [1, 7, 4], [1, 4, 4], [-1, 4, 7], [1, 4, 10], [1, 4, True], "147", None]
)
def test_positions_that_no_battery_records_are_refused(positions: Json) -> None:
    fault = record_fault(battery([1, 4, 7], of=10) | {"positions": positions})

    assert fault is not None
    assert "positions" in fault or "one for each position" in fault


def test_a_battery_record_of_an_earlier_version_has_no_positions() -> None:
    record = battery([1, 4, 7], of=10)
    del record["positions"]

    assert record_fault(record) is None


def test_a_result_names_the_batteries_behind_its_checks() -> None:
    several = {"robust_accuracy@0.2": "bb", "robust_accuracy@0.1": "aa"}

    assert [None, "aa", several] == [
        result(one)["battery"] for one in ({}, {"robust_accuracy@0.1": "aa"}, several)
    ]
    assert [[], ["aa"], ["aa", "bb"]] == [
        sorted(battery_ids(result(one))) for one in ({}, {"robust_accuracy@0.1": "aa"}, several)
    ]
