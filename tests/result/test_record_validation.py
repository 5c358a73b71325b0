"""A record is believed only where id, format, kinds of fields, outcomes, metrics, checks and verdict agree."""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest

from advtransfer.result import Run
from advtransfer.result.validation import battery_disagreement, record_fault
from advtransfer.testing.records import complete_record

Read = dict[str, Any]  # Any: records are taken apart and changed
CHECK = {
    "name": "noise",
    "grade": "pass",
    "value": 0.01,
    "limit": 0.05,
    "samples": 40,
    "text": "of noise",
}
SHARE = {"value": 0.5, "low": 0.5, "high": 0.75, "of": 40}
RESULT = complete_record(
    {
        "kind": "result",
        "metrics": {"robust_accuracy@0.1": SHARE, "loss": {"value": 0.25}},
        "checks": [CHECK],
        "battery": "b" * 64,
        "files": {},
    },
    inputs={"model": "1" * 64, "test": "2" * 64},
)
SOURCE = complete_record(
    {"kind": "source", "probe": {"clean_accuracy": 0.9, "of": 100}, "card": {"clean_accuracy": 0.9}}
)
FIT = complete_record({"kind": "fit", "curves": [{"loss": 0.5}], "facts": {"labels_used": 20}})
NAME = "robust_accuracy@0.1"


COUNTED = {"exact": 2, "near": 0, "of": 40}


def bomb(record: Read) -> None:
    record["outcomes"][NAME]["packed"] = base64.b64encode(zlib.compress(b"\0" * 10**7)).decode()


def swap_outcomes(record: Read) -> None:
    record["outcomes"][NAME]["packed"] = base64.b64encode(zlib.compress(b"\0" * 10)).decode()


def outcomes_of_others(record: Read) -> None:
    swap_outcomes(record)
    record["outcomes"][NAME] |= {"robust": 40, "broken": 0, "wrong": 0, "unknown": 0}


EDITS: list[tuple[str, Read, Callable[[Read], object], str]] = [
    (
        "a value",
        RESULT,
        lambda one: one["metrics"][NAME].update(value=0.999),
        "value 0.999; expected 0.5",
    ),
    (
        "the low end",
        RESULT,
        lambda one: one["metrics"][NAME].update(low=0.999),
        "low 0.999; expected 0.5",
    ),
    (
        "the high end",
        RESULT,
        lambda one: one["metrics"][NAME].update(high=0.6),
        "high 0.6; expected 0.75",
    ),
    (
        "an interval",
        RESULT,
        lambda one: one["metrics"][NAME].update(interval=[0.9, 1.0]),
        "interval 0.9; expected",
    ),
    (
        "the number of samples",
        RESULT,
        lambda one: one["metrics"][NAME].update(of=4000),
        "from its outcomes",
    ),
    (
        "a number that is no number",
        RESULT,
        lambda one: one["metrics"]["loss"].update(value=float("nan")),
        "finite",
    ),
    (
        "a number that is a text",
        RESULT,
        lambda one: one["metrics"]["loss"].update(value="0.1"),
        "finite number",
    ),
    (
        "a metric of no outcomes",
        RESULT,
        lambda one: one["metrics"].update(best=dict(SHARE)),
        "a value alone",
    ),
    (
        "a metric that is gone",
        RESULT,
        lambda one: one["metrics"].pop(NAME),
        "no metric robust_accuracy@0.1",
    ),
    ("counts", RESULT, lambda one: one["outcomes"][NAME].update(robust=40), "other counts"),
    ("packed outcomes", RESULT, swap_outcomes, "other counts"),
    ("packed outcomes with their counts", RESULT, outcomes_of_others, "expected 1.0"),
    ("a bomb", RESULT, bomb, "of another length"),
    (
        "no base64",
        RESULT,
        lambda one: one["outcomes"][NAME].update(packed="!"),
        "cannot be unpacked",
    ),
    (
        "the verdict",
        RESULT,
        lambda one: one["verdict"].update(value="verified"),
        "expected 'unchecked' (",
    ),
    (
        "a grade",
        RESULT,
        lambda one: one["checks"][0].update(value=0.2),
        "noise pass at 0.2; expected otherwise",
    ),
    ("a check's fields", RESULT, lambda one: one["checks"][0].pop("limit"), "found the check"),
    (
        "an option",
        RESULT,
        lambda one: one["asked"]["options"].update(steps=1),
        "that of what was asked",
    ),
    (
        "an input",
        RESULT,
        lambda one: one["asked"]["inputs"].update(model="3" * 64),
        "that of what was asked",
    ),
    ("the version", RESULT, lambda one: one["asked"].update(version=2), "that of what was asked"),
    ("the id", RESULT, lambda one: one.update(id="0" * 64), "that of what was asked"),
    ("the format", RESULT, lambda one: one.update(format=2), "found format 2; expected 1"),
    ("no format", RESULT, lambda one: one.pop("format"), "found format None"),
    ("the kind", RESULT, lambda one: one.update(kind="fit"), "found no curves"),
    ("an unknown kind", RESULT, lambda one: one.update(kind="guess"), "found kind 'guess'"),
    (
        "a battery",
        RESULT,
        lambda one: one.update(battery="../x"),
        "found battery '../x'; expected an id",
    ),
    (
        "a file elsewhere",
        RESULT,
        lambda one: one.update(files={"x": "../../secret"}),
        "found the file '../../secret'",
    ),
    (
        "arrays elsewhere",
        RESULT,
        lambda one: one.update(samples={"file": "/x", "sha256": "", "fields": []}),
        "'/x'",
    ),
    (
        "no outcomes",
        RESULT,
        lambda one: one.update(outcomes=None),
        "outcomes of the type NoneType; expected dict",
    ),
    ("no provenance", RESULT, lambda one: one.pop("provenance"), "found no provenance"),
    (
        "the environment",
        RESULT,
        lambda one: one["provenance"].update(environment="../e"),
        "found the environment",
    ),
    (
        "a probe",
        SOURCE,
        lambda one: one["probe"].update(clean_accuracy=0.999),
        "probe.clean_accuracy 0.999",
    ),
    (
        "a probe's agreement",
        SOURCE,
        lambda one: one["probe"].update(agrees=False),
        "found probe.agrees False",
    ),
    (
        "a card's claim",
        SOURCE,
        lambda one: one["card"].update(clean_accuracy=0.5),
        "found probe.agrees",
    ),
    ("a curve", FIT, lambda one: one["curves"][0].update(loss=None), "found curves loss None"),
    (
        "a fact",
        FIT,
        lambda one: one["facts"].update(labels_used="20"),
        "found facts labels_used '20'",
    ),
    (
        "a pair of leaks of no further data set",
        RESULT,
        lambda one: one.update(leakage={"[x](y) test in target train": COUNTED}),
        "found leakage {'[x](y) test in target train'",
    ),
    (
        "counts of leaks that are words",
        RESULT,
        lambda one: one.update(leakage={"also test in target train": {**COUNTED, "near": "0"}}),
        "found leakage {'also test in target train'",
    ),
    (
        "weights",
        FIT,
        lambda one: one["weights"].update(digest="best"),
        "found weights.digest 'best'",
    ),
]


@pytest.mark.parametrize(
    ("record", "edit", "words"), [one[1:] for one in EDITS], ids=[one[0] for one in EDITS]
)
def test_an_edit_is_found_and_nothing_of_the_record_is_believed(
    record: Read, edit: Callable[[Read], object], words: str, tmp_path: Path
) -> None:
    edited = deepcopy(record)
    edit(edited)
    run = Run(tmp_path)
    path = tmp_path / "records" / str(record["id"])[:2] / f"{record['id']}.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(edited))
    place = path.relative_to(tmp_path).as_posix()

    assert record_fault(record, id=record["id"]) is None
    assert words in run.damaged_records()[place]
    assert "expected" in run.damaged_records()[place]
    assert set() == run.finished_ids()
    assert [] == list(run.read_records())


def test_a_damaged_record_is_kept_aside_and_measured_again(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.write_record(RESULT | {"format": 2})
    before = run.has_record(str(RESULT["id"]))
    refused = run.set_aside_damaged()
    kept = [path.name for path in tmp_path.rglob("*.refused")]
    run.write_record(RESULT | {"format": 3})
    run.set_aside_damaged()
    run.write_record(RESULT)

    assert before
    assert 1 == len(refused)
    assert [f"{RESULT['id']}.json.refused"] == kept
    assert 2 == len(list(tmp_path.rglob("*.refused*")))
    assert {RESULT["id"]} == run.finished_ids()
    assert {} == run.damaged_records()


@pytest.mark.parametrize("text", ["", "[]", "null", "{", '"x"', "[" * 100_000])
def test_what_is_no_record_is_named_too(text: str, tmp_path: Path) -> None:
    path = tmp_path / "records" / "00" / f"{'0' * 64}.json"
    path.parent.mkdir(parents=True)
    path.write_text(text)

    assert [f"records/00/{'0' * 64}.json"] == list(Run(tmp_path).damaged_records())


def test_a_result_says_what_its_battery_says(tmp_path: Path) -> None:
    check = CHECK | {"name": "gradients", "value": 0.0, "text": "flat"}
    inputs = {"model": "1" * 64, "test": "2" * 64}
    battery = complete_record({"kind": "battery", "checks": [check]}, inputs=inputs)
    honest = complete_record(
        {"kind": "result", "checks": [check], "battery": battery["id"]}, inputs=inputs
    )
    edited = complete_record(
        {"kind": "result", "checks": [check | {"value": 0.01}], "battery": battery["id"]},
        inputs=inputs,
    )
    run = Run(tmp_path)
    run.write_record(battery)
    run.write_record(edited)

    assert battery_disagreement(honest, battery) is None
    assert "found other checks (gradients) than its battery" in str(
        battery_disagreement(edited, battery)
    )
    assert 1 == len(run.damaged_records())
    assert [battery["id"]] == [one["id"] for one in run.read_records()]


def test_every_published_record_agrees() -> None:
    results = Path(__file__).parents[2] / "leaderboard" / "results"
    runs = [Run(path.parent) for path in sorted(results.glob("*/*/plan.json"))]

    assert runs
    assert {} == {
        run.path.parent.name: damaged for run in runs if (damaged := run.damaged_records())
    }
    assert all(run.read_plan()["suite"] == run.path.parent.name for run in runs)


def test_counts_of_images_that_further_data_share_are_a_field_of_a_result() -> None:
    uncounted = {"exact": None, "near": None, "of": 40}
    leakage = {"also test in target train": COUNTED, "also test in source train": uncounted}

    assert record_fault({**RESULT, "leakage": leakage}) is None


def test_the_facts_of_a_source_may_be_words() -> None:
    assert None is record_fault(
        complete_record({"kind": "source", "facts": {"key": "state_dict", "others": 2}})
    )


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("observed.seconds", {"x": "text"}),
        ("observed.seconds", 1e308),
        ("provenance.precision", ["a", None]),
        ("provenance.kernel_batch", "96"),
        ("provenance.halved_kernel_batch", True),
    ],
)
def test_kinds_of_nested_fields_are_held_to_theirs(place: str, value: object) -> None:
    record: dict[str, Any] = deepcopy(FIT)
    outer, _, inner = place.partition(".")
    record[outer][inner] = value

    assert place in str(record_fault(record))
