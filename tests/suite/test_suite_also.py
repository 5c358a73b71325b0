"""``also`` of a target: further data sets, and the evaluations that are derived from them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from advtransfer.errors import BadInput
from advtransfer.host import Host
from advtransfer.suite import Suite, load_text

DATASETS = """\
low: {use: toy/images}
shifted: {use: toy/images, split: 1}
sizes: {use: toy/images, sweep: {split: [2, 3]}}"""
TARGETS = "task: {data: low, n: 20, also: [shifted]}"
CLEAN = "clean: {use: toy/fitted_accuracy}"


def labels_of(suite: Suite) -> list[str]:
    return [cell.label for cell in suite.evaluations]


def test_each_evaluation_of_a_fitted_model_is_measured_on_further_data(
    suite: Callable[..., Suite],
) -> None:
    evaluations = (
        "clean: {use: toy/fitted_accuracy}\npgd: {use: toy/fitted_attack, sweep: {eps: [0.1, 0.2]}}"
    )
    loaded = suite(datasets=DATASETS, targets=TARGETS, evaluations=evaluations)

    own = ["clean", "pgd[eps=0.1]", "pgd[eps=0.2]"]
    assert labels_of(loaded) == [*own, *(f"{label}/shifted" for label in own)]
    (target,) = loaded.targets
    assert [cell.label for cell in target.also] == ["shifted"]
    for cell, further in zip(loaded.evaluations[:3], loaded.evaluations[3:], strict=True):
        assert (further.test_data, cell.test_data) == (target.also[0], None)
        assert (further.node, further.only, further.facts) == (cell.node, cell.only, cell.facts)


def test_what_needs_no_fitted_model_is_measured_once(suite: Callable[..., Suite]) -> None:
    # The evaluation `toy/accuracy` says that it needs nothing.
    assert labels_of(suite(datasets=DATASETS, targets=TARGETS)) == ["clean"]


def test_points_of_a_sweep_are_further_data_sets_by_their_labels(
    suite: Callable[..., Suite],
) -> None:
    targets = "task: {data: low, n: 20, also: ['sizes[split=2]', 'sizes[split=3]']}"
    loaded = suite(datasets=DATASETS, targets=targets, evaluations=CLEAN)

    assert labels_of(loaded) == ["clean", "clean/sizes[split=2]", "clean/sizes[split=3]"]


def test_their_metrics_are_named_wherever_a_suite_names_one(suite: Callable[..., Suite]) -> None:
    loaded = suite(
        datasets=DATASETS,
        targets=TARGETS,
        evaluations="clean: {use: toy/fitted_accuracy}\npgd: {use: toy/fitted_attack, eps: [0.1, 0.2]}",
        leaderboard="""\
rank_by: clean/shifted.accuracy
columns: [clean.accuracy, pgd/shifted.robust_accuracy@0.1, pgd/shifted.robust_accuracy@1/5]
figures: [{kind: accuracy_vs_n, metric: clean/shifted.accuracy}]
questions: [{predictor: clean.accuracy, outcome: clean/shifted.accuracy, across: seed}]""",
    )

    assert loaded.leaderboard.rank_by == "clean/shifted.accuracy"
    assert loaded.leaderboard.columns == (
        "clean.accuracy",
        "pgd/shifted.robust_accuracy@0.1",
        "pgd/shifted.robust_accuracy@0.2",
    )
    assert loaded.leaderboard.figures[0]["metric"] == "clean/shifted.accuracy"
    assert loaded.leaderboard.questions[0]["outcome"] == "clean/shifted.accuracy"


def test_selections_name_them_apart_from_those_on_the_test_part(
    suite: Callable[..., Suite],
) -> None:
    exclude = "- {evaluation: clean}\n- {evaluation: '*/shifted'}"
    loaded = suite(datasets=DATASETS, targets=TARGETS, evaluations=CLEAN, exclude=exclude)

    assert [each.axes["evaluation"] for each in loaded.exclude] == [{"clean"}, {"clean/shifted"}]


@pytest.mark.parametrize(
    ("also", "problem"),
    [
        ("shifted", "7:34: found 'shifted'; expected a list of names of data sets"),
        ("[]", "7:34: found []; expected a list of names of data sets"),
        ("[{use: toy/images, split: 4}]", "7:35: found an inline data set; expected the name of"),
        ("[shiftde]", "7:35: found the unknown name 'shiftde'; expected an entry of datasets"),
        ("[low]", "7:35: found 'low', which is the target's own data or listed before"),
        ("[shifted, shifted]", "7:44: found 'shifted', which is the target's own data or listed"),
        ("[sizes]", "7:35: found 'sizes'; expected the name of one dataset, not of 2"),
    ],
)
def test_mistake_is_reported_at_its_position(
    mistakes: Callable[..., list[str]], also: str, problem: str
) -> None:
    (found,) = mistakes(datasets=DATASETS, targets=f"\ntask: {{data: low, n: 20, also: {also}}}")

    assert found.startswith(f"toy.yaml:{problem}")


def test_metric_on_a_data_set_with_a_mistake_is_no_further_mistake(
    mistakes: Callable[..., list[str]],
) -> None:
    datasets = "low: {use: toy/images}\nshifted: {use: toy/images, split: -1}"
    (found,) = mistakes(
        datasets=datasets,
        targets=TARGETS,
        evaluations=CLEAN,
        leaderboard="columns: [clean/shifted.accuracy]",
    )

    assert "found -1" in found


def test_label_that_means_two_evaluations_is_a_mistake(mistakes: Callable[..., list[str]]) -> None:
    evaluations = (
        "clean: {use: toy/fitted_accuracy}\npgd: {use: toy/fitted_accuracy, label: clean/shifted}"
    )
    (found,) = mistakes(datasets=DATASETS, targets=TARGETS, evaluations=evaluations)

    assert "'clean/shifted', the evaluation clean on shifted; expected another name" in found


def test_two_data_sets_of_one_label_are_a_mistake(mistakes: Callable[..., list[str]]) -> None:
    labelled = "b: {use: toy/images, split: 1, label: x}\nc: {use: toy/images, split: 2, label: x}"
    datasets = f"low: {{use: toy/images}}\n{labelled}"
    targets = "task: {data: low, n: 20, also: [b]}\nmore: {data: low, n: 30, also: [c]}"
    (found,) = mistakes(datasets=datasets, targets=targets, evaluations=CLEAN)

    assert found.startswith("toy.yaml:5:1: found the label 'x' of two further data sets")


def test_null_takes_the_list_of_a_parent_away(suite: Callable[..., Suite]) -> None:
    targets = "task: {data: low, n: 20, also: null}"

    assert suite(datasets=DATASETS, targets=targets).targets[0].also == ()


VISION = """\
version: 1
datasets:
  d: {use: vision/digits}
  few: {use: vision/digits, classes: [1, 2, 3]}
  large: {use: vision/digits, size: 16}
  small: {use: vision/digits, test_share: 0.1}
  values: {use: vision/synthetic}
sources: {s: {use: vision/trained, data: d, network: small_cnn, epochs: 1}}
targets: {all: {data: d, n: 20, test: 300, also: [few, large, small, values]}}
transfers: {probe: {use: finetune/linear_probe, C: 1}}
evaluations: {clean: {use: foolbox/clean_accuracy}}
"""


def test_what_a_plan_knows_of_the_data_must_agree() -> None:
    with pytest.raises(Exception, match="few") as caught:
        load_text(VISION, "shift", Host.discover())

    lines = str(caught.value).splitlines()
    assert "<shift>:9:51: found 'few' with classes: 3; expected 10" in lines[0]
    assert any(
        "'large' with inputs of shape (1, 16, 16); expected (1, 8, 8)" in line for line in lines
    )
    assert any("'small' with 180 test images; expected at least 300" in line for line in lines)
    assert any(
        "'values' with labels of the kind values; expected classes" in line for line in lines
    )


def named_archive(path: Path, names: list[str] | None) -> None:
    images = np.zeros((4, 8, 8, 1), np.uint8)
    labels = np.arange(4) % 2
    # Any: numpy's stub takes a flag by name
    parts: dict[str, Any] = {
        "x_train": images,
        "y_train": labels,
        "x_test": images,
        "y_test": labels,
    }
    if names is not None:
        parts["class_names"] = np.array(names)
    np.savez(path, **parts)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["cat", "dog"], None),
        (["0", "1"], None),
        (None, None),
        (["dog", "cat"], "found 'other' with the classes dog, cat; expected cat, dog"),
    ],
)
def test_names_of_classes_agree_where_both_have_some(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str] | None, expected: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ADVTRANSFER_DATA", raising=False)
    named_archive(tmp_path / "own.npz", ["cat", "dog"])
    named_archive(tmp_path / "other.npz", names)
    text = """\
datasets: {own: {use: vision/npz, file: own.npz}, other: {use: vision/npz, file: other.npz}}
sources: {s: {use: vision/random_init, data: own}}
targets: {own: {data: own, n: 2, also: [other]}}
transfers: {probe: {use: finetune/linear_probe, C: 1}}
evaluations: {clean: {use: foolbox/clean_accuracy}}
"""
    # The two archives may have the same content, and are then one data set.
    if names == ["cat", "dog"]:
        text = text.replace("file: other.npz", "file: other.npz, size: 8")
    if expected is None:
        load_text(text, "shift", Host.discover())
        return
    with pytest.raises(Exception, match="classes dog") as caught:
        load_text(text, "shift", Host.discover())
    assert expected in str(caught.value)


@pytest.mark.parametrize(
    ("own", "other", "is_reordered"),
    [
        ("[5, 6, 7]", "[7, 6, 5]", True),
        ("[5, 6, 7]", "[7, 6, 5], size: 16, channels: 1", True),
        ("[5, 6, 7]", "[5, 6, 7], split_seed: 1", False),
        ("[5, 6, 7]", "[0, 1, 2]", False),
    ],
)
def test_classes_of_one_data_set_stand_in_one_order(
    own: str, other: str, is_reordered: bool
) -> None:
    size = ", size: 16" if "size" in other else ""
    text = f"""\
datasets:
  own: {{use: vision/digits, classes: {own}{size}}}
  other: {{use: vision/digits, classes: {other}}}
sources: {{s: {{use: vision/random_init, data: own}}}}
targets: {{own: {{data: own, n: 3, also: [other]}}}}
transfers: {{probe: {{use: finetune/linear_probe, C: 1}}}}
evaluations: {{clean: {{use: foolbox/clean_accuracy}}}}
"""
    if not is_reordered:
        load_text(text, "shift", Host.discover())
        return
    with pytest.raises(BadInput) as caught:
        load_text(text, "shift", Host.discover())
    assert "5:41: found 'other' with the classes [7, 6, 5] of the target's own data" in str(
        caught.value
    )
