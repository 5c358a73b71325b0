from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from advtransfer.suite import Leaderboard, Suite

GRID = {
    "sources": """\
natural: {use: toy/trained, data: low, seeds: 2, label: Natural}
linf: {use: toy/trained, data: low, sweep: {adversary.eps: [0.1, 0.2]}}""",
    "transfers": "probe: {use: toy/probe, label: Linear probe}",
    "evaluations": """\
clean: {use: toy/accuracy}
pgd: {use: toy/pgd, eps: 0.1, label: PGD}
swept: {use: toy/pgd, sweep: {eps: [0.25, 0.5]}}""",
}


@pytest.fixture
def board(suite: Callable[..., Suite]) -> Callable[[str], Leaderboard]:
    def board(text: str) -> Leaderboard:
        return suite(**GRID, leaderboard=text).leaderboard

    return board


def test_missing_leaderboard_is_an_empty_one(suite: Callable[..., Suite]) -> None:
    assert suite().leaderboard == Leaderboard(None, None, (), (), ())


def test_note_is_one_line_of_text(board: Callable[[str], Leaderboard]) -> None:
    assert board("note: |\n  Chosen by\n  another study.\n").note == "Chosen by another study."


@pytest.mark.parametrize("name", ["natural", "Natural", "'Natural[seed=0]'"])
def test_baseline_is_the_row_of_the_named_source(
    board: Callable[[str], Leaderboard], name: str
) -> None:
    assert board(f"baseline: {name}").baseline == "Natural"


@pytest.mark.parametrize("name", ["probe", "Linear probe"])
def test_baseline_may_be_a_transfer(board: Callable[[str], Leaderboard], name: str) -> None:
    assert board(f"baseline: {{transfer: {name}}}").baseline == {"transfer": "Linear probe"}


def test_the_first_of_several_baselines_is_the_one_that_answers_and_curves_meet(
    suite: Callable[..., Suite],
) -> None:
    from advtransfer.planning.leaderboard_json import leaderboard_json

    text = "baselines: [Natural, {transfer: probe}]"
    several = suite(**GRID, leaderboard=text)
    one = suite(**GRID, leaderboard="baseline: Natural")

    assert ("Natural", {"transfer": "Linear probe"}) == several.leaderboard.baselines
    assert "Natural" == several.leaderboard.baseline
    assert leaderboard_json(several) == {
        **leaderboard_json(one),
        "baselines": ["Natural", {"transfer": "Linear probe"}],
    }
    assert "baselines" not in leaderboard_json(one)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (
            "answer: {metric: clean.accuracy, of: natural, against: probe, at: {n: 20}}",
            {
                "metric": "clean.accuracy",
                "of": {"source": "Natural"},
                "against": {"transfer": "Linear probe"},
                "at": {"n": [20]},
            },
        ),
        (
            "rank_by: clean.accuracy\nanswer: {of: {source: natural, transfer: probe}}",
            {"of": {"source": "Natural", "transfer": "Linear probe"}},
        ),
        (
            "answer: {metric: {lowest: clean.loss}, at: {source: 'linf*', transfer: probe}}",
            {
                "metric": {"lowest": "clean.loss"},
                "at": {
                    "source": ["linf[adversary.eps=0.1]", "linf[adversary.eps=0.2]"],
                    "transfer": ["Linear probe"],
                },
            },
        ),
        (
            "answer: {metric: clean.accuracy, at: {source: 'Natural[seed=1]'}}",
            {"metric": "clean.accuracy", "at": {"source": ["Natural"]}},
        ),
    ],
)
def test_answer_names_rows_by_their_labels(
    board: Callable[[str], Leaderboard], text: str, answer: object
) -> None:
    assert board(text).answer == answer


def test_plan_holds_the_answer_only_where_there_is_one(
    suite: Callable[..., Suite],
) -> None:
    from advtransfer.planning.leaderboard_json import leaderboard_json

    stated = suite(**GRID, leaderboard="answer: {metric: clean.accuracy, of: natural}")

    assert leaderboard_json(stated)["answer"] == {
        "metric": "clean.accuracy",
        "of": {"source": "Natural"},
    }
    assert "answer" not in leaderboard_json(suite(**GRID, leaderboard="baseline: natural"))


@pytest.mark.parametrize(
    ("answer", "found"),
    [
        ("{}", "found {}; expected at least one of metric, of, against, at; write for example"),
        ("linf", "found 'linf'; expected `answer`, a mapping"),
        ("{of: natural}", "found no 'metric', and no `rank_by` in its place; expected a metric"),
        ("{metric: clear.accuracy}", "found 'clear.accuracy'; expected evaluation.metric"),
        ("{metric: 3}", "found 3; expected evaluation.metric"),
        ("{metric: clean.accuracy, of: natrual}", "expected a source: natural, linf, Natural,"),
        ("{metric: clean.accuracy, of: linf}", "found 'linf'; expected the name of one row"),
        (
            "{metric: clean.accuracy, of: [natural]}",
            "found ['natural']; expected a source: natural",
        ),
        ("{metric: clean.accuracy, of: {}}", "found {}; expected a source: natural"),
        ("{metric: clean.accuracy, of: {n: 20}}", "found the unknown name 'n' in `of`"),
        ("{metric: clean.accuracy, of: {transfer: x}}", "found 'x'; expected a transfer: probe"),
        (
            "{metric: clean.accuracy, of: natural, against: Natural}",
            "found 'Natural'; expected another row than `of`",
        ),
        ("{metric: clean.accuracy, at: {n: 7}}", "found 7, which matches no n; expected"),
        ("{metric: clean.accuracy, at: {seed: 0}}", "found the unknown name 'seed' in a selection"),
        ("{metric: clean.accuracy, at: {}}", "found {}; expected at least one axis"),
        ("{metric: clean.accuracy, whom: natural}", "found the unknown name 'whom' in `answer`"),
    ],
)
def test_mistake_in_the_answer_is_one_problem(
    mistakes: Callable[..., list[str]], answer: str, found: str
) -> None:
    (problem,) = mistakes(**GRID, leaderboard=f"answer: {answer}")

    assert found in problem
    assert ".yaml:" in problem


def test_name_of_a_source_and_a_transfer_is_ambiguous(mistakes: Callable[..., list[str]]) -> None:
    transfers = "natural: {use: toy/probe}"

    (problem,) = mistakes(
        **{**GRID, "transfers": transfers},
        leaderboard="answer: {metric: clean.accuracy, of: natural}",
    )

    assert "expected a source or a transfer, not a name of both; write {source: NAME}" in problem


@pytest.mark.parametrize(
    ("column", "shown"),
    [
        ("clean.accuracy", "clean.accuracy"),
        ("pgd.robust_accuracy", "PGD.robust_accuracy"),
        ("PGD.robust_accuracy@0.10", "PGD.robust_accuracy@0.1"),
        ("pgd.robust_accuracy@8/255", "PGD.robust_accuracy@0.0313725"),
        ("pgd.robust_accuracy@0.5/255", "PGD.robust_accuracy@0.00196078"),
        ("pgd.robust_accuracy@1e-3@11", "PGD.robust_accuracy@0.001@11"),
        ("swept[eps=0.5].robust_accuracy", "swept[eps=0.5].robust_accuracy"),
    ],
)
def test_column_is_replaced_by_the_evaluations_label(
    board: Callable[[str], Leaderboard], column: str, shown: str
) -> None:
    settings = board(f"columns: ['{column}']\nrank_by: '{column}'")

    assert (settings.columns, settings.rank_by) == ((shown,), shown)


def test_rank_by_lowest_metric_is_read(
    board: Callable[[str], Leaderboard],
) -> None:
    assert board("rank_by: {lowest: pgd.loss@8/255}").rank_by == {"lowest": "PGD.loss@0.0313725"}


def test_figures_and_questions_are_plain_data(board: Callable[[str], Leaderboard]) -> None:
    settings = board(
        "figures: [{kind: accuracy_vs_n, metric: clean.accuracy}]\n"
        "questions: [{predictor: pgd.alpha, outcome: clean.accuracy, across: source, given: {n: 20}}]"
    )

    assert settings.figures == ({"kind": "accuracy_vs_n", "metric": "clean.accuracy"},)
    assert settings.questions == (
        {
            "predictor": "PGD.alpha",
            "outcome": "clean.accuracy",
            "across": "source",
            "given": {"n": [20]},
        },
    )


def test_question_may_have_several_predictors(board: Callable[[str], Leaderboard]) -> None:
    (question,) = board(
        "questions: [{predictor: [pgd.alpha, clean.accuracy], outcome: clean.accuracy, across: source}]"
    ).questions

    assert question["predictor"] == ["PGD.alpha", "clean.accuracy"]


def test_given_of_a_question_is_resolved_to_labels(board: Callable[[str], Leaderboard]) -> None:
    (question,) = board(
        "questions: [{predictor: pgd.alpha, outcome: clean.accuracy, across: n,"
        " given: {source: [nat*, 'linf[adversary.eps=0.1]'], transfer: probe}}]"
    ).questions

    assert question["given"] == {
        "source": ["Natural[seed=0]", "Natural[seed=1]", "linf[adversary.eps=0.1]"],
        "transfer": ["Linear probe"],
    }


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "baseline: natural\nbaselines: [natural, {transfer: probe}]",
            "found both `baseline` and `baselines`; expected one of them",
        ),
        ("baselines: [natural, Natural]", "found 'Natural'; expected each baseline once"),
        (
            "columns: [clean.accuracy]\nall_n: [pgd.robust_accuracy@0.1]",
            "expected a metric of `columns`; add it to `columns`",
        ),
        ("baselines: [natrual]", "found 'natrual'; expected a source: natural, linf, Natural,"),
        ("baseline: natrual", "found 'natrual'; expected a source: natural, linf, Natural,"),
        ("baseline: nat*", "found 'nat*'; expected a source"),
        (
            "baseline: linf",
            "found 'linf'; expected the name of one row of sources; name one of linf[adversary",
        ),
        ("baseline: {transfer: prob}", "found 'prob'; expected a transfer: probe, Linear probe"),
        ("baseline: {source: natural}", "found the unknown name 'source' in `baseline`"),
        ("baseline: 3", "found 3; expected a source"),
        (
            "rank_by: clena.accuracy",
            "found 'clena.accuracy'; expected evaluation.metric[@eps][@epoch]",
        ),
        ("rank_by: clean", "found 'clean'; expected evaluation.metric[@eps][@epoch]"),
        (
            "rank_by: clean.accuracy@",
            "found 'clean.accuracy@'; expected evaluation.metric[@eps][@epoch]",
        ),
        ("rank_by: clean.accuracy@1@2@3", "expected evaluation.metric[@eps][@epoch]"),
        ("rank_by: clean.accuracy@8/0", "expected evaluation.metric[@eps][@epoch]"),
        (
            "rank_by: swept.robust_accuracy",
            "expected the name of one evaluation; name one of swept[eps=0.25], swept",
        ),
        ("rank_by: {}", "found no 'lowest'; expected lowest; add it"),
        ("rank_by: {lowest: clean}", "found 'clean'; expected evaluation.metric[@eps][@epoch]"),
        (
            "rank_by: {lowest: clean.loss, highest: clean.accuracy}",
            "found the unknown name 'highest' in `rank_by`",
        ),
        ("columns: clean.accuracy", "found 'clean.accuracy'; expected a list of columns"),
        ("columns: [3]", "found 3; expected evaluation.metric[@eps][@epoch]"),
        (
            "figures: [{kind: pie, metric: clean.accuracy}]",
            "found 'pie'; expected a kind of figure: accuracy_vs_n",
        ),
        ("figures: [{kind: accuracy_vs_n}]", "found no 'metric'; expected kind, metric"),
        ("questions: [{predictor: clean.accuracy, across: source}]", "found no 'outcome'"),
        (
            "questions: [{predictor: clean.accuracy, outcome: clean.accuracy, across: sources}]",
            "found 'sources'; expected an axis: source, adapter, target",
        ),
        (
            "questions: [{predictor: clean.accuracy, outcome: clean.accuracy, across: source, given: {n: 3}}]",
            "found 3, which matches no n",
        ),
        (
            "questions: [{predictor: clean.accuracy, outcome: clean.accuracy, across: evaluation}]",
            "found 'evaluation'; expected an axis: source, adapter, target, n, seed, transfer, image",
        ),
        (
            "questions: [{predictor: [clean.accuracy, cleen.accuracy], outcome: clean.accuracy, across: source}]",
            "found 'cleen.accuracy'; expected evaluation.metric[@eps][@epoch]",
        ),
        (
            "questions: [{predictor: [], outcome: clean.accuracy, across: source}]",
            "expected a list of metrics",
        ),
        (
            "questions: [{predictor: clean.accuracy, outcome: clean.accuracy, across: source, given: {evaluation: a}}]",
            "found the unknown name 'evaluation' in a selection of cells",
        ),
        ("rankby: clean.accuracy", "found the unknown name 'rankby' in `leaderboard`"),
    ],
)
def test_unknown_name_in_the_leaderboard_is_a_problem(
    mistakes: Callable[..., list[str]], text: str, found: str
) -> None:
    (problem,) = mistakes(**GRID, leaderboard=text)

    assert found in problem


ATTACKS = """\
clean: {use: toy/stated_accuracy}
pgd: {use: toy/normed, norm: linf, eps: [0.1, 0.2]}
l2: {use: toy/normed, norm: l2, eps: 0.5}"""


def test_worst_of_all_attacks_and_what_an_attack_left_are_columns(
    suite: Callable[..., Suite],
) -> None:
    names = [
        "worst_linf.robust_accuracy@0.1",
        "worst_l2.robust_accuracy@1/2",
        "pgd.attack_accuracy@0.2",
    ]
    settings = suite(
        evaluations=ATTACKS, leaderboard=f"columns: {names}\nrank_by: {names[0]}"
    ).leaderboard

    assert (names[0], "worst_l2.robust_accuracy@0.5", names[2]) == settings.columns
    assert names[0] == settings.rank_by


def test_expected_robustness_is_a_column_of_attacks_at_several_radii(
    suite: Callable[..., Suite], mistakes: Callable[..., list[str]]
) -> None:
    names = ["pgd.expected_robustness", "worst_linf.expected_robustness"]
    settings = suite(evaluations=ATTACKS, leaderboard=f"columns: {names}\nrank_by: {names[0]}")

    assert tuple(names) == settings.leaderboard.columns
    (problem,) = mistakes(evaluations=ATTACKS, leaderboard="columns: [l2.expected_robustness]")
    assert "l2.robust_accuracy@0.5" in problem


def test_every_kind_of_figure_is_read(suite: Callable[..., Suite]) -> None:
    figures = """\
figures:
- {kind: metric_vs_eps, metric: pgd.robust_accuracy}
- {kind: metric_vs_epoch, metric: clean.accuracy}
- {kind: metric_vs_epoch, curve: train_loss}
- {kind: robust_vs_clean, robust: worst_linf.robust_accuracy@1/10, clean: clean.accuracy}
- {kind: scatter, predictor: clean.accuracy, outcome: l2.robust_accuracy, across: transfer, given: {n: 20}}
- {kind: accuracy_vs_n, metric: clean.accuracy, curves: transfer}
- {kind: delta_vs_n, metric: clean.accuracy, against: natural}
- {kind: delta_vs_epoch, curve: train_loss, against: {transfer: probe}}
- {kind: metric_vs_option, metrics: clean.accuracy, option: lr}
- {kind: bars, metrics: [clean.accuracy, pgd.robust_accuracy@1/10]}
- {kind: matrix, metric: clean.accuracy, rows: transfer, columns: target}
- {kind: grid, evaluation: clean, file: picture}
- {kind: decision_regions, evaluation: clean, given: {source: natural}}
"""
    settings = suite(evaluations=ATTACKS, leaderboard=figures).leaderboard

    assert settings.figures == (
        {"kind": "metric_vs_eps", "metric": "pgd.robust_accuracy"},
        {"kind": "metric_vs_epoch", "metric": "clean.accuracy"},
        {"kind": "metric_vs_epoch", "curve": "train_loss"},
        {
            "kind": "robust_vs_clean",
            "robust": "worst_linf.robust_accuracy@0.1",
            "clean": "clean.accuracy",
        },
        {
            "kind": "scatter",
            "predictor": "clean.accuracy",
            "outcome": "l2.robust_accuracy",
            "across": "transfer",
            "given": {"n": [20]},
        },
        {"kind": "accuracy_vs_n", "metric": "clean.accuracy", "curves": "transfer"},
        {"kind": "delta_vs_n", "metric": "clean.accuracy", "against": "natural"},
        {"kind": "delta_vs_epoch", "curve": "train_loss", "against": {"transfer": "probe"}},
        {"kind": "metric_vs_option", "metrics": ["clean.accuracy"], "option": "lr"},
        {"kind": "bars", "metrics": ["clean.accuracy", "pgd.robust_accuracy@0.1"]},
        {"kind": "matrix", "metric": "clean.accuracy", "rows": "transfer", "columns": "target"},
        {"kind": "grid", "evaluation": "clean", "file": "picture"},
        {"kind": "decision_regions", "evaluation": "clean", "given": {"source": ["natural"]}},
    )


@pytest.mark.parametrize(
    ("figure", "found"),
    [
        ("{metric: clean.accuracy}", "found no 'kind'; expected kind: accuracy_vs_n, robust_vs_"),
        ("accuracy_vs_n", "found 'accuracy_vs_n'; expected a figure, a mapping"),
        ("{kind: metric_vs_esp, metric: pgd.robust_accuracy}", "did you mean 'metric_vs_eps'?"),
        ("{kind: [scatter]}", "expected a kind of figure: accuracy_vs_n"),
        (
            "{kind: metric_vs_eps, metric: l2.robust_accuracy}",
            "found 'l2.robust_accuracy'; expected a metric at 2 radii or more, without its eps",
        ),
        (
            "{kind: metric_vs_eps, metric: pgd.robust_accuracy@0.1}",
            "expected a metric at 2 radii or more, without its eps",
        ),
        ("{kind: metric_vs_eps, metric: pgd.robust_acuracy}", "found 'pgd.robust_acuracy'"),
        ("{kind: metric_vs_epoch}", "found no 'metric'; expected metric, or curve"),
        (
            "{kind: metric_vs_epoch, metric: clean.accuracy, curve: train_loss}",
            "found 'metric' and 'curve'; expected metric, or curve",
        ),
        ("{kind: metric_vs_epoch, curve: 3}", "found 3; expected a column of the fits' curves"),
        (
            "{kind: accuracy_vs_n, metric: clean.accuracy, curve: x}",
            "found the unknown name 'curve' in a figure accuracy_vs_n",
        ),
        (
            "{kind: robust_vs_clean, robust: clean.accuracy, clean: clean.accuracy}",
            "found 'clean.accuracy'; expected a robust_accuracy",
        ),
        (
            "{kind: robust_vs_clean, robust: l2.robust_accuracy, clean: l2.robust_accuracy}",
            "found 'l2.robust_accuracy'; expected no robust_accuracy",
        ),
        (
            "{kind: robust_vs_clean, clean: clean.accuracy}",
            "found no 'robust'; expected kind, robust, clean",
        ),
        ("{kind: bars, metrics: []}", "found []; expected a list of metrics"),
        ("{kind: bars, metrics: [clean.acuracy]}", "found 'clean.acuracy'"),
        (
            "{kind: delta_vs_n, metric: clean.accuracy, against: robust}",
            "found 'robust'; expected a source: natural",
        ),
        ("{kind: grid, evaluation: saliency}", "found 'saliency'; expected a evaluation: "),
        ("{kind: metric_vs_option, metrics: clean.accuracy}", "found no 'option'; expected kind, "),
        (
            # An option of evaluations alone, and one that is nowhere.
            "{kind: metric_vs_option, metrics: clean.accuracy, option: eps}",
            "found 'eps'; expected an option of a transfer or source: ",
        ),
        (
            "{kind: metric_vs_option, metrics: clean.accuracy, option: lrr}",
            "did you mean 'lr'?",
        ),
        (
            "{kind: metric_vs_option, metrics: clean.accuracy, option: [lr]}",
            "found ['lr']; expected an option of a transfer or source: ",
        ),
        ("{kind: other/dots, metric: clean.accuracy}", "found 'other/dots'; expected an installed"),
        (
            "{kind: scatter, predictor: clean.accuracy, outcome: clean.accuracy, across: sources}",
            "found 'sources'; expected an axis: source, adapter, target",
        ),
    ],
)
def test_a_mistake_in_a_figure_is_reported_where_it_stands(
    mistakes: Callable[..., list[str]], figure: str, found: str
) -> None:
    problem, *others = mistakes(evaluations=ATTACKS, leaderboard=f"figures:\n- {figure}")

    assert found in problem
    assert len(others) <= ("clean: l2" in figure)
    assert re.search(r"toy\.yaml:\d+:\d+: ", problem)


def test_grid_of_an_evaluation_that_writes_no_file_is_a_mistake(
    mistakes: Callable[..., list[str]],
) -> None:
    (problem,) = mistakes(
        evaluations="clean: {use: toy/fitted_accuracy}",
        leaderboard="figures:\n- {kind: grid, evaluation: clean}",
    )

    assert "found 'clean'; expected an evaluation that writes files; this one writes" in problem


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("worst_linf.robust_accuracy@0.3", "worst_linf.robust_accuracy@0.1"),
        ("worst_linf.accuracy", "worst_linf.robust_accuracy@0.1"),
        ("worst_l1.robust_accuracy@1", "an attack in l1"),
        ("pgd.attack_accuracy@0.3", "pgd.attack_accuracy@0.1"),
        ("clean.attack_accuracy", "clean.accuracy"),
    ],
)
def test_worst_of_attacks_that_the_suite_lacks_is_a_mistake(
    mistakes: Callable[..., list[str]], column: str, expected: str
) -> None:
    (problem,) = mistakes(evaluations=ATTACKS, leaderboard=f"columns: ['{column}']")

    assert expected in problem


@pytest.mark.parametrize(
    "entry",
    [
        "worst_linf: {use: toy/pgd, eps: 0.1}",
        "worst_l2: {use: toy/pgd, eps: 0.1, label: another}",
        "pgd: {use: toy/pgd, eps: 0.1, label: worst_l1}",
    ],
)
def test_label_of_the_worst_of_all_attacks_is_reserved(
    mistakes: Callable[..., list[str]], entry: str
) -> None:
    problems = mistakes(evaluations=f"clean: {{use: toy/accuracy}}\n{entry}")

    assert any("what the host itself measures" in problem for problem in problems)
