from __future__ import annotations

from collections.abc import Callable

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from advtransfer.node import Node
from advtransfer.suite import GridEntry, Suite
from advtransfer.types import Json

SOURCES = [
    "natural: {use: toy/trained, data: low}",
    "linf: {use: toy/trained, data: high, adversary: {eps: 0.1}, sweep: {lr: [0.1, 0.2]}}",
    "many: {use: toy/trained, data: {use: toy/images, split: 2}, seeds: 2}",
    "fixed: {use: toy/fixed}",
]
DATASETS = [
    "low: {use: toy/images, classes: [0, 1]}",
    "high: {use: toy/images, split: 1}",
    "all: {use: toy/mixed, parts: [high, low]}",
]


def ids(cells: tuple[GridEntry, ...]) -> dict[str, str]:
    return {cell.label: cell.node.id for cell in cells}


def only(suite: Suite) -> Node:
    (cell,) = suite.sources
    return cell.node


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(sources=st.permutations(SOURCES), datasets=st.permutations(DATASETS), first=st.booleans())
def test_order_of_entries_changes_no_id(
    suite: Callable[..., Suite], sources: list[str], datasets: list[str], first: bool
) -> None:
    # The fixture only writes one file, anew for every example.
    loaded = suite(sources="\n".join(SOURCES), datasets="\n".join(DATASETS))
    sections = {"sources": "\n".join(sources), "datasets": "\n".join(datasets)}
    turned = suite(**(sections if first else dict(reversed(sections.items()))))

    assert ids(turned.sources) == ids(loaded.sources)
    assert ids(turned.datasets) == ids(loaded.datasets)


def test_entry_is_a_node_with_its_defaults_filled_in(suite: Callable[..., Suite]) -> None:
    node = only(suite(sources="s: {use: toy/trained, data: low, lr: 8/255, adversary: {steps: 3}}"))

    adversary: Json = {"norm": "linf", "eps": 0.1, "steps": 3}
    options: dict[str, Json] = {
        "network": "small",
        "adversary": adversary,
        "lr": 8 / 255,
        "epochs": 10,
        "seed": 0,
    }
    data = Node("data", "toy/images", 1, {"split": 0})
    assert node == Node("source", "toy/trained", 2, options, {"data": data})


def test_defaults_written_out_or_left_out_are_one_id(suite: Callable[..., Suite]) -> None:
    left_out = only(suite(sources="s: {use: toy/trained, data: low}"))
    defaults = "network: small, adversary: null, lr: 1e-1, epochs: 10, seed: 0"
    written_out = only(suite(sources=f"s: {{use: toy/trained, data: low, {defaults}}}"))

    assert left_out.id == written_out.id


def test_preset_and_its_values_written_out_are_one_id(suite: Callable[..., Suite]) -> None:
    named = only(
        suite(sources="s: {use: toy/trained, data: low, preset: paper, adversary: {eps: 0.25}}")
    )
    written = only(
        suite(
            sources="s: {use: toy/trained, data: low, epochs: 100, adversary: {norm: l2, eps: 0.25}}"
        ),
    )

    assert named.id == written.id


def test_preset_may_hold_lists(suite: Callable[..., Suite]) -> None:
    (cell,) = suite(evaluations="e: {use: toy/pgd, preset: ladder}").evaluations

    assert cell.node.options["eps"] == [0.1, 0.2]


def test_entry_wins_over_its_preset_and_that_over_the_suites_defaults(
    suite: Callable[..., Suite],
) -> None:
    defaults = "toy/trained: {data: low, epochs: 5, lr: 0.5, adversary: {steps: 1}}"
    node = only(suite(defaults=defaults, sources="s: {use: toy/trained, preset: paper, lr: 0.25}"))

    assert node.options["epochs"] == 100
    assert node.options["lr"] == 0.25
    assert node.options["adversary"] == {"norm": "l2", "eps": 0.5, "steps": 1}


def test_defaults_hold_for_inline_entries_too(suite: Callable[..., Suite]) -> None:
    node = only(
        suite(
            defaults="toy/images: {split: 7, size: 4}",
            sources="s: {use: toy/trained, data: {use: toy/images}}",
        )
    )

    assert node.inputs["data"] == Node("data", "toy/images", 1, {"split": 7, "size": 4})


def test_inline_entry_is_the_same_node_as_a_named_one(suite: Callable[..., Suite]) -> None:
    loaded = suite(
        sources="a: {use: toy/trained, data: low}\nb: {use: toy/trained, data: {use: toy/images}, lr: 0.2}"
    )

    assert loaded.sources[0].node.inputs == loaded.sources[1].node.inputs


def test_several_parts_are_inputs_in_their_order(suite: Callable[..., Suite]) -> None:
    loaded = suite(datasets="\n".join(DATASETS))
    low, high, together = (cell.node for cell in loaded.datasets)

    assert together.inputs == {"parts": (high, low)}
    assert together.options == {}


def test_adapters_may_be_chained_inline(suite: Callable[..., Suite]) -> None:
    loaded = suite(
        adapters="a: {use: toy/chain, parts: [{use: toy/crop}, b]}\nb: {use: toy/crop, only: {target: task}}"
    )

    crop = Node("adapter", "toy/crop")
    assert loaded.adapters[0].node.inputs == {"parts": (crop, crop)}


def test_views_of_data_sets_enter_the_node_only_when_given(suite: Callable[..., Suite]) -> None:
    loaded = suite(
        datasets="low: {use: toy/images}\nview: {use: toy/images, classes: [3, 1], channels: 1, size: 8}\n"
        "null_view: {use: toy/images, size: null}"
    )

    views = {"classes": [3, 1], "channels": 1, "size": 8}
    assert [cell.node.options for cell in loaded.datasets] == [
        {"split": 0},
        {"split": 0, **views},
        {"split": 0},
    ]


def test_entry_has_the_metadata_of_its_factory(suite: Callable[..., Suite]) -> None:
    loaded = suite(transfers="a: {use: toy/probe}\nb: {use: toy/scratch, network: small}")

    assert [cell.facts.needs for cell in loaded.transfers] == [{"source"}, frozenset()]
