"""Warnings about a plan, which is planned from YAML here and never run."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from advtransfer.errors import BadInput
from advtransfer.host import Host
from advtransfer.leaderboard.plan_warnings import plan_warnings
from advtransfer.planning import make_plan
from advtransfer.suite import load
from advtransfer.suite.leaderboard_settings import QUESTION_KEYS

HOST = Host.discover()
SUITE = """
datasets:
  low: {use: vision/digits, classes: [0, 1, 2]}
  high: {use: vision/digits, classes: [5, 6, 7]}
sources:
  fresh: {use: vision/trained, data: low, sweep: {epochs: [1, 2, 3, 4, 5, 6]}, label: 'fresh {epochs}'}
targets:
  digits: {data: high, n: [20], seeds: 3, reference: {use: vision/trained, data: high}}
transfers:
  logits: {use: finetune/logit_affine}
evaluations:
  clean: {use: foolbox/clean_accuracy}
  alignment: {use: alignment/alignment, attack: {kind: fgsm, norm: linf, eps: 0.1}}
"""
COPIES = {
    "use": "vision/perturbed",
    "source": {"use": "vision/trained", "data": "low"},
    "data": "low",
    "sweep": {"scale": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]},
    "label": "copy {scale}",
}
QUESTION = {"predictor": "alignment.alpha_1_ts", "outcome": "clean.accuracy", "across": "source"}


def warnings(tmp_path: Path, **changes: Any) -> list[tuple[str, str]]:  # noqa: ANN401  # Any: sections as YAML has them
    path = tmp_path / "warned.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(SUITE) | changes))
    suite = load(str(path), HOST)
    return [
        (warning.kind, warning.text)
        for warning in plan_warnings(make_plan(suite, HOST), suite, HOST)
    ]


def asked(*questions: Mapping[str, object]) -> dict[str, object]:
    return {"questions": list(questions)}


def test_answerable_suite_has_no_warning(tmp_path: Path) -> None:
    assert [] == warnings(tmp_path, leaderboard=asked(QUESTION))


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        ({"of": "fresh 1", "against": "fresh 2", "at": {"n": [20]}}, None),
        (
            {"of": "fresh 1", "at": {"source": "fresh 2"}},
            "`answer` selects no row: none has the labels of `of` at this place",
        ),
        (
            {"of": "fresh 1", "against": {"source": "fresh 1", "transfer": "logits"}},
            "`answer` compares no rows: none of `against` (or the baseline) meets one of `of`",
        ),
    ],
)
def test_answer_that_names_no_row_is_warned_of(
    tmp_path: Path, answer: dict[str, object], text: str | None
) -> None:
    found = warnings(tmp_path, leaderboard={"answer": {"metric": "clean.accuracy", **answer}})

    assert found == ([] if text is None else [("answer", text)])


@pytest.mark.parametrize(
    ("trainings", "seeds", "text"),
    [
        (1, 2, "2 subset seeds of digits n=20: their intervals have 1 degree of freedom"),
        (2, 5, "2 trainings of natural: their intervals have 1 degree of freedom"),
        (2, 2, "2 trainings of natural: their intervals have 1 degree of freedom"),
        (1, 1, None),
        (1, 3, None),
        (3, 1, None),
        (3, 2, None),
    ],
)
def test_two_replicates_are_warned_of(
    tmp_path: Path, trainings: int, seeds: int, text: str | None
) -> None:
    found = warnings(
        tmp_path,
        sources={"natural": {"use": "vision/trained", "data": "low", "seeds": trainings}},
        targets={"digits": {"data": "high", "n": [20], "seeds": seeds}},
        evaluations={"clean": {"use": "foolbox/clean_accuracy"}},
    )

    assert (text is None) == (found == [])
    assert text is None or [("replicates", text)] == [
        (kind, found_text.partition(", and say")[0]) for kind, found_text in found
    ]


@pytest.mark.parametrize(("n", "count"), [("all", 0), (20, 1)])
def test_seeds_of_a_deterministic_transfer_are_one_trial(
    tmp_path: Path, n: int | str, count: int
) -> None:
    found = warnings(
        tmp_path,
        targets={"digits": {"data": "high", "n": [n], "seeds": 2}},
        evaluations={"clean": {"use": "foolbox/clean_accuracy"}},
    )

    assert count == len(found)


def test_baseline_with_one_training_beside_several_is_warned_of(tmp_path: Path) -> None:
    sources = {
        "natural": {"use": "vision/trained", "data": "low"},
        "linf": {"use": "vision/trained", "data": "low", "epochs": 2, "seeds": 3},
    }
    one = warnings(tmp_path, sources=sources, leaderboard={"baseline": "natural"})
    other = warnings(tmp_path, sources=sources, leaderboard={"baseline": "linf"})

    assert [kind for kind, _ in one] == ["baseline"]
    assert "the baseline 'natural' has one training and linf several" in one[0][1]
    assert [] == other
    both = {"baselines": ["linf", "natural"]}
    assert one == warnings(tmp_path, sources=sources, leaderboard=both)


@pytest.mark.parametrize(
    ("question", "text"),
    [
        (
            {"given": {"source": ["fresh 1", "fresh 2"]}},
            "2 points with all metrics, and a coefficient needs 3",
        ),
        ({"across": "target"}, "1 point with all metrics, and a coefficient needs 3"),
        (
            {"exploratory": True, "given": {"source": [f"fresh {n}" for n in range(1, 6)]}},
            "5 points, and an interval needs 6",
        ),
    ],
)
def test_question_with_too_few_points_is_told(
    tmp_path: Path, question: dict[str, object], text: str
) -> None:
    found = warnings(tmp_path, leaderboard=asked(QUESTION | question))

    assert [("question", text)] == [
        (kind, found_text.rpartition(": ")[2]) for kind, found_text in found
    ]


def test_metric_that_is_not_measured_where_it_is_asked_for_is_told(tmp_path: Path) -> None:
    evaluations = yaml.safe_load(SUITE)["evaluations"]
    evaluations["alignment"]["only"] = {"source": "fresh 1"}
    found = warnings(tmp_path, evaluations=evaluations, leaderboard=asked(QUESTION))

    assert "1 point with all metrics" in found[0][1]


def test_question_that_selects_no_trial_is_told(tmp_path: Path) -> None:
    found = warnings(
        tmp_path,
        exclude=[{"source": "fresh 1"}],
        leaderboard=asked(QUESTION | {"given": {"source": "fresh 1"}}),
    )

    assert [("question", "question 1 (clean.accuracy across sources) selects no trial")] == found


def test_copies_of_one_source_are_told(tmp_path: Path) -> None:
    found = warnings(tmp_path, sources={"copy": COPIES}, leaderboard=asked(QUESTION))

    assert ["no p, since all 6 points descend from one source"] == [
        text.rpartition(": ")[2] for _, text in found
    ]


def test_more_predictors_than_the_points_can_bear_are_told_over_all_questions(
    tmp_path: Path,
) -> None:
    few = {"given": {"source": ["fresh 1", "fresh 2", "fresh 3", "fresh 4"]}}
    names = ["alpha_1_ts", "alpha_1_st", "alpha_2_ts", "alpha_2_st", "joint_ts", "joint_st"]
    questions = [QUESTION | few | {"predictor": f"alignment.{name}"} for name in names]
    found = warnings(tmp_path, leaderboard=asked(*questions))

    # 6 x 2 of 24 orders.
    expected = (
        "with 4 points and 6 predictors no rank coefficient can have a corrected p below 0.500"
    )
    assert 6 == sum(expected in text for _, text in found)


def test_second_label_of_an_evaluation_is_in_the_same_family(tmp_path: Path) -> None:
    """Neither a second label of the outcome nor one of a predictor changes what is corrected."""
    few = {"given": {"source": ["fresh 1", "fresh 2", "fresh 3", "fresh 4"]}}
    written = yaml.safe_load(SUITE)["evaluations"]
    copies = {"tidy": written["clean"], "again": written["alignment"]}
    questions = [
        QUESTION | few,
        QUESTION | few | {"predictor": "alignment.alpha_1_st", "outcome": "tidy.accuracy"},
        QUESTION | few | {"predictor": "again.alpha_1_ts"},
    ]
    found = warnings(tmp_path, leaderboard=asked(*questions), evaluations={**written, **copies})

    # 2 x 2 of 24 orders, in each of the three questions.
    expected = (
        "with 4 points and 2 predictors no rank coefficient can have a corrected p below 0.167"
    )
    assert 3 == sum(expected in text for _, text in found)


def test_documented_questions_are_read_as_they_are_written(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "docs" / "pages.md").read_text()
    examples = re.findall(r"```yaml\n(.*?)```", text, flags=re.DOTALL)
    (example,) = [each for each in examples if "questions:" in each]
    documented = yaml.safe_load(example)["leaderboard"]
    section = text.partition("## Questions")[2].partition("\n## ")[0]
    described = re.findall(r"^\| `(\w+)` \|", section, flags=re.MULTILINE)

    assert list(QUESTION_KEYS) == described
    assert set(QUESTION_KEYS) == {key for each in documented["questions"] for key in each}
    assert [] == warnings(tmp_path, leaderboard=documented)


SALIENCY = {"use": "interpret/saliency", "images": 2}
SURFACE = {"use": "interpret/loss_surface", "norm": "linf", "eps": 0.1}


@pytest.mark.parametrize(
    ("figure", "mistake"),
    [
        ({"evaluation": "saliency"}, None),
        ({"evaluation": "saliency", "file": "saliency"}, None),
        ({"evaluation": "saliency", "file": "saliency@10"}, None),
        (
            {"evaluation": "saliency", "file": "salency"},
            "found 'salency'; expected a file that saliency writes: saliency; did you mean 'saliency'?",
        ),
        (
            {"evaluation": "surface", "file": "decision_regions"},
            "found 'decision_regions'; expected a file that surface writes: loss_surface; ",
        ),
        ({"evaluation": "regions", "file": "decision_regions"}, None),
    ],
)
def test_grid_of_a_file_that_its_evaluation_does_not_write_is_a_mistake(
    tmp_path: Path, figure: dict[str, object], mistake: str | None
) -> None:
    evaluations = {
        "saliency": SALIENCY,
        "surface": SURFACE,
        "regions": {**SURFACE, "regions": True},
    }
    leaderboard = {"figures": [{"kind": "grid", **figure}]}
    if mistake is None:
        assert warnings(tmp_path, evaluations=evaluations, leaderboard=leaderboard) == []
        return
    with pytest.raises(BadInput) as caught:
        warnings(tmp_path, evaluations=evaluations, leaderboard=leaderboard)

    (problem,) = caught.value.problems
    assert mistake in str(problem)
    assert problem.location is not None
    line = (tmp_path / "warned.yaml").read_text().splitlines()[problem.location.line - 1]
    assert line.strip() == f"file: {figure['file']}"


DRAWN = {"use": "vision/random_init", "data": "low"}
OPTION = {"kind": "metric_vs_option", "metrics": "clean.accuracy", "option": "epochs"}


@pytest.mark.parametrize(
    ("figure", "text"),
    [
        (OPTION, None),
        (
            OPTION | {"given": {"source": "drawn"}},
            "figure 1 (metric_vs_option): no transfer or source that `given` selects has the option epochs",
        ),
        (
            OPTION | {"given": {"source": "left out"}},
            "figure 1 (metric_vs_option): `given` selects no trial",
        ),
        (
            {"kind": "grid", "evaluation": "clean", "file": "picture"},
            "figure 1 (grid): foolbox/clean_accuracy does not say which files it writes, so that only its results "
            "tell whether there is a file picture",
        ),
        (
            {"kind": "grid", "evaluation": "saliency", "given": {"source": "drawn"}},
            "figure 1 (grid): no trial that it shows is evaluated by saliency",
        ),
    ],
)
def test_figure_that_may_be_absent_is_warned_of(
    tmp_path: Path, figure: dict[str, object], text: str | None
) -> None:
    sources = yaml.safe_load(SUITE)["sources"] | {"drawn": DRAWN, "left out": DRAWN | {"seed": 1}}
    evaluations = {
        "clean": {"use": "foolbox/clean_accuracy"},
        "saliency": {**SALIENCY, "only": {"source": "fresh 1"}},
    }
    found = warnings(
        tmp_path,
        sources=sources,
        evaluations=evaluations,
        exclude=[{"source": "left out"}],
        leaderboard={"figures": [figure]},
    )

    assert found == ([] if text is None else [("figure", text)])


NUMBERS, CLOTHES = ["0", "1", "2"], ["shirt", "coat", "shoe"]


@pytest.mark.parametrize(
    ("own", "further", "reason"),
    [
        (CLOTHES, CLOTHES, None),
        (
            NUMBERS,
            NUMBERS,
            "the names of own are only numbers; the names of further are only numbers",
        ),
        (NUMBERS, CLOTHES, "the names of own are only numbers"),
        (CLOTHES, None, "no names of further are known before it is read"),
    ],
)
def test_further_data_whose_classes_are_only_numbers_are_warned_of(
    tmp_path: Path, own: list[str] | None, further: list[str] | None, reason: str | None
) -> None:
    labels = np.arange(30) % 3
    for number, (name, names) in enumerate((("own", own), ("further", further))):
        images = np.full((30, 8, 8), 40 * (number + 1), np.uint8)
        # Any: numpy's stub takes a flag by name
        parts: dict[str, Any] = {
            "x_train": images,
            "y_train": labels,
            "x_test": images,
            "y_test": labels,
        }
        if names is not None:
            parts["class_names"] = np.array(names)
        np.savez(tmp_path / f"{name}.npz", **parts)
    found = warnings(
        tmp_path,
        datasets={
            name: {"use": "vision/npz", "file": str(tmp_path / f"{name}.npz")}
            for name in ("own", "further")
        },
        sources={"drawn": {"use": "vision/random_init", "data": "own"}},
        targets={"task": {"data": "own", "n": [20], "seeds": 3, "also": ["further"]}},
        evaluations={"clean": {"use": "foolbox/clean_accuracy"}},
    )

    expected = (
        "target task: nothing shows that class 0, 1, ... of further in `also` is class 0, 1, ... of own "
        f"({reason}); check that both have the same classes in the same order"
    )
    assert found == ([] if reason is None else [("classes", expected)])


@pytest.mark.parametrize(
    ("further", "is_same"),
    [
        ({"use": "vision/digits", "classes": [5, 6, 7], "split_seed": 1}, True),
        ({"use": "vision/portion", "data": "high", "start": 0.0, "end": 0.5}, True),
        ({"use": "vision/digits", "classes": [0, 1, 2]}, False),
        ({"use": "vision/digits", "classes": [5, 6, 7], "test_share": 0.5}, False),
    ],
)
def test_classes_of_one_data_set_need_no_names(
    tmp_path: Path, further: dict[str, object], is_same: bool
) -> None:
    datasets = yaml.safe_load(SUITE)["datasets"] | {"further": further}
    found = warnings(
        tmp_path,
        datasets=datasets,
        targets={"digits": {"data": "high", "n": [20], "seeds": 3, "also": ["further"]}},
        evaluations={"clean": {"use": "foolbox/clean_accuracy"}},
    )

    assert [kind for kind, _ in found] == ([] if is_same else ["classes"])


CLAIM = {
    "name": "B1",
    "claim": "Better",
    "paper": "Nobody (2020)",
    "place": "Table 1",
    "reported": "+1",
    "sign": "positive",
    "margin": 0.1,
}
ROWS = {"kind": "contrast", "metric": "clean.accuracy", "of": "fresh 1", "against": "fresh 2"}
CORRELATED = {"kind": "correlation", **QUESTION}
EXPLORATORY = "its claims are exploratory: `registered` names no commit that held them before the"


@pytest.mark.parametrize(
    ("claim", "texts"),
    [
        (ROWS, []),
        (
            {**ROWS, "at": {"source": "fresh 2"}},
            ["claim B1: it selects no row: none has the labels of `of` at this place"],
        ),
        (CORRELATED, []),
        (
            {**CORRELATED, "per_training": True, "given": {"source": "fresh 1"}},
            ["claim B1: 1 training, and an interval needs 3"],
        ),
        (
            {**CORRELATED, "across": "seed"},
            ["claim B1: `given` selects 6 places; one is needed"],
        ),
    ],
)
def test_claim_that_cannot_be_answered_is_warned_of(
    tmp_path: Path, claim: dict[str, object], texts: list[str]
) -> None:
    claims = [{**CLAIM, **claim}]
    found = warnings(tmp_path, leaderboard={"claims": claims})
    registered = warnings(tmp_path, leaderboard={"claims": claims, "registered": "a" * 40})

    assert [text for kind, text in registered if kind == "claim"] == texts
    assert found[0][1].startswith(EXPLORATORY)
    assert found[1:] == registered
