from __future__ import annotations

import json
from pathlib import Path

import pytest

from advtransfer.errors import BadInput, CacheError
from advtransfer.result import Record, Run
from advtransfer.result.record import (
    canonical_numbers,
    pack_outcomes,
    robust_share,
    unpack_outcomes,
)
from advtransfer.testing.records import complete_record
from advtransfer.types import Outcome

RECORD: Record = complete_record({"kind": "fit", "observed": {"seconds": {"fit": 1.0}}})
ID = str(RECORD["id"])


def test_a_record_exists_only_once_it_is_written(tmp_path: Path) -> None:
    run = Run(tmp_path)
    before = run.has_record(ID)
    run.write_record(RECORD)

    assert before is False
    assert run.has_record(ID) is True
    assert run.finished_ids() == {ID}
    assert run.read_record(ID) == RECORD
    assert list(run.read_records()) == [RECORD]


def test_a_temporary_file_of_a_killed_writer_is_no_record(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.write_record(RECORD)
    (tmp_path / "records" / ID[:2] / f".{'cd' * 32}.json.17.tmp").write_text('{"id":')

    assert run.finished_ids() == {ID}


def test_nan_is_never_recorded(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Out of range float"):
        Run(tmp_path).write_record({"id": ID, "metrics": {"loss": float("nan")}})

    assert Run(tmp_path).finished_ids() == set()


def test_attempts_are_added_and_the_latest_counts_until_there_is_a_record(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.write_attempt({"id": ID, "reason": "first"})
    run.write_attempt({"id": ID, "reason": "second"})

    assert run.attempt_count(ID) == 2
    assert run.latest_attempts()[ID]["reason"] == "second"
    run.write_record(RECORD)
    assert run.latest_attempts() == {}
    assert run.attempt_count(ID) == 2


def test_data_that_changes_during_a_run_is_an_error_that_names_both_digests(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.pin_data("data", "1111")
    run.pin_data("data", "1111")

    with pytest.raises(CacheError, match=r"content 2222\.\.\., but this run began with 1111"):
        run.pin_data("data", "2222")


def test_an_environment_is_kept_once_under_its_digest(tmp_path: Path) -> None:
    run = Run(tmp_path)
    first, second = (
        run.write_environment({"device": "cpu"}),
        run.write_environment({"device": "cpu"}),
    )

    assert first == second
    assert run.read_environments() == {first: {"device": "cpu"}}


def test_a_folder_without_a_plan_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no plan\.json"):
        Run.open(tmp_path)


def test_a_damaged_record_is_named(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.write_record(RECORD)
    path = tmp_path / "records" / ID[:2] / f"{ID}.json"
    path.write_text(path.read_text()[:20])

    with pytest.raises(CacheError, match="is not JSON"):
        run.read_record(ID)


def test_outcomes_are_packed_at_two_bits_and_come_back() -> None:
    outcomes = [Outcome.ROBUST, Outcome.BROKEN, Outcome.WRONG, Outcome.UNKNOWN, Outcome.BROKEN]
    found = pack_outcomes(outcomes)

    assert unpack_outcomes(found) == outcomes
    assert {name: found[name] for name in ("robust", "broken", "wrong", "unknown")} == {
        "robust": 1,
        "broken": 2,
        "wrong": 1,
        "unknown": 1,
    }
    assert json.loads(json.dumps(found)) == found


def test_twelve_thousand_outcomes_take_at_most_what_the_format_promises() -> None:
    mixed = [Outcome(k * k % 3) for k in range(12_700)]

    assert len(str(pack_outcomes(mixed)["packed"])) <= 12_700 // 4 * 4 // 3 + 64


def test_a_count_has_one_text_whether_or_not_it_came_back_from_a_checkpoint() -> None:
    assert json.dumps(canonical_numbers({"epoch": 1, "loss": 0.5})) == json.dumps(
        canonical_numbers({"epoch": 1.0, "loss": 0.5})
    )


def test_an_unknown_sample_is_neither_robust_nor_broken_but_an_interval() -> None:
    found = robust_share([Outcome.ROBUST, Outcome.UNKNOWN, Outcome.BROKEN, Outcome.WRONG])

    assert (found["value"], found["low"], found["high"]) == (0.25, 0.25, 0.5)
