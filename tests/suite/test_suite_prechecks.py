"""What components say and check before anything is built: outlines, misfits and metrics of a toy plugin."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from advtransfer.errors import BadInput
from advtransfer.hookspecs import hookimpl
from advtransfer.host import Host, Plugin
from advtransfer.planning import make_plan
from advtransfer.precheck import CellOutline, Misfit, OptionValues, Outline, precheck
from advtransfer.suite import load
from advtransfer.types import Dataset, Evaluation, Factory, Source, Transfer, component

SUITE = """\
datasets:
  low: {use: toy/images}
  pair: {use: toy/images, classes: [0, 1]}
sources:
  deep: {use: toy/network, data: low}
  flat: {use: toy/network, data: low, blocks: 2}
targets:
  task: {data: low, n: [8, 20]}
transfers:
  tune: {use: toy/tuning, blocks: 2}
evaluations:
  score: {use: toy/score}
"""


def outline(_: OptionValues) -> Outline:
    return Outline((1, 8, 8), (0.0, 1.0), "classes", 4, 40, 12, (10,) * 4, (3,) * 4)


@precheck(outline=outline)
def images() -> Dataset:
    """Images."""
    raise AssertionError("a plan builds nothing")


@precheck(
    outline=lambda chosen: Outline(
        chosen["data"].shape, outputs=chosen["data"].outputs, blocks=chosen["blocks"]
    )
)
def network(*, data: Dataset, blocks: int = 5) -> Source:
    """A network."""
    raise AssertionError("a plan builds nothing")


def check_tuning(chosen: OptionValues, around: CellOutline) -> Iterator[Misfit]:
    blocks = around.source.blocks
    if blocks is not None and chosen["blocks"] > blocks:
        yield Misfit(
            ("blocks",),
            f"at most {blocks}",
            "train fewer",
            f"blocks is {chosen['blocks']}",
            skips=True,
        )
    if isinstance(around.n, int) and chosen["batch"] > around.n:
        yield Misfit(("batch",), f"at most n, which is {around.n}", "lower it")


@precheck(check=check_tuning)
@component(needs=["source"])
def tuning(*, blocks: int, batch: int = 1) -> Transfer:
    """Blocks trained."""
    raise AssertionError("a plan builds nothing")


def check_score(chosen: OptionValues, around: CellOutline) -> Iterator[Misfit]:
    if chosen["best"] < chosen["worst"]:
        yield Misfit(("best",), f"at least `worst`, which is {chosen['worst']}", "raise it")
    if around.target.outputs is not None and chosen["best"] >= around.target.outputs:
        yield Misfit(("best",), f"a class below {around.target.outputs}", "lower it")


@precheck(
    check=check_score, metrics=lambda chosen: [f"score@{chosen['best']}", "spread", "spread_median"]
)
@component(needs=["model"])
def score(*, best: int = 1, worst: int = 0) -> Evaluation:
    """A score that says what it measures."""
    raise AssertionError("a plan builds nothing")


@component(needs=["model"])
def secret() -> Evaluation:
    """A score that says nothing."""
    raise AssertionError("a plan builds nothing")


def hooks() -> ModuleType:
    """The toy plugin."""
    module = ModuleType("toy")

    @hookimpl
    def register_datasets() -> Iterable[Factory[Dataset]]:
        return [images]

    @hookimpl
    def register_sources() -> Iterable[Factory[Source]]:
        return [network]

    @hookimpl
    def register_transfers() -> Iterable[Factory[Transfer]]:
        return [tuning]

    @hookimpl
    def register_evaluations() -> Iterable[Factory[Evaluation]]:
        return [score, secret]

    registers = (register_datasets, register_sources, register_transfers, register_evaluations)
    vars(module).update({one.__name__: one for one in registers})
    return module


@pytest.fixture
def toy() -> Host:
    return Host([Plugin("toy", hooks(), "toy", "1.0")])


@pytest.fixture
def problems_of(toy: Host, write: Callable[[str, str], Path]) -> Callable[..., list[str]]:
    """The problems of the suite with a text replaced by another one."""

    def problems_of(old: str, new: str) -> list[str]:
        assert old in SUITE
        write("toy.yaml", SUITE.replace(old, new))
        try:
            make_plan(load("toy.yaml", toy), toy)
        except BadInput as error:
            return [str(problem) for problem in error.problems]
        return []

    return problems_of


def test_compatible_suite_has_no_problem(problems_of: Callable[..., list[str]]) -> None:
    assert problems_of("score", "score") == []


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (
            "[8, 20]",
            "[8, 41]",
            "found 41; expected at most the 40 images of the train part, or all",
        ),
        (
            "[8, 20]",
            "[3]",
            "found 3; expected at least one training image for each of 4 classes; raise it",
        ),
        ("[8, 20]", "[8], validation: 0.6", "found 8, of which `validation` leaves 3 to train on"),
        (
            "data: low, n: [8, 20]",
            "data: pair, n: [21]",
            "found 21; expected at most the 20 images",
        ),
        (
            "n: [8, 20]",
            "n: 8, test: 13",
            "found 13; expected at most the 12 images of the test part, or all",
        ),
        ("[0, 1]", "[0, 4]", "found 4; expected a class from 0 to 3"),
        ("[8, 20]", "8, reference: {use: toy/network, data: pair}", "found the reference"),
        (
            "blocks: 2}\nevaluations",
            "blocks: 2, batch: 9}\nevaluations",
            "found 9; expected at most n, which is 8",
        ),
        (
            "toy/score",
            "toy/score, best: -1",
            "found -1; expected at least `worst`, which is 0; raise it",
        ),
        ("toy/score", "toy/score, best: 4", "found 4; expected a class below 4; lower it"),
        (
            "toy/score",
            "toy/score, sweep: {best: [1, 4]}",
            "found 4; expected a class below 4; lower it",
        ),
        (
            "tuning, blocks: 2",
            "tuning, blocks: 6",
            "found blocks is 6; expected at most 5; train fewer",
        ),
    ],
)
def test_incompatible_option_is_reported_at_its_position(
    problems_of: Callable[..., list[str]], old: str, new: str, problem: str
) -> None:
    (found,) = problems_of(old, new)

    assert problem in found
    line = SUITE[: SUITE.index(old)].count("\n") + 1
    assert found.startswith(f"toy.yaml:{line}:")


def test_misfit_in_some_cells_skips_only_those(
    toy: Host, write: Callable[[str, str], Path]
) -> None:
    write("toy.yaml", SUITE.replace("tuning, blocks: 2", "tuning, blocks: 3"))
    trials = make_plan(load("toy.yaml", toy), toy).trials

    assert {trial.source: trial.skipped for trial in trials} == {
        "deep": None,
        "flat": "blocks is 3; train fewer",
    }


def test_evaluation_is_checked_against_its_targets(
    problems_of: Callable[..., list[str]],
) -> None:
    two = "  task: {data: low, n: [8, 20]}\n"
    evaluation = "  score: {use: toy/score, best: 3ONLY}\n"

    def of(only: str) -> list[str]:
        targets = f"{two}  pair: {{data: pair, n: 8}}\n"
        return problems_of(
            SUITE[SUITE.index(two) :],
            targets
            + SUITE[SUITE.index("transfers") : SUITE.index("  score")]
            + evaluation.replace("ONLY", only),
        )

    assert of(", only: {target: task}") == []
    assert len(of("")) == 1


@pytest.mark.parametrize(
    ("board", "problem"),
    [
        (
            "rank_by: score.scores",
            "found 'score.scores'; expected one of score.score@1, score.spread, score.spread_median",
        ),
        ("rank_by: score.spraed", "did you mean 'score.spread'?"),
        ("columns: [score.spread, score.score@2]", "found 'score.score@2'"),
        ("figures: [{kind: accuracy_vs_n, metric: score.accuracy}]", "found 'score.accuracy'"),
        ("questions: [{predictor: score.spread, outcome: score.x, across: n}]", "found 'score.x'"),
        (
            "questions: [{predictor: [score.score, score.y], outcome: score.spread, across: n}]",
            "found 'score.y'",
        ),
    ],
)
def test_unknown_metric_of_an_evaluation_is_reported_before_anything_is_built(
    problems_of: Callable[..., list[str]], board: str, problem: str
) -> None:
    (found,) = problems_of(
        "  score: {use: toy/score}\n", f"  score: {{use: toy/score}}\nleaderboard: {{{board}}}\n"
    )

    assert problem in found
    assert found.startswith("toy.yaml:13:")


@pytest.mark.parametrize(
    "metric",
    ["score.score", "score.score@1", "score.spread", "score.spread@30", "score.spread_median"],
)
def test_metric_may_leave_out_its_number_or_add_an_epoch(
    problems_of: Callable[..., list[str]], metric: str
) -> None:
    entry = "  score: {use: toy/score}\n"

    assert problems_of(entry, f"{entry}leaderboard: {{rank_by: {metric}}}\n") == []


def test_ambiguous_metric_is_reported_with_all_candidates(
    problems_of: Callable[..., list[str]],
) -> None:
    entry = "  score: {use: toy/score, sweep: {best: [1, 2]}}\n"
    (problem,) = problems_of(
        "  score: {use: toy/score}\n", f"{entry}leaderboard: {{rank_by: 'score.score'}}\n"
    )

    assert "expected the name of one evaluation" in problem


def test_evaluation_without_declared_metrics_is_not_checked(
    problems_of: Callable[..., list[str]],
) -> None:
    assert (
        problems_of("toy/score}\n", "toy/secret}\nleaderboard: {rank_by: score.anything}\n") == []
    )
