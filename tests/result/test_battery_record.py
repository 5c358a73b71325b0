from __future__ import annotations

from advtransfer.node import Node
from advtransfer.result import battery_record, result_record
from advtransfer.result.record import Provenance, battery_ids, unpack_outcomes
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


def test_a_battery_record_keeps_what_became_of_each_probed_sample() -> None:
    outcomes = [Outcome.ROBUST, Outcome.BROKEN, Outcome.WRONG]
    node = Node("battery", "host/battery", 1, {"norm": "linf", "eps": 0.1, "size": "small"})
    record = battery_record(
        node,
        outcomes={"noise": outcomes},
        of=10,
        checks=[CHECK],
        provenance=PROVENANCE,
        observed={},
    )
    packed = record["outcomes"]

    assert "battery" == record["kind"]
    assert node.id == record["id"]
    assert isinstance(packed, dict)
    assert isinstance(packed["noise"], dict)
    assert outcomes == unpack_outcomes(packed["noise"])


def test_a_result_names_the_batteries_behind_its_checks() -> None:
    several = {"robust_accuracy@0.2": "bb", "robust_accuracy@0.1": "aa"}

    assert [None, "aa", several] == [
        result(one)["battery"] for one in ({}, {"robust_accuracy@0.1": "aa"}, several)
    ]
    assert [[], ["aa"], ["aa", "bb"]] == [
        sorted(battery_ids(result(one))) for one in ({}, {"robust_accuracy@0.1": "aa"}, several)
    ]
