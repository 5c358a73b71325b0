from __future__ import annotations

from collections.abc import Callable

from advtransfer.node import Node
from advtransfer.suite import Suite


def test_only_a_sweep_makes_a_grid(suite: Callable[..., Suite]) -> None:
    loaded = suite(
        evaluations="a: {use: toy/pgd, eps: [0.1, 0.2]}\nb: {use: toy/pgd, sweep: {eps: [0.1, [0.1, 0.2]]}}"
    )

    assert [cell.label for cell in loaded.evaluations] == ["a", "b[eps=0.1]", "b[eps=[0.1,0.2]]"]
    assert loaded.evaluations[0].node.id == loaded.evaluations[2].node.id


def test_sweep_of_dotted_options_is_a_product_named_by_what_is_set(
    suite: Callable[..., Suite],
) -> None:
    loaded = suite(
        sources="s: {use: toy/trained, data: low, sweep: {adversary.eps: [8/255, 0.5], lr: [0.1, 1e-2]}}"
    )

    assert [cell.label for cell in loaded.sources] == [
        "s[adversary.eps=8/255,lr=0.1]",
        "s[adversary.eps=8/255,lr=1e-2]",
        "s[adversary.eps=0.5,lr=0.1]",
        "s[adversary.eps=0.5,lr=1e-2]",
    ]
    assert loaded.sources[3].node.options["adversary"] == {"norm": "linf", "eps": 0.5, "steps": 7}
    assert loaded.sources[3].node.options["lr"] == 0.01


def test_sweep_may_go_over_parts_and_views(suite: Callable[..., Suite]) -> None:
    loaded = suite(
        datasets="low: {use: toy/images}\nsmall: {use: toy/images, sweep: {size: [4, 8]}}",
        sources="s: {use: toy/trained, sweep: {data: [low, 'small[size=8]', {use: toy/images, split: 3}]}}",
    )

    parts = [cell.node.inputs["data"] for cell in loaded.sources]
    assert [part.options for part in parts if isinstance(part, Node)] == [
        {"split": 0},
        {"split": 0, "size": 8},
        {"split": 3},
    ]
    assert loaded.sources[2].label == "s[data={use:toy/images,split:3}]"


def test_label_is_a_template_over_options_and_defaults(suite: Callable[..., Suite]) -> None:
    label = "PGD {adversary.norm} {adversary.eps}, {data}, {network}"
    swept = "sweep: {adversary.eps: [8/255, 0.5]}"
    loaded = suite(sources=f"s: {{use: toy/trained, data: low, {swept}, label: '{label}'}}")

    assert [cell.label for cell in loaded.sources] == [
        "PGD linf 8/255, low, small",
        "PGD linf 0.5, low, small",
    ]
    assert {cell.key for cell in loaded.sources} == {"s"}


def test_seeds_are_replicates_of_one_row(suite: Callable[..., Suite]) -> None:
    loaded = suite(
        sources="""\
plain: {use: toy/trained, data: low, seeds: 2}
swept: {use: toy/trained, data: low, seeds: [3, 5], sweep: {lr: [0.2]}}
named: {use: toy/trained, data: low, seeds: 1, lr: 0.3, label: "at {lr}"}"""
    )

    assert [
        (cell.row, cell.label, cell.replicate, cell.node.options["seed"]) for cell in loaded.sources
    ] == [
        ("plain", "plain[seed=0]", 0, 0),
        ("plain", "plain[seed=1]", 1, 1),
        ("swept[lr=0.2]", "swept[lr=0.2,seed=3]", 3, 3),
        ("swept[lr=0.2]", "swept[lr=0.2,seed=5]", 5, 5),
        ("at 0.3", "at 0.3[seed=0]", 0, 0),
    ]


def test_replicate_is_the_same_node_as_its_seed_written_out(suite: Callable[..., Suite]) -> None:
    replicate = suite(sources="s: {use: toy/trained, data: low, seeds: [4]}").sources[0]
    alone = suite(sources="s: {use: toy/trained, data: low, seed: 4}").sources[0]

    assert replicate.node.id == alone.node.id
    assert alone.replicate is None
