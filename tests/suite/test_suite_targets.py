from __future__ import annotations

from collections.abc import Callable

import pytest

from advtransfer.suite import Subset, Suite, Target
from advtransfer.suite.grid_entries import training_start
from advtransfer.suite.suite import SeedPairing


@pytest.fixture
def target(suite: Callable[..., Suite]) -> Callable[[str], Target]:
    """The target that these keys say."""

    def target(keys: str) -> Target:
        (loaded,) = suite(targets=f"task: {{data: low, {keys}}}").targets
        return loaded

    return target


def test_target_asks_for_each_n_with_each_seed_in_order(target: Callable[[str], Target]) -> None:
    loaded = target("n: [20, all], seeds: 2, validation: 0.25")

    assert loaded.subsets == (
        Subset(20, 0, 0.25, "uniform"),
        Subset(20, 1, 0.25, "uniform"),
        Subset("all", 0, 0.25, "uniform"),
        Subset("all", 1, 0.25, "uniform"),
    )
    assert (loaded.key, loaded.data.label, loaded.test, loaded.references) == (
        "task",
        "low",
        None,
        (),
    )


def test_one_seed_and_no_validation_are_the_defaults(target: Callable[[str], Target]) -> None:
    assert target("n: all").subsets == (Subset("all", 0, 0.0, "uniform"),)


def test_seeds_may_be_listed(target: Callable[[str], Target]) -> None:
    assert [subset.seed for subset in target("n: 20, seeds: [7, 3]").subsets] == [7, 3]


def test_papers_rule_has_seeds_and_a_draw_of_its_own(target: Callable[[str], Target]) -> None:
    loaded = target("n: 20, seeds: {rule: utrera2021, count: 3}")

    assert [(subset.seed, subset.rule) for subset in loaded.subsets] == [
        (20_000_000, "utrera2021"),
        (20_100_000, "utrera2021"),
        (20_200_000, "utrera2021"),
    ]


def test_paired_seeds_know_their_position(target: Callable[[str], Target]) -> None:
    paired = target("n: 20, seeds: {count: 2, paired: true}").subsets

    assert paired == (
        Subset(20, 0, 0.0, "uniform", SeedPairing(0, 2)),
        Subset(20, 1, 0.0, "uniform", SeedPairing(1, 2)),
    )
    assert (
        target("n: 20, seeds: {count: 2, paired: false}").subsets
        == target("n: 20, seeds: 2").subsets
    )


def test_subsets_let_seeds_depend_on_n(target: Callable[[str], Target]) -> None:
    loaded = target("subsets: [{n: [500, 2000], seeds: 2}, {n: all, validation: 0.1}]")

    assert [(subset.n, subset.seed, subset.validation) for subset in loaded.subsets] == [
        (500, 0, 0.0),
        (500, 1, 0.0),
        (2000, 0, 0.0),
        (2000, 1, 0.0),
        ("all", 0, 0.1),
    ]


def test_test_part_may_be_a_draw(target: Callable[[str], Target]) -> None:
    assert target("n: 20, test: 1000").test == 1000


def test_target_may_hold_inline_data(suite: Callable[..., Suite]) -> None:
    (loaded,) = suite(targets="task: {data: {use: toy/images, size: 4}, n: 20}").targets

    assert loaded.data.node.options == {"split": 0, "size": 4}


def test_references_are_named_or_inline_with_replicates(target: Callable[[str], Target]) -> None:
    loaded = target("n: 20, reference: [natural, {use: toy/trained, data: low, lr: 0.2, seeds: 2}]")

    assert [(cell.label, cell.node.options["seed"]) for cell in loaded.references] == [
        ("natural", 0),
        ("task.reference.1[seed=0]", 0),
        ("task.reference.1[seed=1]", 1),
    ]
    assert target("n: 20, reference: natural").references == loaded.references[:1]


def test_inline_reference_has_its_own_weights_unless_it_starts_as_a_source(
    target: Callable[[str], Target],
) -> None:
    trained = "use: toy/trained, data: low"
    natural, own, said, shared = target(
        f"n: 20, reference: [natural, {{{trained}}}, {{{trained}, start: own}}, {{{trained}, start: source}}]"
    ).references

    assert ["source", "own", "own", "source"] == [
        training_start(one.node) for one in (natural, own, said, shared)
    ]
    assert own.node == said.node
    assert natural.node == shared.node
    assert {"start": "own"} == {
        name: own.node.options[name] for name in own.node.options.keys() - natural.node.options
    }
    assert own.node.id != natural.node.id


def test_reference_without_random_weights_has_no_start(
    target: Callable[[str], Target],
) -> None:
    (fixed,) = target("n: 20, reference: {use: toy/fixed}").references

    assert training_start(fixed.node) is None
    assert "start" not in fixed.node.options


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        (
            "n: 20, reference: {use: toy/trained, data: low, start: shared}",
            "7:76: found 'shared'; expected own or source; correct the word",
        ),
        (
            "n: 20, reference: {use: toy/trained, data: low, start: sorce}",
            "7:76: found 'sorce'; expected own or source; did you mean 'source'?",
        ),
        (
            "n: 20, reference: {use: toy/fixed, start: own}",
            "7:56: found `start`; expected no `start`, since toy/fixed has no `seed`: nothing of it is drawn",
        ),
        ("seeds: 2", "7:3: found no `n`; expected counts"),
        ("n: 0", "7:24: found 0; expected a count of labelled images above 0, or all"),
        (
            "n: [20, some]",
            "7:29: found 'some'; expected a count of labelled images above 0, or all",
        ),
        ("n: true", "7:24: found True; expected a count of labelled images above 0, or all"),
        ("n: []", "7:24: found []; expected counts"),
        ("n: 20, validation: 1", "7:40: found 1; expected a share of n from 0 to below 1"),
        ("n: 20, validation: -0.1", "7:40: found -0.1; expected a share of n from 0 to below 1"),
        (
            "n: 20, seeds: 0",
            "7:35: found 0; expected a count from 1 to 100,000, a list of seeds, or {count, rule, paired}",
        ),
        ("n: 20, seeds: [1, 1]", "7:39: found 1; expected each value once in `seeds`"),
        (
            "n: 20, seeds: {rule: utrera, count: 1}",
            "7:42: found 'utrera'; expected `rule`: uniform or utrera2021",
        ),
        (
            "n: 20, seeds: {rule: utrera2021}",
            "7:35: found {'rule': 'utrera2021'}; expected `count`: a number from 1 to 100,000",
        ),
        (
            "n: 20, seeds: {paired: true}",
            "7:35: found {'paired': True}; expected `count`: a number from 1 to 100,000",
        ),
        (
            "n: 20, seeds: {count: 2, paired: 'yes'}",
            "7:54: found 'yes'; expected true (training i of a source with subset seed i) or false; write true",
        ),
        (
            "n: [20, 20]",
            "7:24: found n 20 with seed 0 again; expected each pair of n and seed once",
        ),
        ("n: 20, test: 0", "7:34: found 0; expected a count of test images above 0, or all"),
        ("n: 20, tset: 3", "7:28: found the unknown name 'tset' in a target"),
        (
            "n: 20, subsets: [{n: 30}]",
            "7:21: found 'n'; expected `subsets`, or n, seeds and validation, not both",
        ),
        ("subsets: [{n: 30}, {n: 30}]", "7:30: found n 30 with seed 0 again"),
        ("subsets: [{seeds: 3}]", "7:31: found no `n`"),
        ("subsets: [30]", "7:31: found 30; expected a subset, a mapping"),
    ],
)
def test_mistake_in_a_target_is_reported_at_its_position(
    mistakes: Callable[..., list[str]], keys: str, problem: str
) -> None:
    sources = "natural: {use: toy/trained, data: low}"
    (found,) = mistakes(
        datasets="low: {use: toy/images}", sources=sources, targets=f"\ntask: {{data: low, {keys}}}"
    )

    assert found.startswith(f"toy.yaml:{problem}")


def test_missing_reference_is_reported_at_the_target(mistakes: Callable[..., list[str]]) -> None:
    targets = "a: {data: low, n: 20}\nb: {data: low, n: 20, reference: natural}"
    evaluations = "align: {use: toy/alignment}\nhere: {use: toy/alignment, only: {target: b}}"
    problems = mistakes(targets=targets, evaluations=evaluations)

    assert problems == [
        "toy.yaml:2:3: found no `reference` in target 'a'; expected one, since evaluation 'align' needs it; "
        "add `reference: {use: ...}` to the target, or `only:` to the evaluation"
    ]


def test_target_needs_data_of_one_data_set(mistakes: Callable[..., list[str]]) -> None:
    datasets = "low: {use: toy/images}\nsizes: {use: toy/images, sweep: {size: [4, 8]}}"
    targets = "a: {n: 20}\nb: {data: hihg, n: 20}\nc: {data: sizes, n: 20}\nd: {data: 3, n: 20}"
    problems = mistakes(datasets=datasets, targets=targets, sources="s: {use: toy/fixed}")

    assert [one.partition("; ")[0] for one in problems] == [
        "toy.yaml:5:3: found no `data`",
        "toy.yaml:6:13: found the unknown name 'hihg'",
        "toy.yaml:7:13: found 'sizes'",
        "toy.yaml:8:13: found 3",
    ]
    assert problems[2].endswith("name one of 'sizes[size=4]', 'sizes[size=8]'")
