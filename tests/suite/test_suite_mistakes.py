from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from advtransfer.errors import BadInput, Location
from advtransfer.host import Host, Plugin
from advtransfer.suite import load

SEVEN = """\
version: 1
extends: base
datasets:
  low: {use: toy/imags}
sources:
  natural: {use: toy/trained, data: low, epochs: "10"}
  natural: {use: toy/fixed}
  linf: {use: toy/trained, lr: -1, data: low}
targets:
  task: {data: low, n: 20}
transfers:
  probe: {use: toy/probe}
evaluations:
  clean: {use: toy/accuracy}
  pgd: {use: toy/pgd}
exclude:
  - {source: nobody, n: 20}
"""


def test_seven_mistakes_are_reported_at_once_with_file_and_line(
    host: Host, write: Callable[[str, str], Path]
) -> None:
    write("suites/seven.yaml", SEVEN)
    write("suites/base.yaml", "adapters:\n  crop: {use: toy/crop, size: 3}\n")

    with pytest.raises(BadInput) as caught:
        load("suites/seven.yaml", host)

    assert [(str(problem.location), problem.found) for problem in caught.value.problems] == [
        ("suites/seven.yaml:4:14", "'toy/imags'"),
        ("suites/seven.yaml:6:50", "'10'"),
        ("suites/seven.yaml:7:3", "the key 'natural' again (first in line 6)"),
        ("suites/seven.yaml:8:32", "-1"),
        ("suites/seven.yaml:15:3", "no option 'eps'"),
        ("suites/seven.yaml:17:14", "'nobody', which matches no source"),
        ("suites/base.yaml:2:25", "the unknown name 'size' in toy/crop"),
    ]
    assert [problem.next_step for problem in caught.value.problems] == [
        "did you mean 'toy/images'?",
        "write 10 without quotes and spaces",
        "remove one of them",
        "`advtransfer show toy/trained` explains the options",
        "add it; `advtransfer show toy/pgd` explains the options",
        "correct it (a name may be a glob), or remove it",
        "remove it",
    ]


def test_mistake_in_an_entry_is_not_repeated_for_its_users(
    mistakes: Callable[..., list[str]],
) -> None:
    datasets = "low: {use: toy/images, split: x}\nsizes: {use: toy/images, sweep: {size: [0, 4]}}"
    sources = (
        "a: {use: toy/trained, data: low}\nb: {use: toy/trained, data: 'sizes[size=0]', lr: 0.3}"
    )
    exclude = "- {source: [a, 'b']}"

    assert len(mistakes(datasets=datasets, sources=sources, exclude=exclude)) == 2


def test_label_of_an_entry_with_mistakes_is_not_called_unknown(
    mistakes: Callable[..., list[str]],
) -> None:
    sources = (
        "a: {use: toy/trained, data: low, lr: -1, sweep: {epochs: [1, 2]}, label: 'at {epochs}'}"
    )
    exclude = "- {source: at 1}\n- {source: 'at*'}\n- {source: on 1}"
    board = "baseline: at 2"
    problems = mistakes(sources=sources, exclude=exclude, leaderboard=board)

    assert [one.partition("; ")[0].partition("found ")[2] for one in problems] == [
        "-1",
        "'on 1', which matches no source",
    ]


def test_mistake_in_the_defaults_is_reported_there_once(
    mistakes: Callable[..., list[str]],
) -> None:
    problems = mistakes(
        defaults="toy/trained: {data: low, lr: 0, epocs: 3}\ntoy/fixd: {}\ntoy/probe: 3\ntoy/fixed: {seeds: 2}",
        sources="a: {use: toy/trained}\nb: {use: toy/trained, epochs: 3}",
    )

    assert [one.partition("; ")[0] for one in problems] == [
        "toy.yaml:2:32: found 0",
        "toy.yaml:2:35: found the unknown name 'epocs' in the defaults of toy/trained",
        "toy.yaml:3:3: found 'toy/fixd'",
        "toy.yaml:4:14: found 3",
        "toy.yaml:5:15: found the unknown name 'seeds' in the defaults of toy/fixed",
    ]


@pytest.mark.parametrize(
    ("sections", "problem"),
    [
        ({"version": "2"}, "found 2; expected 1"),
        ({"title": "[a]"}, "found ['a']; expected a text"),
        ({"soruces": "{}"}, "found the unknown name 'soruces' in a suite"),
        (
            {"exclude": "{source: natural}"},
            "found {'source': 'natural'}; expected a list of selections",
        ),
        ({"transfers": "{}"}, "found no transfers; expected at least one"),
        ({"sources": "{}"}, "found the transfer 'probe', which needs a source"),
        ({"sources": "[a]"}, "found ['a']; expected `sources`: a mapping of names to entries"),
        (
            {"adapters": "{'a*': {use: toy/crop}}"},
            "found the name 'a*'; expected a name of letters, digits",
        ),
        ({"adapters": "{a: null}"}, "found null for 'a', which no parent has"),
    ],
)
def test_mistake_at_the_top_level_is_reported(
    mistakes: Callable[..., list[str]], sections: dict[str, str], problem: str
) -> None:
    assert problem in "\n".join(mistakes(**sections))


def test_plugin_that_does_not_load_is_reported_where_it_is_named(
    write: Callable[[str, str], Path],
) -> None:
    modules: dict[str, str | ModuleType] = {
        "absent": "no_such_module",
        "present": ModuleType("present"),
    }
    plugins = [Plugin(name, module, "example", "1.0") for name, module in modules.items()]
    write("x.yaml", "sources:\n  a: {use: absent/trained}\n  b: {use: unknown/trained}\n")

    with pytest.raises(BadInput) as caught:
        load("x.yaml", Host(plugins))

    assert [str(problem).partition("; run")[0] for problem in caught.value.problems[-2:]] == [
        "x.yaml:2:12: found 'absent/trained'; expected a plugin that loads; plugin 'absent': has the entry "
        "point 'no_such_module', but there is no module 'no_such_module'; correct the entry point of example, and "
        "reinstall it",
        "x.yaml:3:12: found 'unknown/trained'; expected a source of an installed plugin (absent, present); "
        "`advtransfer list` shows each source",
    ]


def test_list_instead_of_a_suite_is_a_problem(
    host: Host, write: Callable[[str, str], Path]
) -> None:
    write("list.yaml", "- 1\n")

    with pytest.raises(
        BadInput, match=r"list\.yaml:1:1: found \[1\]; expected a suite, which is a mapping"
    ):
        load("list.yaml", host)


def test_missing_suite_says_where_it_was_looked_for_and_what_is_shipped(
    host: Host, write: Callable[[str, str], Path]
) -> None:
    folder = write("mine.yaml", "").parent

    with pytest.raises(BadInput) as caught:
        load("mine.yml", host)
    with pytest.raises(BadInput, match=r"did you mean 'quickstart'\?"):
        load("quikstart", host)

    (problem,) = caught.value.problems
    assert (
        problem.found == f"no suite 'mine.yml' (neither the file {folder / 'mine.yml'} nor shipped)"
    )
    assert problem.expected.startswith("a suite file, or a shipped suite: ")
    assert "quickstart" in problem.expected
    assert problem.next_step == "did you mean 'mine.yaml'?"


def test_problems_are_in_the_order_of_the_file(
    host: Host, write: Callable[[str, str], Path]
) -> None:
    write("suites/seven.yaml", SEVEN)
    write("suites/base.yaml", "titel: x\n")

    with pytest.raises(BadInput) as caught:
        load("suites/seven.yaml", host)

    marks = [problem.location for problem in caught.value.problems if problem.location]
    assert marks == [*sorted(marks[:-1]), Location("suites/base.yaml", 1, 1)]
