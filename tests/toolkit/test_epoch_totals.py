"""The sums of an epoch: read every few steps, and the same as if each step were read."""

from __future__ import annotations

import math

import pytest
import torch

from advtransfer.errors import Diverged
from advtransfer.toolkit.epoch_totals import STEPS_PER_READING, EpochTotals

STEPS = [(0.1 * step, step % 3, 1 + step % 4) for step in range(2 * STEPS_PER_READING + 3)]


def _totals(*, read_each: bool) -> EpochTotals:
    totals = EpochTotals(epoch=1)
    for loss, correct, rows in STEPS:
        totals.add_step(torch.tensor(loss), torch.tensor(correct), rows=rows)
        if read_each:
            totals.read_steps()
    totals.read_steps()
    return totals


def test_sums_are_the_same_bits_however_often_steps_are_read() -> None:
    seldom, often = _totals(read_each=False), _totals(read_each=True)

    expected = sum(torch.tensor(loss).item() * rows for loss, _, rows in STEPS)
    assert expected == seldom.loss_sum == often.loss_sum
    assert sum(rows for *_, rows in STEPS) == seldom.sample_count == often.sample_count
    assert sum(correct for _, correct, _ in STEPS) == seldom.correct_count == often.correct_count


def test_shares_of_correct_attributes_are_summed_in_double_precision() -> None:
    totals = EpochTotals(epoch=1)
    for _ in range(3):
        totals.add_step(torch.tensor(1.0), torch.tensor(1 / 3, dtype=torch.float64), rows=1)
    totals.read_steps()

    assert 1 / 3 + 1 / 3 + 1 / 3 == totals.correct_count


def test_steps_without_correct_predictions_are_counted() -> None:
    totals = EpochTotals(epoch=1)
    totals.add_step(torch.tensor(2.0), None, rows=3)
    totals.read_steps()

    assert (6.0, 0.0, 3) == (totals.loss_sum, totals.correct_count, totals.sample_count)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_reported_with_its_epoch_within_eight_steps(
    value: float,
) -> None:
    totals = EpochTotals(epoch=4)
    totals.add_step(torch.tensor(value), torch.tensor(0), rows=2)
    for _ in range(STEPS_PER_READING - 2):
        totals.add_step(torch.tensor(1.0), torch.tensor(0), rows=2)

    with pytest.raises(Diverged, match="epoch 4"):
        totals.add_step(torch.tensor(1.0), torch.tensor(0), rows=2)


def test_the_end_of_an_epoch_reports_a_loss_that_is_not_finite() -> None:
    totals = EpochTotals(epoch=2)
    totals.add_step(torch.tensor(math.nan), None, rows=2)

    with pytest.raises(Diverged, match="epoch 2"):
        totals.read_steps()
