"""Challenges: examples that break lower a number by exactly their samples, all others lower nothing."""

from __future__ import annotations

import io
import json
import math
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from numpy.lib import format as npy_format
from numpy.typing import NDArray

from advtransfer.errors import AdvTransferError, BadInput, Diverged
from advtransfer.files import file_sha256
from advtransfer.host import Host
from advtransfer.leaderboard.page import make_page
from advtransfer.leaderboard.publish import load_run_records
from advtransfer.leaderboard.run_data import gather_run_data
from advtransfer.node import Node
from advtransfer.publication.challenge import ChallengeResult, challenge_result
from advtransfer.publication.challenge_checks import (
    ChallengeCheck,
    challenge_record_faults,
    check_challenges,
)
from advtransfer.publication.manifest import file_entries
from advtransfer.publication.publish import Origin, publish_run
from advtransfer.result import Run
from advtransfer.result.challenges import (
    Challenge,
    challenge_faults,
    challenge_path,
    credit_challenges,
    read_challenges,
)
from advtransfer.result.run_folder import record_bytes
from advtransfer.runner import RunSettings, run_suite
from advtransfer.suite import load
from advtransfer.toolkit.adversary import Adversary
from advtransfer.toolkit.pgd import pgd_perturb
from advtransfer.types import Outcome
from advtransfer.worker.fit import FitJob
from advtransfer.worker.refit import refitted_model

SUITE = """
version: 1
title: A weak attack
datasets:
  high: {use: vision/digits, classes: [5, 6, 7, 8, 9]}
sources:
  random: {use: vision/random_init, data: high, network: small_cnn}
targets:
  digits: {data: high, n: [100], seeds: 1, validation: 0, test: 60}
transfers:
  probe: {use: finetune/linear_probe}
evaluations:
  other: {use: foolbox/pgd, norm: linf, eps: 0.05, steps: 2, step_size: 0.004, random_start: false}
  pgd: {use: foolbox/pgd, norm: linf, eps: 0.05, steps: 2, step_size: 0.005, random_start: false}
  small: {use: foolbox/pgd, norm: linf, eps: 0.02, steps: 2, step_size: 0.005, random_start: false}
"""
QUICKSTART = Path(__file__).parents[2] / "leaderboard" / "results" / "quickstart" / "advtransfer"
METRIC = "pgd.robust_accuracy@0.05"
EPS = 0.05
Arrays = dict[str, NDArray[Any]]  # Any: keys and inputs differ in dtype


class Case:
    """A finished run without batteries, and its trial."""

    def __init__(self, folder: Path, cache: Path, host: Host) -> None:
        self.folder, self.cache, self.host = folder, cache, host
        self.trial = json.loads((folder / "plan.json").read_text())["trials"][0]["id"]

    def challenge(
        self, path: Path, who: str = "A. Attacker", metric: str = METRIC
    ) -> ChallengeResult:
        return challenge_result(
            self.folder,
            trial=self.trial,
            metric=metric,
            examples=path,
            who=who,
            host=self.host,
            cache=self.cache,
        )

    def robust(self, label: str = "pgd") -> float:
        data = gather_run_data(load_run_records(Run(self.folder)))
        (trial,) = data.plan.trials
        (result,) = data.trial_results(trial, label)
        assert result is not None
        name = next(name for name in result.metrics if name.startswith("robust_accuracy"))
        return result.metrics[name].low


def run_weak(folder: Path, *, threads: int = 1) -> Case:
    suite = folder / "weak.yaml"
    suite.write_text(SUITE)
    host = Host.discover()
    settings = RunSettings(
        runs=folder / "runs",
        cache=folder / "cache",
        battery="none",
        executor="local/inline",
        jobs=1,
        threads=threads,
    )
    summary = run_suite(load(str(suite), host), settings=settings, host=host)
    return Case(summary.run, folder / "cache", host)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return run_weak(tmp_path_factory.mktemp("challenge"))


@pytest.fixture
def case(finished: Case) -> Iterator[Case]:
    yield finished
    for path in (finished.folder / "challenges").glob("*"):
        path.unlink()


@pytest.fixture(scope="module")
def attacked(finished: Case) -> Arrays:
    """PGD examples of all test samples, with more steps than the suite's attack has."""
    from advtransfer.planning import Plan
    from advtransfer.planning.nodes import SuiteIndex

    suite = load(str(finished.folder.parents[1] / "weak.yaml"), finished.host)
    index = SuiteIndex(suite)
    plan = Plan.from_json(Run(finished.folder).read_plan())
    fit = index.trial_fit(plan.trials[0])
    test = cast("Node", index.trial_results(plan.trials[0])[0].inputs["test"])
    scratch = finished.folder.parent / "again"
    with refitted_model(
        fit,
        test,
        host=finished.host,
        folder=scratch,
        cache=finished.cache,
    ) as model:
        positions = torch.arange(len(model.test))
        inputs, labels = model.test.inputs(positions), model.test.labels(positions)
        adversary = Adversary(norm="linf", eps=EPS, steps=40, step_size=0.005)
        perturb = pgd_perturb(adversary)
        with torch.enable_grad():
            perturbed = perturb(model.model, inputs, labels, torch.Generator())
    clean = inputs.numpy()
    moved = perturbed.detach().numpy()
    # Rounding may leave the ball by more than the host allows.
    moved = np.clip(moved, clean - EPS, clean + EPS).clip(0, 1).astype(np.float32)
    return {"keys": np.array(list(model.test.keys)), "inputs": moved, "clean": clean}


def save_examples(
    path: Path, keys: NDArray[Any], inputs: NDArray[Any]
) -> Path:  # Any: keys and inputs
    np.savez(path, keys=keys.astype(np.int64), inputs=inputs.astype(np.float32))
    return path


def test_examples_that_break_lower_a_number_by_exactly_their_samples(
    case: Case, attacked: Arrays, tmp_path: Path
) -> None:
    before, other, smaller = case.robust(), case.robust("other"), case.robust("small")
    path = save_examples(tmp_path / "e.npz", attacked["keys"], attacked["inputs"])
    result = case.challenge(path)
    (challenge,), faults = read_challenges(case.folder)
    assert not faults
    assert result.fell == len(challenge.positions) > 0
    assert case.robust() == pytest.approx(before - result.fell / 60)
    assert result.after == pytest.approx(case.robust())
    # The other attack in this ball loses no more than these samples, and a smaller ball none.
    assert other - result.fell / 60 - 1e-9 <= case.robust("other") < other
    assert case.robust("small") == smaller
    page = make_page(load_run_records(Run(case.folder))).markdown
    assert "A. Attacker" in page
    assert f"{result.fell} test images" in page


def test_the_model_is_fitted_again_with_the_settings_of_its_record(
    attacked: Arrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = run_weak(tmp_path, threads=2)
    used: list[object] = []

    def refitted(fit: Node, test: Node, **options: object) -> object:
        used.append(options["threads"])
        return refitted_model(fit, test, **options)  # type: ignore[arg-type]  # passed on

    monkeypatch.setattr("advtransfer.publication.challenge.refitted_model", refitted)
    path = save_examples(tmp_path / "e.npz", attacked["keys"], attacked["inputs"])

    assert case.challenge(path).is_reproduced
    assert used == [2]


def test_a_second_challenge_credits_only_what_the_first_left(
    case: Case, attacked: Arrays, tmp_path: Path
) -> None:
    path = save_examples(tmp_path / "e.npz", attacked["keys"], attacked["inputs"])
    assert case.challenge(path).path is not None
    again = case.challenge(path, who="B. Later")
    assert again.path is None
    assert again.fell == 0
    assert len(read_challenges(case.folder)[0]) == 1


def test_challengers_of_the_same_samples_are_credited_once(
    case: Case, attacked: Arrays, tmp_path: Path
) -> None:
    """Two who work at the same time, from the same records, each lower the same number."""
    path = save_examples(tmp_path / "e.npz", attacked["keys"], attacked["inputs"])
    fell = case.challenge(path).fell
    (first,), _ = read_challenges(case.folder)
    lowered = case.robust()
    second = replace(first, who="B. Later", date="9999-12-31", examples="1" * 64)
    smaller = replace(first, who="C. Narrow", date="9999-12-31", eps=EPS / 2)
    for each in (second, smaller):
        challenge_path(case.folder, each.id).write_bytes(record_bytes(each.to_json()))

    assert case.robust() == lowered
    page = make_page(load_run_records(Run(case.folder))).markdown
    lines = {line.partition(",")[0]: line for line in page.splitlines() if " eps 0.0" in line}
    assert f": {fell} test images of" in lines["- A. Attacker"]
    assert ": 0 test images of" in lines["- B. Later"]
    assert lines["- B. Later"].endswith(f"; {fell} more had fallen to challenges above")
    # That a sample falls in a ball says nothing of a smaller one.
    assert f": {fell} test images of" in lines["- C. Narrow"]


@pytest.mark.parametrize(
    ("changes", "own"),
    [
        ({}, [5]),
        ({"eps": 0.2}, [5]),
        ({"eps": 0.05}, [1, 2, 5]),
        ({"norm": "l2"}, [1, 2, 5]),
        ({"model": "9" * 64}, [1, 2, 5]),
        ({"test": "9" * 64}, [1, 2, 5]),
        ({"metric": "robust_accuracy@0.1", "result": "9" * 64}, [5]),
    ],
)
def test_a_later_challenge_is_credited_with_what_stood_in_its_ball(
    changes: dict[str, Any],  # Any: fields of a challenge
    own: list[int],
) -> None:
    ids = dict.fromkeys(("result", "model", "test", "weights", "examples"), "0" * 64)
    first = Challenge(
        **ids,
        metric="m",
        norm="linf",
        eps=0.1,
        of=9,
        positions=[1, 2, 3],
        who="A",
        date="2026-01-01",
    )
    later = replace(first, who="B", date="2026-01-02", positions=[1, 2, 5], **changes)
    credited = credit_challenges([later, first])

    assert [(first, [1, 2, 3]), (later, own)] == credited


def noise(attacked: Arrays) -> NDArray[Any]:  # Any: as above
    generator = np.random.default_rng(0)
    return (attacked["clean"] + generator.uniform(-1e-4, 1e-4, attacked["clean"].shape)).clip(0, 1)


@pytest.mark.parametrize("kind", ["clean", "noise", "nan", "outside the ball", "outside the box"])
def test_examples_that_prove_nothing_lower_nothing(
    case: Case, attacked: Arrays, tmp_path: Path, kind: str
) -> None:
    before = case.robust()
    inputs = {
        "clean": attacked["clean"],
        "noise": noise(attacked),
        "nan": np.full_like(attacked["inputs"], np.nan),
        "outside the ball": 1 - attacked["clean"],
        "outside the box": attacked["clean"] - EPS,
    }[kind]
    result = case.challenge(save_examples(tmp_path / "e.npz", attacked["keys"], inputs))
    assert result.path is None
    assert case.robust() == before
    assert not list(case.folder.glob("challenges/*"))


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("repeated", "more than once"),
        ("negative", "keys of 0 or more"),
        ("unknown", "other keys"),
        ("shape", "an image for each key"),
        ("many", "with 1 to 60 examples"),
        ("bomb", "of the shape"),
        ("object", "expected int64"),
        ("double", "expected float32"),
        ("names", "2 files"),
    ],
)
def test_files_that_cannot_be_used_are_refused_before_the_model_is_made(
    case: Case,
    attacked: Arrays,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    reason: str,
) -> None:
    monkeypatch.setattr("advtransfer.publication.challenge.refitted_model", pytest.fail)
    keys, inputs = attacked["keys"].astype(np.int64), attacked["inputs"]
    path = tmp_path / "e.npz"
    cases: dict[str, Arrays] = {
        "repeated": {"keys": np.full_like(keys, keys[0]), "inputs": inputs},
        "negative": {"keys": -1 - keys, "inputs": inputs},
        "many": {"keys": np.arange(10**4), "inputs": np.zeros((10**4, 1, 8, 8), np.float32)},
        "bomb": {"keys": keys[:1], "inputs": np.zeros((1, 1, 2**10, 2**10), np.float32)},
        "unknown": {"keys": keys + 10_000, "inputs": inputs},
        "shape": {"keys": keys, "inputs": inputs[:, :, :4]},
        "object": {"keys": keys.astype(object), "inputs": inputs},
        "double": {"keys": keys, "inputs": inputs.astype(np.float64)},
        "names": {"keys": keys, "images": inputs},
    }
    save = np.savez if kind == "object" else np.savez_compressed
    save(path, allow_pickle=True, **cases[kind])
    with pytest.raises(AdvTransferError, match=reason):
        case.challenge(path)
    assert not list(case.folder.glob("challenges/*"))


REFUSE = """
import sys, time
from pathlib import Path
from advtransfer.host import Host
from advtransfer.planning import Plan
from advtransfer.publication.challenge import challenge_result
from advtransfer.result import Run
bundle, examples, cache = map(Path, sys.argv[1:])
host = Host.discover()
trial = Plan.from_json(Run.open(bundle).read_plan()).trials[0].name
began = time.process_time()
try:
    challenge_result(bundle, trial=trial, metric="auto.robust_accuracy@0.1", examples=examples, who="A",
                     host=host, cache=cache)
except Exception as error:
    print(type(error).__name__)
status = Path("/proc/self/status").read_text()
print(status.partition("VmHWM:")[2].split()[0], time.process_time() - began)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize("padding", [0, 2**18])
def test_a_zip_bomb_costs_little(tmp_path: Path, padding: int) -> None:
    examples = tmp_path / "e.npz"
    header = io.BytesIO()
    npy_format.write_array_header_1_0(
        header, {"descr": "<f4", "fortran_order": False, "shape": (2, 1, 2**13, 2**13)}
    )
    keys = io.BytesIO()
    np.save(keys, np.arange(2))
    with zipfile.ZipFile(examples, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("keys.npy", keys.getvalue())
        with archive.open("inputs.npy", "w") as member:
            member.write(header.getvalue())
            for _ in range(padding // 2**10):
                member.write(bytes(2**20))
    child = subprocess.run(
        [sys.executable, "-c", REFUSE, str(QUICKSTART), str(examples), str(tmp_path / "cache")],
        capture_output=True,
        text=True,
        check=True,
    )
    error, figures = child.stdout.splitlines()
    peak, seconds = figures.split()
    assert error == ("BadInput" if not padding else "CacheError")
    assert int(peak) * 1024 < 200 * 2**20
    # The peak tells that nothing was unpacked. A busy machine needs over a second for the refusal.
    assert float(seconds) < 5


def test_other_weights_are_not_reproduced_and_lower_nothing(
    case: Case, attacked: Arrays, tmp_path: Path
) -> None:
    record = Run(case.folder).read_record(case.trial)
    file = next(case.folder.glob(f"records/*/{case.trial}.json"))
    original = file.read_bytes()
    changed = {**record, "weights": {**record["weights"], "digest": "0" * 64}}  # type: ignore[dict-item]  # JSON of a record
    try:
        file.write_text(json.dumps(changed))
        result = case.challenge(
            save_examples(tmp_path / "e.npz", attacked["keys"], attacked["inputs"])
        )
    finally:
        file.write_bytes(original)
    assert not result.is_reproduced
    assert result.path is None
    assert "not reproduced here" in result.lines()[0]


def test_a_challenge_of_other_weights_is_not_folded(
    case: Case, attacked: Arrays, tmp_path: Path
) -> None:
    before = case.robust()
    result = case.challenge(save_examples(tmp_path / "e.npz", attacked["keys"], attacked["inputs"]))
    assert result.path is not None
    value = json.loads(result.path.read_text())
    value["weights"] = "0" * 64
    result.path.write_text(json.dumps(value))
    # Its id no longer is that of its content, so it is named as damaged and not used.
    assert next(challenge_faults(value, id=result.path.stem)).startswith("found the id")
    assert case.robust() == before
    assert "challenges/" in make_page(load_run_records(Run(case.folder))).markdown


def test_unknown_metrics_and_trials_are_refused_by_name(
    case: Case, attacked: Arrays, tmp_path: Path
) -> None:
    path = save_examples(tmp_path / "e.npz", attacked["keys"], attacked["inputs"])
    with pytest.raises(BadInput, match=r"other\.robust_accuracy@0\.05"):
        case.challenge(path, metric="clean.accuracy")
    case.trial = "no such trial"
    try:
        with pytest.raises(BadInput, match="0 trials"):
            case.challenge(path)
    finally:
        case.trial = json.loads((case.folder / "plan.json").read_text())["trials"][0]["id"]


def test_a_challenge_is_no_part_of_a_submission(
    case: Case, attacked: Arrays, tmp_path: Path
) -> None:
    before = file_entries(case.folder)
    case.challenge(save_examples(tmp_path / "e.npz", attacked["keys"], attacked["inputs"]))
    assert file_entries(case.folder) == before


def test_a_submission_that_is_published_again_keeps_its_challenges(
    case: Case, attacked: Arrays, tmp_path: Path
) -> None:
    citation = tmp_path / "CITATION"
    citation.write_text("A. Author: weak. 2026.")
    origin = Origin("first", "A. Author", "CC-BY-4.0", citation)
    folder = publish_run(Run(case.folder), tmp_path / "board", origin, found=True, pages=False)
    case.challenge(save_examples(tmp_path / "e.npz", attacked["keys"], attacked["inputs"]))
    (challenge,), _ = read_challenges(case.folder)
    shutil.copytree(case.folder / "challenges", folder / "challenges", dirs_exist_ok=True)
    other = rewrite(case, challenge, weights="0" * 64)
    foreign = shutil.move(challenge_path(case.folder, other.id), tmp_path)
    for path in (case.folder / "challenges").glob("*"):
        path.unlink()

    publish_run(Run(case.folder), tmp_path / "board", origin, pages=False)
    assert [challenge] == read_challenges(folder)[0]

    shutil.copy(foreign, folder / "challenges")
    before = sorted(path.name for path in folder.rglob("*"))
    with pytest.raises(BadInput, match="about other records"):
        publish_run(Run(case.folder), tmp_path / "board", origin, pages=False)
    assert before == sorted(path.name for path in folder.rglob("*"))


def test_samples_that_are_wrong_without_attack_have_nothing_to_lose(
    case: Case, attacked: Arrays, tmp_path: Path
) -> None:
    case.challenge(save_examples(tmp_path / "e.npz", attacked["keys"], attacked["inputs"]))
    data = gather_run_data(load_run_records(Run(case.folder)))
    (result,) = data.trial_results(data.plan.trials[0], "pgd")
    assert result is not None
    name = next(name for name in result.metrics if name.startswith("robust_accuracy"))
    folded = result.sample_outcomes[name].to_array()
    (challenge,), _ = read_challenges(case.folder)
    assert (folded[np.array(challenge.positions)] == Outcome.BROKEN).all()


# --- checked again by others ---


def rewrite(case: Case, challenge: Challenge, **changes: object) -> Challenge:
    """Replace a challenge by one that says something else, and is consistent in itself."""
    changed = replace(challenge, **changes)  # type: ignore[arg-type]  # fields of several types
    old, new = (challenge_path(case.folder, each.id) for each in (challenge, changed))
    content = old.with_suffix(".npz").read_bytes()
    for path in (old, old.with_suffix(".npz")):
        path.unlink()
    new.write_bytes(record_bytes(changed.to_json()))
    new.with_suffix(".npz").write_bytes(content)
    return changed


def check_again(case: Case, **options: object) -> ChallengeCheck:
    return check_challenges(case.folder, host=case.host, **options)  # type: ignore[arg-type]  # as it takes them


def record_texts(case: Case) -> list[str]:
    records = {str(record["id"]): record for record in Run(case.folder).read_records()}
    return [fault.text for fault in challenge_record_faults(case.folder, records)]


def test_a_challenge_travels_with_its_examples_and_is_checked_again(
    case: Case, attacked: Arrays, tmp_path: Path
) -> None:
    given = save_examples(tmp_path / "e.npz", attacked["keys"], attacked["inputs"])
    result = case.challenge(given)
    assert result.path is not None
    assert file_sha256(given) == file_sha256(result.path.with_suffix(".npz"))
    (challenge,), _ = read_challenges(case.folder)
    assert [] == record_texts(case)
    by_ball = check_again(case)
    assert ([], []) == (by_ball.faults, by_ball.notes)
    assert [f"{challenge.id[:12]} (A. Attacker)"] == [
        line.partition(": ")[0].removeprefix("challenge ") for line in by_ball.lines()
    ]
    again = check_again(case, required=[challenge.id[:8]])
    assert [] == again.faults
    assert again.lines()[0].endswith("and the model, fitted again, misclassifies them")
    with pytest.raises(BadInput, match="--challenge '0000'"):
        check_again(case, required=["0000"])
    # A challenge that says that more samples fell than the model misclassifies: a ball holds them all.
    rewrite(case, challenge, positions=list(range(60)))
    assert [] == check_again(case).faults
    (fault,) = check_again(case, refit=True).faults
    assert "the model, fitted again, classifies correctly" in fault.text


def test_examples_that_are_not_here_are_said_to_be_unchecked_or_at_fault(
    case: Case, attacked: Arrays, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = save_examples(tmp_path / "e.npz", attacked["keys"], attacked["inputs"])
    monkeypatch.setattr("advtransfer.publication.challenge.MAX_BUNDLE_FILE_BYTES", 1000)
    result = case.challenge(given)
    assert result.path is not None
    assert "--examples FILE" in result.lines()[-1]
    assert not result.path.with_suffix(".npz").exists()
    (note,) = check_again(case).notes
    assert "not checked again, though it lowers numbers: its examples are not here" in note
    (fault,) = check_again(case, required=[result.path.stem]).faults
    assert fault.text.startswith("not checked: its examples are not here")
    other = save_examples(tmp_path / "o.npz", attacked["keys"], attacked["clean"])
    found = check_again(case, given=[given, other])
    assert ([], 1) == (found.faults, len(found.held))
    assert [f"{other} has the examples of no challenge here"] == found.notes


@pytest.mark.parametrize("error", [Diverged(3, math.nan), RuntimeError("no such kernel")])
def test_a_challenged_model_whose_fit_fails_is_a_fault_of_a_replay(
    case: Case,
    attacked: Arrays,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    """A challenge lowers numbers, so that one whose model cannot be made again must be seen."""
    case.challenge(save_examples(tmp_path / "e.npz", attacked["keys"], attacked["inputs"]))

    def fail(_: FitJob) -> None:
        raise error

    monkeypatch.setattr(FitJob, "fit_or_load", fail)
    found = check_again(case, refit=True)
    (fault,) = found.faults
    assert f"found a fit that fails here ({type(error).__name__}: " in fault.text
    assert ([], []) == (found.notes, found.held)
    assert [] == check_again(case).faults


def test_false_challenges_are_faults(case: Case, attacked: Arrays, tmp_path: Path) -> None:
    case.challenge(save_examples(tmp_path / "e.npz", attacked["keys"], attacked["inputs"]))
    (challenge,), _ = read_challenges(case.folder)
    changed = rewrite(case, challenge, eps=0.01)
    assert ["found the ball linf 0.01; expected that of robust_accuracy@0.05"] == record_texts(case)
    (fault,) = check_again(case).faults
    assert "found no example in ball (linf 0.01)" in fault.text
    changed = rewrite(case, changed, eps=0.05, weights="1" * 64)
    assert record_texts(case)[0].startswith("found a challenge of the weights 111111111111")
    (note,) = check_again(case, refit=True).notes
    assert "not reproduced here" in note
    changed = rewrite(case, changed, result="2" * 64, weights=challenge.weights)
    assert record_texts(case)[0].startswith("found the result 222222222222")
    changed = rewrite(case, changed, result=challenge.result, of=61)
    assert record_texts(case)[0].startswith("found robust_accuracy@0.05 of 61 samples")
    changed = rewrite(case, changed, of=60)
    file = challenge_path(case.folder, changed.id).with_suffix(".npz")
    save_examples(file, attacked["keys"], attacked["clean"])
    (fault,) = check_again(case).faults
    assert "as the challenge says" in fault.text
    save_examples(file, attacked["keys"] + 10**6, attacked["inputs"])
    changed = rewrite(case, changed, examples=file_sha256(file))
    file = challenge_path(case.folder, changed.id).with_suffix(".npz")
    (fault,) = check_again(case).faults
    assert "keys" in fault.text
    file.rename(file.with_name("stray.npz"))
    assert record_texts(case)[0].startswith("found a file of no challenge")
