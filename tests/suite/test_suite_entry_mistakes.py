from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        ("{data: low}", "4:3: found an entry without `use`; expected a source"),
        (
            "{use: trained}",
            "4:12: found 'trained'; expected a source of an installed plugin (toy); did you mean",
        ),
        ("{use: toy/probe}", "4:12: found 'toy/probe'; expected a source"),
        ("{use: 3}", "4:12: found 3; expected a source, written plugin/factory"),
        ("toy/trained", "4:6: found 'toy/trained'; expected an entry of sources"),
        ("[toy/trained]", "4:6: found ['toy/trained']; expected an entry of sources"),
        (
            "{use: toy/trained}",
            "4:3: found no option 'data'; expected a dataset: the name of an entry, or an inline entry",
        ),
        (
            "{use: toy/trained, data: lwo}",
            "4:31: found the unknown name 'lwo'; expected an entry of datasets (low)",
        ),
        (
            "{use: toy/trained, data: 3}",
            "4:31: found 3; expected the name of an entry of datasets, or an inline entry",
        ),
        (
            "{use: toy/trained, data: [low]}",
            "4:31: found ['low']; expected the name of an entry of datasets",
        ),
        (
            "{use: toy/trained, data: {use: toy/images, split: x}}",
            "4:56: found 'x'; expected a valid integer",
        ),
        (
            "{use: toy/trained, data: {use: toy/images, label: x}}",
            "4:49: found the unknown name 'label' in toy/im",
        ),
        (
            "{use: toy/trained, data: low, adversary: {epz: 1}}",
            "4:48: found unknown option 'epz'; expected one of no",
        ),
        (
            "{use: toy/trained, data: low, adversary: {eps: 2}}",
            "4:47: found {'eps': 2}; expected eps of at most 1",
        ),
        (
            "{use: toy/trained, data: low, network: tiny}",
            "4:45: found 'tiny'; expected 'small' or 'large'",
        ),
        (
            "{use: toy/trained, data: low, preset: papr}",
            "4:44: found the preset 'papr'; expected one of paper; did",
        ),
        (
            "{use: toy/fixed, resources: {gpu: 1}}",
            "4:35: found the unknown name 'gpu' in resources; expected one of cpus, gpus; did you",
        ),
        (
            "{use: toy/fixed, resources: {gpus: 1.5}}",
            "4:41: found 1.5; expected a share of one GPU above 0, or a whole number of GPUs",
        ),
        (
            "{use: toy/fixed, resources: {cpus: 0}}",
            "4:41: found 0; expected a number of CPU cores above 0",
        ),
        (
            "{use: toy/fixed, resources: 2}",
            "4:34: found 2; expected resources, a mapping",
        ),
        (
            "{use: toy/fixed, preset: x}",
            "4:31: found the preset 'x'; expected no preset, since toy/fixed has none",
        ),
        (
            "{use: toy/fixed, seeds: 2}",
            "4:23: found `seeds`; expected no `seeds`, since toy/fixed has no option",
        ),
        (
            "{use: toy/trained, data: low, seed: 1, seeds: 2}",
            "4:45: found `seeds`; expected `seed` or `seeds`, not b",
        ),
        (
            "{use: toy/trained, data: low, seeds: 0}",
            "4:43: found 0; expected a count from 1 to 10,000, or a list of seeds",
        ),
        (
            "{use: toy/trained, data: low, seeds: [1, 1]}",
            "4:47: found 1; expected each value once in `seeds`",
        ),
        ("{use: toy/trained, data: low, seeds: [x]}", "4:44: found 'x'; expected a valid integer"),
        (
            "{use: toy/fixed, sweep: {netwrk: [small]}}",
            "4:31: found the unknown option 'netwrk' in a sweep",
        ),
        (
            "{use: toy/fixed, sweep: {network: small}}",
            "4:40: found 'small'; expected a list of values to sweep over",
        ),
        (
            "{use: toy/fixed, sweep: {network: []}}",
            "4:40: found []; expected a list of values to sweep over",
        ),
        (
            "{use: toy/fixed, sweep: {network: [small, tiny]}}",
            "4:48: found 'tiny'; expected 'small' or 'large'",
        ),
        (
            "{use: toy/fixed, sweep: {network: [small, small]}}",
            "4:48: found 'small'; expected each value once in a ",
        ),
        (
            "{use: toy/fixed, sweep: [network]}",
            "4:30: found ['network']; expected a mapping of options to lists",
        ),
        (
            "{use: toy/fixed, network: small, sweep: {network.x: [1]}}",
            "4:32: found 'small'; expected a mapping, sin",
        ),
        (
            "{use: toy/fixed, label: '{netwrk}'}",
            "4:30: found {netwrk} in a label; expected options of toy/fixed in",
        ),
        (
            "{use: toy/trained, data: low, label: '{adversary.x}'}",
            "4:43: found {adversary.x} in a label; expected ",
        ),
        (
            "{use: toy/trained, data: low, label: '{seed}', seeds: 2}",
            "4:43: found {seed} in a label; expected opti",
        ),
        (
            '{use: toy/fixed, label: "a\\nb"}',
            "4:30: found the label 'a\\nb'; expected one line of printable",
        ),
        ("{use: toy/fixed, label: 3}", "4:30: found 3; expected a text"),
        (
            "{use: toy/fixed, label: x, sweep: {network: [small, large]}}",
            "4:30: found the label 'x' for two things",
        ),
        (
            "{use: toy/fixed, label: b}\nb: {use: toy/fixed, network: large}",
            "4:30: found the label 'b' for two th",
        ),
    ],
)
def test_mistake_in_an_entry_is_reported_once_at_its_position(
    mistakes: Callable[..., list[str]], entry: str, problem: str
) -> None:
    (found,) = mistakes(datasets="low: {use: toy/images}", sources=f"s: {entry}")

    assert found.startswith(f"toy.yaml:{problem}")


@pytest.mark.parametrize(
    ("entry", "problem"),
    [
        (
            "{}",
            "expected an evaluation; add `use: plugin/factory`; `advtransfer list` shows each evaluation",
        ),
        ("{use: 3}", "expected an evaluation, written plugin/factory"),
        ("{use: toy/probe}", "expected an evaluation of an installed plugin (toy)"),
    ],
)
def test_missing_component_is_expected_with_its_article(
    mistakes: Callable[..., list[str]], entry: str, problem: str
) -> None:
    assert problem in mistakes(evaluations=f"a: {entry}")[0]


@pytest.mark.parametrize(
    ("view", "problem"),
    [
        ("classes: 3", "found 3; expected a list of at least two class numbers"),
        ("classes: [3]", "found [3]; expected a list of at least two class numbers"),
        ("classes: [3, 3]", "found 3; expected each value once in `classes`"),
        ("classes: [0, -1]", "found -1; expected a class number from 0"),
        ("channels: 2", "found 2; expected 1 (their mean) or 3 (repeated)"),
        ("size: 0", "found 0; expected the side of a square in pixels"),
        ("size: 8.0", "found 8.0; expected the side of a square in pixels"),
        ("attribute: -1", "found -1; expected the name of an attribute, or its number from 0"),
        ("attribute: [1]", "found [1]; expected the name of an attribute, or its number from 0"),
        (
            "attribute: smiling",
            "found `attribute`; expected no `attribute`, since the labels are classes",
        ),
    ],
)
def test_mistake_in_a_view_is_reported(
    mistakes: Callable[..., list[str]], view: str, problem: str
) -> None:
    assert problem in mistakes(datasets=f"low: {{use: toy/images, {view}}}")[0]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("file: none.npz", "2:33: found 'none.npz'; expected a file in"),
        ("file: .", "2:33: found '.'; expected a file in"),
        ("file: 3", "2:33: found 3; expected the path of a file"),
        ("file: a.npz, sha256: abc", "2:48: found 'abc'; expected 64 hexadecimal digits"),
        ("file: null", "2:3: found no option 'file'; expected the path of a file"),
    ],
)
def test_mistake_in_a_file_option_is_reported(
    mistakes: Callable[..., list[str]],
    write: Callable[[str, str], Path],
    options: str,
    problem: str,
) -> None:
    write("a.npz", "content")
    (found,) = mistakes(datasets=f"low: {{use: toy/archive, {options}}}")

    assert found.startswith(f"toy.yaml:{problem}")


def test_missing_file_says_which_variable_to_set(mistakes: Callable[..., list[str]]) -> None:
    assert (
        "; set ADVTRANSFER_DATA to the folder"
        in mistakes(datasets="low: {use: toy/archive, file: a.npz}")[0]
    )


def test_mistake_deep_inside_an_option_is_reported_there(
    mistakes: Callable[..., list[str]],
) -> None:
    problems = mistakes(
        transfers="t: {use: toy/scratch, network: small, layers: [{width: 3}, {widht: 3}]}"
    )

    assert [one.partition(";")[0] for one in problems] == [
        "toy.yaml:2:62: found no option 'width'",
        "toy.yaml:2:63: found unknown option 'widht'",
    ]
    assert problems[1].endswith("expected one of width, bias; did you mean 'width'?")


@pytest.mark.parametrize(
    "entry", ["{use: toy/trained, data: 012}", "{use: toy/trained, data: low, epochs: .nan}"]
)
def test_consequences_of_an_unreadable_value_are_not_reported(
    mistakes: Callable[..., list[str]], entry: str
) -> None:
    assert len(mistakes(sources=f"s: {entry}")) == 1


def test_sweep_of_too_many_cells_is_refused_before_it_is_built(
    mistakes: Callable[..., list[str]],
) -> None:
    values = list(range(1, 102))
    sweep = f"{{epochs: {values}, lr: {values}}}"
    (problem,) = mistakes(sources=f"s: {{use: toy/trained, data: low, sweep: {sweep}}}")

    assert "found a sweep of 10,201 cells; expected at most 10,000" in problem


def test_entries_made_from_themselves_are_a_problem(mistakes: Callable[..., list[str]]) -> None:
    problems = mistakes(
        datasets="low: {use: toy/images}\na: {use: toy/mixed, parts: [b]}\nb: {use: toy/mixed, parts: [a]}"
    )

    assert [one.partition(";")[0] for one in problems] == [
        "toy.yaml:4:31: found 'a', which is made from itself or too long a chain (a -> b -> a)"
    ]


def test_long_chain_of_entries_is_refused_without_recursion_error(
    mistakes: Callable[..., list[str]],
) -> None:
    links = [f"a{level}: {{use: toy/mixed, parts: [a{level + 1}]}}" for level in range(300)]
    problems = mistakes(
        datasets="\n".join(["low: {use: toy/images}", *links, "a300: {use: toy/images}"])
    )

    assert "too long a chain" in problems[0]


def test_part_must_be_a_single_cell(mistakes: Callable[..., list[str]]) -> None:
    (problem,) = mistakes(
        datasets="low: {use: toy/images}\nboth: {use: toy/images, sweep: {size: [4, 8]}}",
        sources="s: {use: toy/trained, data: both}",
    )

    assert (
        "expected the name of one dataset, not of 2; name one of 'both[size=4]', 'both[size=8]'"
        in problem
    )


@pytest.mark.parametrize("written", ["30", "30 parsecs", "0s", "-1m", "[1m]", "''"])
def test_a_timeout_is_a_duration_with_its_unit(
    mistakes: Callable[..., list[str]], written: str
) -> None:
    (problem,) = mistakes(sources=f"{{natural: {{use: toy/fixed, timeout: {written}}}}}")

    assert "expected a duration above 0 with its unit, such as 90s, 30m or 1h30m" in problem


def test_a_timeout_is_refused_where_nothing_is_built(mistakes: Callable[..., list[str]]) -> None:
    (problem,) = mistakes(datasets="{low: {use: toy/images, timeout: 30m}}")

    assert "the unknown name 'timeout' in toy/images" in problem
    assert "write it in an entry of sources, transfers or evaluations" in problem
