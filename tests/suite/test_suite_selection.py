from __future__ import annotations

from collections.abc import Callable

import pytest

from advtransfer.suite import Selection, Suite

GRID = {
    "sources": """\
natural: {use: toy/trained, data: low, seeds: 2}
linf: {use: toy/trained, data: low, sweep: {adversary.eps: [0.1, 0.2]}}
l2: {use: toy/trained, data: low, lr: 0.2, sweep: {adversary.eps: [0.3]}, label: "L2 {adversary.eps}"}""",
    "targets": "task: {data: low, n: [20, all], seeds: 2}\nother: {data: low, n: 50}",
}


@pytest.fixture
def selected(suite: Callable[..., Suite]) -> Callable[[str], dict[str, frozenset[str | int]]]:
    """What a selection means on each of its axes."""

    def selected(text: str) -> dict[str, frozenset[str | int]]:
        (selection,) = suite(**GRID, exclude=f"- {text}").exclude
        return dict(selection.axes)

    return selected


@pytest.mark.parametrize(
    ("pattern", "labels"),
    [
        ("natural", {"natural[seed=0]", "natural[seed=1]"}),
        ("'natural[seed=1]'", {"natural[seed=1]"}),
        ("linf", {"linf[adversary.eps=0.1]", "linf[adversary.eps=0.2]"}),
        ("'linf[adversary.eps=0.2]'", {"linf[adversary.eps=0.2]"}),
        ("l*", {"linf[adversary.eps=0.1]", "linf[adversary.eps=0.2]", "L2 0.3"}),
        ("L2 0.3", {"L2 0.3"}),
        ("'*0.[13]*'", {"linf[adversary.eps=0.1]", "L2 0.3"}),
        ("[l2, natural]", {"L2 0.3", "natural[seed=0]", "natural[seed=1]"}),
    ],
)
def test_pattern_is_a_key_a_row_a_label_or_a_glob(
    selected: Callable[[str], dict[str, frozenset[str | int]]], pattern: str, labels: set[str]
) -> None:
    assert selected(f"{{source: {pattern}}}") == {"source": labels}


def test_n_and_seed_compare_as_values(
    selected: Callable[[str], dict[str, frozenset[str | int]]],
) -> None:
    assert selected("{n: [all, 50], seed: 1, target: t*}") == {
        "n": {"all", 50},
        "seed": {1},
        "target": {"task"},
    }


def test_selection_means_the_cells_that_match_on_every_axis() -> None:
    selection = Selection({"source": frozenset({"a", "b"}), "n": frozenset({20})})

    assert selection.matches({"source": "a", "n": 20, "seed": 3})
    assert not selection.matches({"source": "a", "n": 50})
    assert not selection.matches({"source": None, "n": 20})
    assert not selection.matches({"source": "a"})


def test_entrys_cells_share_its_only(suite: Callable[..., Suite]) -> None:
    loaded = suite(
        **GRID,
        transfers="a: {use: toy/probe, only: {source: [natural, L2*], target: task}}\nb: {use: toy/probe, C: 2.0}",
    ).transfers

    assert loaded[0].only == Selection(
        {
            "source": frozenset({"natural[seed=0]", "natural[seed=1]", "L2 0.3"}),
            "target": frozenset({"task"}),
        }
    )
    assert loaded[1].only is None


@pytest.mark.parametrize(
    ("selection", "found"),
    [
        ("{source: natral}", "found 'natral', which matches no source"),
        ("{source: [natural, x*]}", "found 'x*', which matches no source"),
        ("{source: 3}", "found 3, which matches no source"),
        ("{n: 21}", "found 21, which matches no n; expected 20, all, 50"),
        ("{n: '20'}", "found '20', which matches no n"),
        ("{n: true}", "found True, which matches no n"),
        ("{seed: 2}", "found 2, which matches no seed; expected 0, 1"),
        (
            "{adapter: crop}",
            "found 'crop', which matches no adapter; expected no adapter, since the suite has none",
        ),
        ("{sources: natural}", "found the unknown name 'sources' in a selection of cells"),
        ("{}", "found {}; expected at least one axis"),
        ("natural", "found 'natural'; expected a selection of cells, a mapping"),
    ],
)
def test_pattern_that_matches_nothing_is_a_problem(
    mistakes: Callable[..., list[str]], selection: str, found: str
) -> None:
    (problem,) = mistakes(**GRID, exclude=f"- {selection}")

    assert found in problem


def test_adapter_applies_to_pairs_of_source_and_target_only(
    mistakes: Callable[..., list[str]],
) -> None:
    (problem,) = mistakes(adapters="crop: {use: toy/crop, only: {n: 20}}")

    assert (
        "found the unknown name 'n' in a selection of cells; expected one of source, target"
        in problem
    )


def test_data_set_has_no_cells_to_select(mistakes: Callable[..., list[str]]) -> None:
    (problem,) = mistakes(datasets="low: {use: toy/images, only: {target: task}}")

    assert "found the unknown name 'only' in toy/images" in problem
