"""Suites of absurd size are refused at once, with the number that is too large."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from advtransfer.errors import BadInput
from advtransfer.host import Host
from advtransfer.planning import make_plan
from advtransfer.suite import Suite, load

SECONDS = 10
"""Far more than any of these takes, far less than what was hung in."""


@pytest.fixture(autouse=True)
def _quick() -> Iterator[None]:
    began = time.process_time()
    yield
    assert time.process_time() - began < SECONDS


@pytest.mark.parametrize(
    "seeds", ["100000000", "1000000000000", "{rule: utrera2021, count: 100000000}"]
)
def test_hundred_million_seeds_are_refused_before_they_are_made(
    mistakes: Callable[..., list[str]], seeds: str
) -> None:
    (problem,) = mistakes(targets=f"task: {{data: low, n: 20, seeds: {seeds}}}")

    assert "from 1 to 100,000" in problem


@pytest.mark.parametrize(
    ("target", "number"),
    [
        ("n: [20, 30, 40], seeds: 100000", "300,000"),
        ("subsets: [{n: 20, seeds: 100000}, {n: [30, 40], seeds: 100000}]", "300,000"),
    ],
)
def test_n_times_seeds_is_counted_before_it_is_drawn(
    mistakes: Callable[..., list[str]], target: str, number: str
) -> None:
    (problem,) = mistakes(targets=f"task: {{data: low, {target}}}")

    assert f"found {number} subsets; expected at most 100,000" in problem


def test_subsets_of_all_targets_are_counted_together(
    mistakes: Callable[..., list[str]],
) -> None:
    targets = "\n".join(f"t{k}: {{data: low, n: 20, seeds: 60000}}" for k in range(200))
    (problem,) = mistakes(targets=targets)

    assert "found 120,000 subsets" in problem


@pytest.mark.parametrize(
    ("sources", "found"),
    [
        ("s: {use: toy/trained, data: low, seeds: 1000000}", "expected a count from 1 to 10,000"),
        (
            "s: {use: toy/trained, data: low, seeds: 9000, sweep: {lr: [0.1, 0.2]}}",
            "found 18,000 cells of 's'",
        ),
        (
            "\n".join(
                f"s{k}: {{use: toy/trained, data: low, lr: 0.{k + 1}, seeds: 3000}}"
                for k in range(9)
            ),
            "with those before it 12,002; expected at most 10,000 in all",
        ),
    ],
)
def test_sweeps_and_replicates_are_counted_before_they_are_built(
    mistakes: Callable[..., list[str]], sources: str, found: str
) -> None:
    assert any(found in one for one in mistakes(sources=sources))


def test_grid_of_too_many_trials_is_refused_with_its_number(
    host: Host, suite: Callable[..., Suite]
) -> None:
    crowded = suite(
        sources="s: {use: toy/trained, data: low, seeds: 100}",
        targets="task: {data: low, n: [20, 30], seeds: 1000}",
    )

    with pytest.raises(
        BadInput,
        match=r"toy\.yaml:\d+:1: found 200,000 trials with 200,000 results; expected at most",
    ):
        make_plan(crowded, host)


def test_restricted_grid_is_counted_while_it_is_made(
    host: Host, suite: Callable[..., Suite]
) -> None:
    sources = "s: {use: toy/trained, data: low, seeds: 100}"
    targets = "task: {data: low, n: [20, 30], seeds: 1000}"
    few = suite(
        sources=sources,
        targets=targets,
        exclude="- {n: 20}\n- {seed: [" + ", ".join(map(str, range(1, 1000))) + "]}",
    )

    assert len(make_plan(few, host).trials) == 100


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("#" + "x" * 10_000_000, "found a file of 10,000,001 bytes; expected at most 250,000"),
        (
            "targets: {" + ", ".join(f"k{k}: 1" for k in range(12_000)) + "}",
            "found more than 20,000 keys and values",
        ),
        ("a: " + "[" * 5_000, "nested deeper than 40 levels"),
        (
            "a: &a [1,1,1,1,1,1,1,1,1,1]\n"
            + "\n".join(
                f"{b}: &{b} [{', '.join([f'*{a}'] * 10)}]"
                for a, b in zip("abcdefgh", "bcdefghi", strict=True)
            ),
            "found more than 10,000 values, each use of an alias counted",
        ),
    ],
)
def test_large_deep_and_multiplying_files_are_refused(
    host: Host, write: Callable[[str, str], Path], text: str, found: str
) -> None:
    write("toy.yaml", text)

    with pytest.raises(BadInput) as caught:
        load("toy.yaml", host)

    assert found in str(caught.value)


@pytest.mark.parametrize(
    "sections",
    [
        {
            "sources": "s: {use: toy/trained, data: low, adversary: {"
            + ", ".join(f"epss{k}: 1" for k in range(800))
            + "}}"
        },
        {"sources": "\n".join(f"s{k}: {{use: toy/trained, data: lw{k}}}" for k in range(800))},
        {
            "sources": "\n".join(
                f"s{k}: {{use: toy/trained, data: low, lr: 0.{k + 1}}}" for k in range(400)
            ),
            "exclude": "- {source: [" + ", ".join(f"sourc{k}" for k in range(800)) + "]}",
        },
    ],
)
def test_800_mistakes_are_all_reported_quickly(
    mistakes: Callable[..., list[str]], sections: dict[str, str]
) -> None:
    problems = mistakes(**sections)

    assert len(problems) == 800
    assert max(map(len, problems)) < 1000


@pytest.mark.parametrize(
    ("exclude", "found"),
    [
        (
            "- {source: '*'}",
            "found no trial that `exclude` and `only` leave; expected at least one",
        ),
        (
            "- {evaluation: '*'}",
            "found no evaluation in any of 1 trials that `exclude` and `only` leave",
        ),
    ],
)
def test_suite_without_trials_or_evaluations_is_refused(
    host: Host, suite: Callable[..., Suite], exclude: str, found: str
) -> None:
    nothing = suite(exclude=exclude)

    with pytest.raises(BadInput) as caught:
        make_plan(nothing, host)

    assert str(caught.value).startswith("toy.yaml:1:1: ")
    assert found in str(caught.value)
