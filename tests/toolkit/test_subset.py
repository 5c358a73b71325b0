from __future__ import annotations

import random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from advtransfer.toolkit import subset
from advtransfer.toolkit.subset import SubsetDraw, SubsetRule

LABELS = torch.tensor([0] * 60 + [1] * 30 + [2] * 9 + [3])
RULES: list[SubsetRule] = ["uniform", "utrera2021"]


def _draw(
    n: int | None, *, validation: float = 0.0, seed: int = 0, rule: SubsetRule = "uniform"
) -> SubsetDraw:
    return subset.draw_subset(
        LABELS, n=n, validation=validation, seed_parts=("data", seed), rule=rule
    )


def _set(positions: Tensor) -> set[int]:
    return set(positions.tolist())


def _scanned(labels: list[int], n: int, seed: int) -> set[int]:
    """Utrera et al.'s released code in words: accept while the budget exceeds the classes unseen, or a new class."""
    order = list(range(len(labels)))
    random.Random(seed).shuffle(order)
    accepted: set[int] = set()
    unseen = set(labels)
    for index in order:
        if len(accepted) < n and (n - len(accepted) > len(unseen) or labels[index] in unseen):
            accepted.add(index)
            unseen.discard(labels[index])
    return accepted


@given(
    n=st.integers(6, 100), validation=st.sampled_from([0.0, 0.1, 0.33]), seed=st.integers(0, 2**40)
)
@pytest.mark.parametrize("rule", RULES)
def test_a_draw_has_n_different_images_and_trains_on_every_class(
    rule: SubsetRule, n: int, validation: float, seed: int
) -> None:
    drawn = _draw(n, validation=validation, seed=seed, rule=rule)

    assert n == len(_set(drawn.train) | _set(drawn.validation))
    assert n == len(drawn.train) + len(drawn.validation)
    assert round(validation * n) == len(drawn.validation)
    assert [0, 1, 2, 3] == torch.unique(LABELS[drawn.train]).tolist()


@given(small=st.integers(4, 100), large=st.integers(4, 100), seed=st.integers(0, 2**40))
@pytest.mark.parametrize("rule", RULES)
def test_a_smaller_draw_is_contained_in_a_larger_one(
    rule: SubsetRule, small: int, large: int, seed: int
) -> None:
    few, many = sorted((small, large))

    assert _set(_draw(few, seed=seed, rule=rule).train) <= _set(
        _draw(many, seed=seed, rule=rule).train
    )


@given(
    labels=st.lists(st.integers(0, 6), min_size=7, max_size=60),
    share=st.floats(0, 1),
    seed=st.integers(0, 2**32 - 1),
)
def test_the_paper_rule_draws_what_its_scan_accepts(
    labels: list[int], share: float, seed: int
) -> None:
    classes = len(set(labels))
    n = classes + round(share * (len(labels) - classes))
    drawn = subset.draw_subset(
        torch.tensor(labels), n=n, validation=0, seed_parts=("ignored", seed), rule="utrera2021"
    )

    assert _scanned(labels, n, seed) == _set(drawn.train)


def test_the_paper_rule_depends_on_its_seed_alone() -> None:
    first = subset.draw_subset(
        LABELS, n=20, validation=0, seed_parts=("a", 20000000), rule="utrera2021"
    )
    second = subset.draw_subset(
        LABELS, n=20, validation=0, seed_parts=("b", 20000000), rule="utrera2021"
    )

    assert first.train.equal(second.train)


def test_all_images_are_drawn_in_their_order() -> None:
    assert list(range(100)) == _draw(None).train.tolist()


def test_draws_differ_by_seed_and_data_and_are_repeatable() -> None:
    other_data = subset.draw_subset(LABELS, n=20, validation=0, seed_parts=("other", 0))

    assert _draw(20).train.equal(_draw(20).train)
    assert not _draw(20).train.equal(_draw(20, seed=1).train)
    assert not _draw(20).train.equal(other_data.train)


def test_every_image_is_as_likely_as_any_other_of_its_class() -> None:
    counts = torch.zeros(100)
    for seed in range(2000):
        counts[_draw(20, seed=seed).train] += 1
    zeros = counts[:60]

    # 2,000 draws of an image with chance p have a standard deviation of sqrt(2000 p (1 - p)), about 17
    assert (zeros - zeros.mean()).abs().max() < 5 * 17
    assert 2000 == counts[99]


def test_labels_that_are_not_classes_carry_no_guarantee() -> None:
    drawn = subset.draw_subset(
        torch.rand(10, 4, generator=torch.Generator()), n=1, validation=0, seed_parts=("data", 0)
    )

    assert 1 == len(drawn.train)


@pytest.mark.parametrize(
    ("n", "validation", "message"),
    [
        (
            3,
            0.0,
            "found n 3 with validation 0, which trains on 3; expected at least one training image for each of 4",
        ),
        (5, 0.5, "found n 5 with validation 0.5, which trains on 3"),
        (101, 0.0, "expected at most the 100 images"),
        (10, 1.0, "expected a validation share from 0 to below 1"),
        (10, -0.1, "expected a validation share from 0 to below 1"),
        (0, 0.0, "which trains on 0"),
    ],
)
def test_a_draw_that_cannot_be_made_is_refused(n: int, validation: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _draw(n, validation=validation)


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"found rule 'stratified'; expected one of \('uniform', 'utrera2021'\)"
    ):
        _draw(10, rule="stratified")  # type: ignore[arg-type]  # wrong on purpose


@given(count=st.integers(1, 100))
def test_a_test_draw_keeps_class_shares_to_within_one_image(count: int) -> None:
    drawn = LABELS[subset.draw_test_positions(LABELS, count=count)]
    wanted = torch.bincount(LABELS) * count / 100

    assert count == len(drawn)
    assert (torch.bincount(drawn, minlength=4) - wanted).abs().max() <= 1


@given(small=st.integers(1, 100), large=st.integers(1, 100))
def test_test_draws_are_nested(small: int, large: int) -> None:
    few, many = sorted((small, large))

    assert _set(subset.draw_test_positions(LABELS, count=few)) <= _set(
        subset.draw_test_positions(LABELS, count=many)
    )


def test_a_test_draw_of_all_is_every_image_in_order() -> None:
    assert list(range(100)) == subset.draw_test_positions(LABELS, count=None).tolist()
    assert list(range(100)) == subset.draw_test_positions(LABELS, count=100).tolist()


@pytest.mark.parametrize("count", [0, 101])
def test_a_test_draw_that_cannot_be_made_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"found test count {count}; expected 1 to 100"):
        subset.draw_test_positions(LABELS, count=count)
