from __future__ import annotations

import lzma
import secrets
from pathlib import Path
from typing import Any, cast

import numpy as np
from safetensors.numpy import load_file, save_file

from advtransfer.files import file_sha256
from advtransfer.result import Record, Run
from advtransfer.result.bundle import MAX_FILE_BYTES, write_bundle
from advtransfer.result.record_lines import record_files
from advtransfer.testing.records import complete_record
from advtransfer.types import Json

KINDS = {"aa": "fit", "bb": "result", "cc": "source", "dd": "fit", "ee": "result", "ff": "fit"}
OBSERVED: Json = {"seconds": {"fit": 1.5}, "copied_from": "/somewhere"}


def record(name: str, kind: str, **parts: Json) -> Record:
    return complete_record({"kind": kind, "observed": OBSERVED, **parts}, options={"name": name})


IDS = {name: str(record(name, kind)["id"]) for name, kind in KINDS.items()}
PLAN: dict[str, Json] = {
    "suite": "small",
    "title": "Small",
    "leaderboard": {},
    "sources": {},
    "trials": [
        {"id": IDS["aa"], "evaluations": {"clean": [IDS["bb"]]}, "builds": [IDS["cc"]]},
        {"id": IDS["dd"], "evaluations": {"clean": [IDS["ee"]]}, "builds": [IDS["cc"]]},
    ],
}


def names(run: Run, kind: str = "") -> list[str]:
    """The names of the records of a run, as they stand."""
    found = [cast("dict[str, Any]", one) for one in run.read_records()]  # Any: JSON
    return [str(one["asked"]["options"]["name"]) for one in found if kind in ("", one["kind"])]


def test_a_bundle_reads_like_the_run_it_was_made_from(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run.write_plan(PLAN)
    run.write_suite("version: 1\n")
    digest = run.write_environment({"device": "cpu"})
    for id, kind in [("aa", "fit"), ("bb", "result"), ("cc", "source"), ("ff", "fit")]:
        run.write_record(record(id, kind))
    run.write_attempt({"id": IDS["ee"], "reason": "no luck", "traceback": "File /somewhere"})
    bundle = Run(write_bundle(run, tmp_path / "bundle"))

    assert ["aa", "bb", "cc"] == sorted(names(bundle))
    assert {"seconds": {"fit": 1.5}, "copied_from": None} == next(iter(bundle.read_records()))[
        "observed"
    ]
    assert {
        IDS["ee"]: {"id": IDS["ee"], "reason": "no luck", "traceback": None}
    } == bundle.latest_attempts()
    assert run.read_plan() == bundle.read_plan()
    assert {digest: {"device": "cpu"}} == bundle.read_environments()
    lines = [lzma.decompress(path.read_bytes()).decode() for path in record_files(bundle.path)]
    others = [path for path in bundle.path.rglob("*.*") if path not in record_files(bundle.path)]
    assert 3 == len(lines)
    assert "/somewhere" not in "".join([*lines, *(path.read_text() for path in others)])


def test_a_bundle_holds_the_batteries_behind_its_results_and_no_others(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run.write_plan(PLAN)
    run.write_suite("version: 1\n")
    ids = {name: str(record(name, "battery")["id"]) for name in ("11", "22", "33", "44")}
    run.write_record(record("bb", "result", battery=ids["11"]))
    run.write_record(
        record(
            "ee",
            "result",
            battery={"robust_accuracy@0.1": ids["22"], "robust_accuracy@0.2": ids["33"]},
        )
    )
    for name in ids:
        run.write_record(record(name, "battery"))
    bundle = Run(write_bundle(run, tmp_path / "bundle"))

    assert ["11", "22", "33"] == sorted(names(bundle, "battery"))


def test_bundle_holds_the_newest_battery_of_a_model_whose_result_names_an_old_one(
    tmp_path: Path,
) -> None:
    run = Run(tmp_path / "run")
    run.write_plan(PLAN)
    run.write_suite("version: 1\n")
    asked: dict[str, Json] = {"inputs": {"model": "m", "test": "t"}}
    old, new, other = (
        complete_record(
            {"kind": "battery", "asked": {"inputs": {"model": model, "test": "t"}}},
            options={"name": name},
            version=version,
        )
        for name, model, version in (("old", "m", 2), ("new", "m", 3), ("other", "n", 3))
    )
    parts = {"kind": "result", "battery": old["id"], "asked": asked}
    result = complete_record(parts, options={"name": "bb"})
    plan = cast("dict[str, Any]", {**PLAN})  # Any: JSON
    plan["trials"] = [{**plan["trials"][0], "evaluations": {"pgd": [result["id"]]}}]
    run.write_plan(plan)
    for each in (old, new, other, result):
        run.write_record(each)
    bundle = Run(write_bundle(run, tmp_path / "bundle"))

    assert ["new", "old"] == sorted(names(bundle, "battery"))


def test_a_bundle_holds_the_arrays_that_it_is_asked_for_and_no_others(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run.write_plan(PLAN)
    run.write_suite("version: 1\n")
    ids = {name: str(record(name, "result")["id"]) for name in ("bb", "ee", "ff")}
    for name, id in ids.items():
        file = f"samples/{id[:2]}/{id}.safetensors"
        (run.path / file).parent.mkdir(parents=True, exist_ok=True)
        save_file({field: np.arange(3.0) for field in ("alpha", "beta", "loss")}, run.path / file)
        described: Json = {
            "file": file,
            "sha256": file_sha256(run.path / file),
            "fields": ["alpha", "beta", "loss"],
        }
        run.write_record(record(name, "result", samples=described))
    wanted = {ids["bb"]: {"beta", "alpha"}, ids["ee"]: {"loss"}}
    first = write_bundle(run, tmp_path / "first", samples=wanted)
    kept = {path.stem: sorted(load_file(path)) for path in first.rglob("*.safetensors")}
    second = write_bundle(Run(first), tmp_path / "second", samples=wanted)
    told = [
        cast("dict[str, Any]", one)["samples"]["fields"] for one in Run(second).read_records()
    ]  # Any: JSON
    write_bundle(run, first, samples={ids["bb"]: {"beta"}})

    assert {ids["bb"]: ["alpha", "beta"], ids["ee"]: ["loss"]} == kept
    assert [["alpha", "beta"], ["loss"]] == sorted(told)
    assert [ids["bb"]] == [path.stem for path in first.rglob("*.safetensors")]


def test_many_records_of_a_kind_are_spread_over_files_by_their_first_digit(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    made = [record(str(k), "result") for k in range(64)]
    ids = [str(one["id"]) for one in made]
    digits = sorted({id[0] for id in ids})
    run.write_plan(
        {**PLAN, "trials": [{"id": IDS["aa"], "evaluations": {"clean": ids}, "builds": []}]}
    )
    run.write_suite("version: 1\n")
    for one in made:
        run.write_record(one | {"filling": "x" * 1000})
    few = write_bundle(run, tmp_path / "bundle")
    files = [path.name for path in (few / "records").iterdir()]
    for one in made:  # random digits, which no compression makes shorter than half
        run.write_record(one | {"filling": secrets.token_hex(MAX_FILE_BYTES // 60)})
    many = write_bundle(run, few)

    assert ["result.jsonl.xz"] == files
    assert [f"result-{digit}.jsonl.xz" for digit in digits] == sorted(
        path.name for path in (many / "records").iterdir()
    )
    assert sorted(ids) == [one["id"] for one in Run(many).read_records()]


def test_a_bundle_has_the_same_bytes_each_time(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run.write_plan(PLAN)
    run.write_suite("version: 1\n")
    run.write_record(record("bb", "result"))
    run.write_record(record("aa", "fit"))
    first = write_bundle(run, tmp_path / "first")
    second = write_bundle(Run(first), tmp_path / "second")

    assert {path.relative_to(first): path.read_bytes() for path in first.rglob("*.*")} == {
        path.relative_to(second): path.read_bytes() for path in second.rglob("*.*")
    }
