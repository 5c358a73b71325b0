"""``also`` of a target: what is measured on further data sets, against copies of known accuracy and by hand."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits

import advtransfer as at
from advtransfer.api.arrays import DatasetInMemory

Record: TypeAlias = dict[str, Any]  # Any: JSON
Array: TypeAlias = NDArray[Any]
Arrays: TypeAlias = tuple[Array, Array]

CLASSES = 3
TEST_SIZE = 30
SHARED = 4
"""Images of the target's train part among the test images of `shifted`."""

SUITE = """\
title: Shift
sources: {random: {use: vision/random_init, data: own, network: small_cnn}}
targets: {digits: {data: own, n: [60], validation: 0.25ALSO}}
transfers:
  probe:
    use: finetune/linear_probe
    choose: {by: validation.accuracy, among: {C: [0.1, 1]}}
evaluations:
  clean: {use: foolbox/clean_accuracy}
  pgd: {use: foolbox/pgd, norm: linf, eps: 0.05, steps: 2, step_size: 0.03, restarts: 1}
exclude: [{evaluation: pgd/shifted}]
leaderboard:
  rank_by: clean.accuracy
  columns:
    [clean.accuracy, clean/shifted.accuracy, pgd.robust_accuracy, worst_linf.robust_accuracy]
"""
EXCLUDED = "exclude: [{evaluation: pgd/shifted}]"


def digits() -> tuple[Arrays, Arrays]:
    """Return train and test part of three classes of scikit-learn's digits, (N, 1, 8, 8) in [0, 1]."""
    bunch = load_digits(n_class=CLASSES)
    images = (bunch.images / 16).astype(np.float32)[:, None]
    train, test = (slice(0, 300), slice(300, 300 + TEST_SIZE))
    return (images[train], bunch.target[train]), (images[test], bunch.target[test])


def further() -> dict[str, DatasetInMemory]:
    """Return the target's own data, and copies of its test part under other train parts."""
    train, (images, labels) = digits()
    # No fit sees these: their labels are of no use.
    unused = (np.roll(train[0], 3, axis=2), np.roll(train[1], 1))
    shifted = np.roll(images, 1, axis=3) * 0.8
    shifted[:SHARED] = train[0][:SHARED]
    return {
        "own": at.dataset(train=train, test=(images, labels)),
        "same": at.dataset(train=unused, test=(images, labels)),
        "relabelled": at.dataset(train=unused, test=(images, (labels + 1) % CLASSES)),
        "shifted": at.dataset(train=unused, test=(shifted, labels)),
    }


def run(also: str, name: str, **settings: Any) -> at.Report:  # noqa: ANN401  # Any: settings of the run
    suite = SUITE.replace("ALSO", f", also: {also}" if also else "")
    if not also:
        suite = suite.replace("clean/shifted.accuracy, ", "").replace(EXCLUDED, "")
    return at.run(
        suite, name=name, datasets=further(), executor="local/inline", quiet=True, **settings
    )


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Iterator[at.Report]:
    folder = tmp_path_factory.mktemp("also")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("ADVTRANSFER_CACHE", str(folder / "cache"))
        yield run("[same, relabelled, shifted]", "shift")


def values(report: at.Report) -> dict[str, float]:
    return {
        f"{row['evaluation']}.{row['metric']}": float(str(row["value"]))
        for row in report.rows()
        if row["value"] is not None
    }


def records(folder: Path) -> dict[str, Record]:
    found = [json.loads(path.read_text()) for path in folder.glob("records/*/*.json")]
    return {record["id"]: record for record in found}


def results_by_label(report: at.Report) -> dict[str, Record]:
    (trial,) = json.loads((report.path / "plan.json").read_text())["trials"]
    found = records(report.path)
    return {label: found[id] for label, (id,) in trial["evaluations"].items()}


def table_rows(page: str, start: str) -> list[list[str]]:
    """Return the cells of the rows of tables that begin with a text."""
    lines = [line for line in page.splitlines() if line.startswith(f"| {start}")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def predictions(report: at.Report, images: Array) -> Array:
    trial = str(report.rows()[0]["trial"])
    with torch.no_grad():
        decisions: Array = (
            report.model(trial)(torch.from_numpy(images.astype(np.float32))).argmax(1).numpy()
        )
    return decisions


def test_the_same_test_part_has_equal_metrics_and_a_battery_of_its_own(report: at.Report) -> None:
    found = values(report)
    results = results_by_label(report)
    own = {name: value for name, value in found.items() if name.startswith(("clean.", "pgd."))}

    assert report.ok
    assert "pgd.robust_accuracy@0.05" in own
    assert own == {name: found[name.replace(".", "/same.", 1)] for name in own}
    assert results["pgd"]["outcomes"] == results["pgd/same"]["outcomes"]
    assert results["pgd"]["checks"] == results["pgd/same"]["checks"]
    # Its battery is one of other images, so it has a record of its own.
    batteries = {results[label]["battery"] for label in results if label.startswith("pgd")}
    assert len(batteries) == 3
    assert batteries <= records(report.path).keys()


def test_a_relabelled_copy_has_the_accuracy_of_the_confusions(report: at.Report) -> None:
    _, (images, labels) = digits()
    predicted = predictions(report, images)
    found = values(report)

    assert found["clean.accuracy"] == np.mean(predicted == labels)
    assert found["clean/relabelled.accuracy"] == np.mean(predicted == (labels + 1) % CLASSES)
    assert found["clean.accuracy"] > 0.8 > 0.2 > found["clean/relabelled.accuracy"]


def test_a_shifted_copy_has_the_outcomes_of_an_evaluation_by_hand(report: at.Report) -> None:
    _, (_, labels) = digits()
    data = further()["shifted"]
    is_right = predictions(report, data.arrays["x_test"]) == labels
    outcomes = [row["outcome"] for row in report.outcomes("clean/shifted.accuracy")]

    assert [outcome == "robust" for outcome in outcomes] == is_right.tolist()
    assert values(report)["clean/shifted.accuracy"] == is_right.mean()


def test_a_page_shows_both_and_names_the_further_data(report: at.Report) -> None:
    assert report.page is not None
    page = report.page.read_text()

    for name in ("clean.accuracy", "clean/shifted.accuracy", "pgd.robust_accuracy"):
        assert f" {name} " in page.partition("### digits, n = 60")[2]
    assert f"{values(report)['clean/shifted.accuracy']:.3f}".removeprefix("0") in page
    rows = table_rows(page, "digits, also ")
    assert [row[0] for row in rows] == [
        "digits, also relabelled",
        "digits, also same",
        "digits, also shifted",
    ]
    assert {row[-2] for row in rows} == {str(TEST_SIZE)}


def test_a_model_that_is_wrong_on_further_data_has_still_learned(report: at.Report) -> None:
    # On `relabelled` it is right on fewer images than one that always says the largest class.
    assert values(report)["clean/relabelled.accuracy"] < 1 / CLASSES
    assert {row["unlearned"] for row in report.rows()} == {None}


def test_the_worst_over_attacks_is_that_of_the_test_part(report: at.Report) -> None:
    found = values(report)

    assert found["worst_linf.robust_accuracy@0.05"] == found["pgd.robust_accuracy@0.05"]
    # On the relabelled copy nearly every image is wrong, and would pull the worst down.
    assert found["pgd/relabelled.robust_accuracy@0.05"] < found["pgd.robust_accuracy@0.05"]


def test_shared_images_of_further_data_are_counted_beside_its_results(report: at.Report) -> None:
    results = results_by_label(report)
    (fit,) = (record for record in records(report.path).values() if record["kind"] == "fit")
    pair = "also test in target train"

    assert "leakage" not in results["clean"]
    assert results["clean/shifted"]["leakage"][pair] == {
        "exact": SHARED,
        "near": 0,
        "of": TEST_SIZE,
    }
    assert not any("also" in name for name in fit["leakage"])
    assert report.page is not None
    section = report.page.read_text().partition("## Leakage")[2]
    (row,) = (
        row for row in table_rows(section, "digits") if row[2].startswith("shifted test in target")
    )
    assert row[3:] == [str(SHARED), "0", str(TEST_SIZE)]


def test_further_data_changes_no_fit_no_choice_and_no_result_that_was_recorded(
    report: at.Report,
    monkeypatch: pytest.MonkeyPatch,
    records_of: Callable[[Path], Mapping[str, str]],
) -> None:
    monkeypatch.chdir(report.path.parents[1])
    # In another folder, so that nothing is reused: the same records bit for bit.
    alone = run("", "alone")
    without = records_of(alone.path)

    assert without.items() <= records_of(report.path).items()

    before = {path: path.read_bytes() for path in alone.path.glob("records/*/*.json")}
    continued = run("[relabelled, shifted]", "alone")
    after = {path: path.read_bytes() for path in continued.path.glob("records/*/*.json")}

    assert before.items() <= after.items()
    added = [json.loads(text) for path, text in after.items() if path not in before]
    assert sorted(record["kind"] for record in added) == ["battery", *["result"] * 3]
    assert values(continued).items() <= values(report).items()


def test_test_images_of_a_trial_are_those_of_its_target(report: at.Report) -> None:
    _, (images, _) = digits()
    found = report.test_images(str(report.rows()[0]["trial"]))

    assert torch.equal(found.inputs, torch.from_numpy(images))


def write_archive(path: str, train: Arrays, test: Arrays, names: list[bytes]) -> None:
    # Any: numpy's stub takes a flag by name
    parts: dict[str, Any] = {
        "x_train": train[0],
        "y_train": train[1],
        "x_test": test[0],
        "y_test": test[1],
    }
    # Names as bytes, which only the data set itself reads.
    np.savez(path, **parts, class_names=np.array(names))


LEAKY = """\
datasets:
  own: {use: vision/npz, file: own.npz}
  other: {use: vision/npz, file: other.npz}
  noise: {use: vision/npz, file: noise.npz}
sources: {random: {use: vision/random_init, data: noise, network: small_cnn}}
targets: {own: {data: own, n: [20], leakage: error, also: [other]}}
transfers: {probe: {use: finetune/linear_probe, C: 1}}
evaluations: {clean: {use: foolbox/clean_accuracy}}
"""


@pytest.mark.parametrize(
    ("names", "leaked", "reason"),
    [
        ([b"a", b"c", b"b"], 0, "with names ('a', 'c', 'b'); expected ('a', 'b', 'c')"),
        ([b"a", b"b", b"c"], 2, "found leaked images (also test in target train: 2 exact, 0 near"),
    ],
)
def test_further_data_that_cannot_be_measured_fails_its_results_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[bytes], leaked: int, reason: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADVTRANSFER_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ADVTRANSFER_DATA", raising=False)
    train, test = digits()
    noise = np.random.default_rng(0).random(test[0].shape, dtype=np.float32), test[1]
    write_archive("noise.npz", noise, noise, [b"a", b"b", b"c"])
    write_archive("own.npz", train, test, [b"a", b"b", b"c"])
    test[0][:leaked] = train[0][:leaked]
    write_archive("other.npz", noise, test, names)
    report = at.run(LEAKY, name="leaky", executor="local/inline", battery="none", quiet=True)

    assert not report.ok
    by_label = {str(row["evaluation"]): row for row in report.rows()}
    assert by_label["clean"]["value"] is not None
    assert by_label["clean/other"]["status"] == "failed"
    assert reason in str(by_label["clean/other"]["reason"])
