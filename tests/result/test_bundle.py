from __future__ import annotations

from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from advtransfer.files import sha256_of
from advtransfer.result import Record, Run
from advtransfer.result.bundle import LARGEST, write_bundle
from advtransfer.types import Json

PLAN: dict[str, Json] = {
    "suite": "small",
    "title": "Small",
    "trials": [
        {"id": "aa", "evaluations": {"clean": ["bb"]}, "builds": ["cc"]},
        {"id": "dd", "evaluations": {"clean": ["ee"]}, "builds": ["cc"]},
    ],
}


def record(id: str, kind: str) -> Record:
    return {"id": id, "kind": kind, "observed": {"seconds": {"fit": 1.5}, "copied_from": "/somewhere"}}


def test_a_bundle_reads_like_the_run_it_was_made_from(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run.write_plan(PLAN)
    run.write_suite("version: 1\n")
    digest = run.write_environment({"device": "cpu"})
    for id, kind in [("aa", "fit"), ("bb", "result"), ("cc", "source"), ("ff", "fit")]:
        run.write(record(id, kind))
    run.write_attempt({"id": "ee", "reason": "no luck", "traceback": "File /somewhere"})
    bundle = Run(write_bundle(run, tmp_path / "bundle"))

    assert {"aa", "bb", "cc"} == {str(one["id"]) for one in bundle.records()}
    assert {"seconds": {"fit": 1.5}, "copied_from": None} == next(iter(bundle.records()))["observed"]
    assert {"ee": {"id": "ee", "reason": "no luck", "traceback": None}} == bundle.attempts()
    assert run.plan() == bundle.plan()
    assert {digest: {"device": "cpu"}} == bundle.environments()
    assert "/somewhere" not in "".join(path.read_text() for path in bundle.path.rglob("*.*"))


def test_a_bundle_holds_the_batteries_behind_its_results_and_no_others(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run.write_plan(PLAN)
    run.write_suite("version: 1\n")
    run.write(record("bb", "result") | {"battery": "11"})
    run.write(record("ee", "result") | {"battery": {"robust_accuracy@0.1": "22", "robust_accuracy@0.2": "33"}})
    for id in ("11", "22", "33", "44"):
        run.write(record(id, "battery"))
    bundle = Run(write_bundle(run, tmp_path / "bundle"))

    assert ["11", "22", "33"] == [one["id"] for one in bundle.records() if one["kind"] == "battery"]


def test_a_bundle_holds_the_arrays_that_it_is_asked_for_and_no_others(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run.write_plan(PLAN)
    run.write_suite("version: 1\n")
    for id in ("bb", "ee", "ff"):
        file = f"samples/{id}/{id}.safetensors"
        (run.path / file).parent.mkdir(parents=True)
        save_file({name: np.arange(3.0) for name in ("alpha", "beta", "loss")}, run.path / file)
        described: Json = {"file": file, "sha256": sha256_of(run.path / file), "fields": ["alpha", "beta", "loss"]}
        run.write(record(id, "result") | {"samples": described})
    first = write_bundle(run, tmp_path / "first", samples={"bb": {"beta", "alpha"}, "ee": {"loss"}})
    kept = {path.stem: sorted(load_file(path)) for path in first.rglob("*.safetensors")}
    second = write_bundle(Run(first), tmp_path / "second", samples={"bb": {"beta", "alpha"}, "ee": {"loss"}})
    write_bundle(run, first, samples={"bb": {"beta"}})

    assert {"bb": ["alpha", "beta"], "ee": ["loss"]} == kept
    assert [["alpha", "beta"], ["loss"]] == [one["samples"]["fields"] for one in Run(second).records()]  # type: ignore[call-overload, index]  # JSON
    assert ["bb"] == [path.stem for path in first.rglob("*.safetensors")]


def test_many_records_of_a_kind_are_spread_over_files_by_their_first_digit(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    ids = [f"{k:x}{k:x}" for k in range(16)]
    run.write_plan({"trials": [{"id": "aa", "evaluations": {"clean": ids}, "builds": []}]})
    run.write_suite("version: 1\n")
    for id in ids:
        run.write(record(id, "result") | {"filling": "x" * 1000})
    few = write_bundle(run, tmp_path / "bundle")
    names = [path.name for path in (few / "records").iterdir()]
    for id in ids:
        run.write(record(id, "result") | {"filling": "x" * (LARGEST // 15)})
    many = write_bundle(run, few)

    assert ["result.jsonl"] == names
    assert [f"result-{k:x}.jsonl" for k in range(16)] == sorted(path.name for path in (many / "records").iterdir())
    assert ids == [one["id"] for one in Run(many).records()]


def test_a_bundle_has_the_same_bytes_each_time(tmp_path: Path) -> None:
    run = Run(tmp_path / "run")
    run.write_plan(PLAN)
    run.write_suite("version: 1\n")
    run.write(record("bb", "result"))
    run.write(record("aa", "fit"))
    first = write_bundle(run, tmp_path / "first")
    second = write_bundle(Run(first), tmp_path / "second")

    assert {path.relative_to(first): path.read_bytes() for path in first.rglob("*.*")} == {
        path.relative_to(second): path.read_bytes() for path in second.rglob("*.*")
    }
