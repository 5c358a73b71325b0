"""Which p values of questions are corrected together, which are not printed, and the controls."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from advtransfer.leaderboard import make_page
from advtransfer.leaderboard.questions_coefficients import QuestionAnswer, answer_questions
from advtransfer.leaderboard.questions_families import Hypothesis, hypothesis_families
from advtransfer.leaderboard.run_data import gather_run_data
from advtransfer.text import ABSENT

if TYPE_CHECKING:
    from tests.leaderboard.conftest import Bench

CLEAN = [0.1, 0.25, 0.4, 0.5, 0.7, 0.8]
PREDICTORS = {
    "alpha_1": [0.1, 0.2, 0.3, 0.4, 0.5, 0.6],
    "alpha_2": [0.2, 0.1, 0.3, 0.4, 0.5, 0.6],
    "alpha_3": [0.5, 0.2, 0.1, 0.6, 0.3, 0.4],
}
QUESTION: dict[str, Any] = {"outcome": "clean.accuracy", "across": "source"}


@pytest.fixture
def asked(bench: Bench) -> Bench:
    """Six sources, whose 720 orders are soon told, and one question with all three predictors."""
    for place, clean in enumerate(CLEAN):
        bench.aligned(f"s{place}", [0.0], clean)
        align = bench.records[bench.trials[-1]["evaluations"]["align"][0]]
        align["metrics"] = {name: {"value": values[place]} for name, values in PREDICTORS.items()}
    bench.leaderboard["questions"] = [question(*PREDICTORS)]
    return bench


def question(*predictors: str, **keys: Any) -> dict[str, Any]:  # noqa: ANN401  # Any: keys of a question
    return QUESTION | {"predictor": [f"align.{name}" for name in predictors]} | keys


def answers(bench: Bench) -> list[QuestionAnswer]:
    return answer_questions(gather_run_data(bench.run()))


def corrected(bench: Bench) -> dict[str, float | None]:
    """Return Spearman's corrected p by predictor, over all questions."""
    return {
        str(result.points.predictor.metric): result.corrected["Spearman"]
        for answer in answers(bench)
        for results in answer.results.values()
        for result in results
    }


def test_holms_rule_runs_over_all_questions_about_the_same_points(asked: Bench) -> None:
    """Splitting a question, in whatever way, changes no corrected p."""
    together = corrected(asked)
    # 2 of 720 orders are as extreme as the perfect one, and three predictors were asked.
    assert together["alpha_1"] == pytest.approx(3 * 2 / 720)

    asked.leaderboard["questions"] = [question("alpha_1"), question("alpha_2", "alpha_3")]
    assert corrected(asked) == together
    asked.leaderboard["questions"] = [question(name) for name in PREDICTORS]
    assert corrected(asked) == together
    # Asked twice, it is one hypothesis all the same.
    asked.leaderboard["questions"] = [question(*PREDICTORS), question("alpha_1")]
    assert corrected(asked) == together
    page = make_page(asked.run()).markdown
    assert "With 3 predictors the smallest possible corrected p is .0083 for ranks" in page
    assert "With 3 predictors, 2 of them in other questions, the smallest possible" in page


def test_leaving_out_points_makes_no_family_of_its_own(asked: Bench) -> None:
    most = {"source": [f"s{place}" for place in range(5)]}
    asked.leaderboard["questions"] = [
        question("alpha_1"),
        question("alpha_2", "alpha_3", given=most),
    ]

    assert corrected(asked)["alpha_1"] == pytest.approx(3 * 2 / 720)


def test_other_outcomes_and_other_points_are_other_families(asked: Bench) -> None:
    few, rest = (
        {"source": [f"s{place}" for place in places]} for places in ((0, 1, 2), (2, 3, 4, 5))
    )
    asked.leaderboard["questions"] = [
        question("alpha_1", given=rest),
        question("alpha_2", given=few),
        question("alpha_3", outcome="pgd.robust_accuracy@0.1"),
    ]

    assert corrected(asked)["alpha_1"] == pytest.approx(2 / 24)


def test_families_are_linked_through_common_trials() -> None:
    first, second, third = (
        Hypothesis("a", "y", "source", frozenset("abcd")),
        Hypothesis("b", "y", "source", frozenset("cdef")),
        Hypothesis("c", "y", "source", frozenset("efgh")),
    )
    alone = Hypothesis("a", "y", "source", frozenset("hijk"))

    assert [(first, second, third), (alone,)] == hypothesis_families(
        [first, second, third, alone, first]
    )


def test_exploratory_question_prints_no_p_and_counts_in_the_family(asked: Bench) -> None:
    together = corrected(asked)
    asked.leaderboard["questions"] = [
        question("alpha_1"),
        question("alpha_2", "alpha_3", exploratory=True),
    ]

    assert corrected(asked) == together | {"alpha_2": None, "alpha_3": None}
    section = make_page(asked.run()).markdown.partition("### 2. ")[2]
    assert "Exploratory: asked after looking at results, so no p is printed." in section
    cells = asked.row(section, "align.alpha_2")
    assert [ABSENT] * 6 == [*cells[3:5], *cells[6:8], *cells[9:11]]
    assert "smallest possible" not in section


def test_note_is_printed_as_text(asked: Bench) -> None:
    asked.leaderboard["questions"][0]["note"] = "Asked *again* | of fresh trainings."

    assert r"Asked \*again\* \| of fresh trainings." in make_page(asked.run()).markdown


def descend(bench: Bench, roots: dict[str, str]) -> None:
    """Let sources be made from another source, by label."""
    ids = {label: id for id, label in bench.sources.items()}
    for label, root in roots.items():
        bench.records[ids[label]]["asked"]["inputs"] = {"source": ids.get(root, root)}


@pytest.mark.parametrize("root", ["s0", "0" * 64])
def test_points_of_one_source_have_no_p(asked: Bench, root: str) -> None:
    descend(asked, {f"s{place}": root for place in range(1 if root == "s0" else 0, 6)})
    (answer,) = answers(asked)
    (results,) = answer.results.values()

    assert {1} == {result.origin_count for result in results}
    assert {None} == {result.coefficients["Spearman"].p for result in results}
    assert {None} == set(corrected(asked).values())
    assert results[0].coefficients["Spearman"].value == pytest.approx(1)
    assert (
        "6 points. No p, since all points descend from one source."
        in make_page(asked.run()).markdown
    )


def test_descent_is_followed_to_its_root(asked: Bench) -> None:
    descend(asked, {f"s{place + 1}": f"s{place}" for place in range(5)})

    assert "No p, since all points descend from one source." in make_page(asked.run()).markdown


def test_two_families_of_copies_are_too_few_for_p_and_three_are_told(asked: Bench) -> None:
    descend(asked, {"s1": "s0", "s2": "s0", "s4": "s3", "s5": "s3"})
    two = make_page(asked.run()).markdown
    descend(asked, {"s5": "0" * 64})
    three = make_page(asked.run()).markdown

    assert "No p, since the points descend from 2 sources, and 3 are needed." in two
    assert "The points descend from 3 sources, and carry less information" in three
    assert "p from all 720 orders" in three


def test_no_p_across_sizes_of_one_source_but_across_targets(bench: Bench) -> None:
    for place, clean in enumerate(CLEAN):
        bench.aligned("a", [PREDICTORS["alpha_1"][place]], clean, n=20 + place)
        bench.aligned("a", [PREDICTORS["alpha_1"][place]], clean, target=f"t{place}")
    bench.leaderboard["questions"] = [
        question("alpha", across="n", given={"target": ["digits"]}),
        question("alpha", across="target", given={"n": [20]}),
    ]
    (sizes,), (targets,) = (list(answer.results.values()) for answer in answers(bench))

    assert sizes[0].coefficients["Kendall"].p is None
    assert targets[0].coefficients["Kendall"].p is not None


def test_controls_are_shown_without_p_and_outside_the_family(asked: Bench) -> None:
    together = corrected(asked)
    for place, id in enumerate(sorted(asked.sources, key=lambda id: asked.sources[id])):
        asked.records[id]["probe"]["clean_accuracy"] = CLEAN[place] ** 2
        asked.records[id]["facts"] = {"parameters": 1000 - place}
    (answer,) = answers(asked)
    (controls,) = answer.controls.values()
    accuracy, parameters = controls.static

    assert ("source's own accuracy", 6) == (accuracy.name, accuracy.point_count)
    assert 1.0 == pytest.approx(accuracy.coefficients["Spearman"].value)
    assert -1.0 == pytest.approx(parameters.coefficients["Kendall"].value)
    assert accuracy.coefficients["Spearman"].p is None
    assert corrected(asked) == together
    page = make_page(asked.run()).markdown
    assert [ABSENT, ABSENT] == asked.row(page, "control: number of parameters")[3:5]
    assert "(95 %: ±" in asked.row(page, "control: random ranking")[2]


def test_controls_need_a_value_of_every_training(asked: Bench) -> None:
    ids = sorted(asked.sources, key=lambda id: asked.sources[id])
    for id in ids:
        asked.records[id]["probe"] = None
    asked.records[ids[0]]["facts"] = {"parameters": 5}
    (answer,) = answers(asked)
    (controls,) = answer.controls.values()

    assert [("number of parameters", 1)] == [
        (control.name, control.point_count) for control in controls.static
    ]
    assert 6 == controls.point_count


def test_sources_that_did_not_learn_stay_points_and_are_named(asked: Bench) -> None:
    clean = asked.records[asked.trials[0]["evaluations"]["clean"][0]]
    clean["labels"] = {"largest_class": 0.5, "one_class": True}
    clean["outcomes"] = {"accuracy": outcomes_of(100, 1000)}
    page = make_page(asked.run()).markdown

    assert "6 points; p from" in page
    assert "Did not learn, and are points all the same: s0 1 of 1 trials." in page


def outcomes_of(right: int, count: int) -> dict[str, object]:
    from advtransfer.result.record import pack_outcomes

    return dict(pack_outcomes([0] * right + [2] * (count - right)))
