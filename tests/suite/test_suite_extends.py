from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from advtransfer.errors import BadInput
from advtransfer.host import Host
from advtransfer.suite import Suite, load

PARENT = """\
title: Parent
datasets:
  low: {use: toy/images}
defaults:
  toy/trained: {data: low, adversary: {eps: 0.2, steps: 3}}
sources:
  natural: {use: toy/trained}
  other: {use: toy/trained, lr: 0.5, only: {target: task}}
targets:
  task: {data: low, n: [20, 50], seeds: 3}
transfers:
  probe: {use: toy/probe}
evaluations:
  clean: {use: toy/accuracy}
  strong: {use: toy/pgd, eps: 8/255}
leaderboard: {baseline: natural, rank_by: clean.accuracy}
"""


@pytest.fixture
def child(host: Host, write: Callable[[str, str], Path]) -> Callable[..., Suite]:
    """Loads a suite that extends PARENT."""

    def child(text: str, *, parent: str = PARENT) -> Suite:
        write("suites/parent.yaml", parent)
        write("suites/child.yaml", f"extends: parent\n{text}")
        return load("suites/child.yaml", host)

    return child


def labels(suite: Suite) -> list[str]:
    return [cell.label for cell in suite.sources]


def test_child_without_changes_equals_its_parent_but_for_the_name(
    child: Callable[..., Suite],
) -> None:
    suite = child("title: Child")

    assert (suite.name, suite.title, labels(suite)) == ("child", "Child", ["natural", "other"])
    assert suite.leaderboard.baseline == "natural"


def test_entries_and_their_options_merge_by_name(child: Callable[..., Suite]) -> None:
    suite = child("sources:\n  natural: {adversary: {steps: 9}}\n  third: {use: toy/fixed}")

    assert labels(suite) == ["natural", "other", "third"]
    assert suite.sources[0].node.options["adversary"] == {"norm": "linf", "eps": 0.2, "steps": 9}


def test_null_removes_an_entry_and_in_an_entry_is_a_value(child: Callable[..., Suite]) -> None:
    suite = child("sources:\n  natural: {adversary: null}\n  other: null\nadapters: null")

    assert labels(suite) == ["natural"]
    assert suite.sources[0].node.options["adversary"] is None


def test_null_in_place_of_a_section_removes_all_of_it(child: Callable[..., Suite]) -> None:
    suite = child("sources:\nleaderboard:\ntransfers: {probe: {use: toy/scratch, network: small}}")

    assert suite.sources == ()
    assert suite.leaderboard.baseline is None


def test_null_for_a_reserved_word_takes_it_back(child: Callable[..., Suite]) -> None:
    assert child("sources: {other: {only: null}}").sources[1].only is None


def test_entry_of_another_component_starts_anew(child: Callable[..., Suite]) -> None:
    suite = child("sources: {other: {use: toy/fixed}}")

    assert (suite.sources[1].node.use, suite.sources[1].node.options) == (
        "toy/fixed",
        {"network": "small"},
    )


CLAIMS = """\
  registered: 0123456789abcdef0123456789abcdef01234567
  claims: [{name: B7, claim: Looks better, paper: Nobody, place: Figure 1, reported: '-', not_asked: People look}]
"""


@pytest.mark.parametrize("text", ["", "leaderboard: {baseline: other}"])
def test_claims_are_inherited_without_the_commit_that_held_them(
    child: Callable[..., Suite], text: str
) -> None:
    parent = PARENT.replace(
        "leaderboard: {baseline: natural, rank_by: clean.accuracy}", f"leaderboard:\n{CLAIMS}"
    )
    leaderboard = child(text, parent=parent).leaderboard
    own = child(
        "leaderboard: {registered: '9999999999999999999999999999999999999999'}", parent=parent
    )

    assert ([claim["name"] for claim in leaderboard.claims], leaderboard.registered) == (["B7"], "")
    assert own.leaderboard.registered == "9" * 40


def test_null_for_what_no_parent_has_is_a_problem(child: Callable[..., Suite]) -> None:
    with pytest.raises(
        BadInput, match=r"child\.yaml:2:11: found null for 'natral', which no parent has"
    ):
        child("sources: {natral: null}")


def test_ids_do_not_depend_on_the_file_that_a_value_comes_from(child: Callable[..., Suite]) -> None:
    loaded = child("", parent=PARENT)
    parent = PARENT.replace("  natural: {use: toy/trained}\n", "")
    split = child("sources: {natural: {use: toy/trained}}", parent=parent)

    assert {cell.node.id for cell in loaded.sources} == {cell.node.id for cell in split.sources}


def test_mistake_in_the_parent_is_reported_with_the_parents_file(
    child: Callable[..., Suite],
) -> None:
    with pytest.raises(BadInput) as caught:
        child(
            "titel: x", parent=PARENT.replace("lr: 0.5", "lr: -1").replace("seeds: 3", "seeds: x")
        )

    assert [str(problem.location) for problem in caught.value.problems] == [
        "suites/child.yaml:2:1",
        "suites/parent.yaml:8:33",
        "suites/parent.yaml:10:41",
    ]


def test_parents_value_keeps_its_position_in_a_child(child: Callable[..., Suite]) -> None:
    with pytest.raises(BadInput) as caught:
        child("sources: {natural: {epochs: 3}}", parent=PARENT.replace("steps: 3", "steps: three"))

    assert {"suites/parent.yaml:5:57"} == {
        str(problem.location) for problem in caught.value.problems
    }


def test_parent_may_be_named_with_its_ending_or_be_a_shipped_suite(
    host: Host, write: Callable[[str, str], Path]
) -> None:
    write("parent.yaml", PARENT)
    write("child.yaml", "extends: parent.yaml")
    write("shipped.yaml", "extends: quickstart")

    assert load("child.yaml", host).title == "Parent"
    with pytest.raises(
        BadInput, match=r"quickstart\.yaml:"
    ):  # found, though the toy host has none of its plugins
        load("shipped.yaml", host)


def test_parent_that_does_not_exist_is_a_problem(
    host: Host, write: Callable[[str, str], Path]
) -> None:
    write("parent.yaml", PARENT)
    write("child.yaml", "extends: parnt")

    with pytest.raises(BadInput, match=r"child.yaml:1:10: found 'parnt'.*did you mean 'parent'\?"):
        load("child.yaml", host)


def test_circle_of_parents_is_a_problem(host: Host, write: Callable[[str, str], Path]) -> None:
    write("a.yaml", "extends: b")
    write("b.yaml", "extends: a")

    with pytest.raises(
        BadInput, match=r"b\.yaml:1:10: found a suite that extends itself \(a.yaml -> b.yaml -> a"
    ):
        load("a.yaml", host)


def test_stored_text_has_the_parent_filled_in_and_reads_as_the_same_suite(
    child: Callable[..., Suite], host: Host, write: Callable[[str, str], Path]
) -> None:
    suite = child(
        "title: '1e-3'\nsources: {natural: {sweep: {lr: [1/4, 0.50]}}}\nleaderboard: {baseline: other}"
    )
    write("again/child.yaml", suite.text)
    again = load("again/child.yaml", host)

    assert suite.text.startswith("# child.yaml, with what it extends filled in.\n")
    assert "extends:" not in suite.text
    assert (again.title, labels(again)) == (
        "1e-3",
        ["natural[lr=1/4]", "natural[lr=0.50]", "other"],
    )
    assert suite.sources == again.sources
    assert (suite.targets, suite.evaluations) == (again.targets, again.evaluations)


def test_stored_text_of_a_suite_without_a_parent_is_its_own(
    host: Host, write: Callable[[str, str], Path]
) -> None:
    write("parent.yaml", f"# a comment\n{PARENT}")

    assert f"# a comment\n{PARENT}" == load("parent.yaml", host).text
