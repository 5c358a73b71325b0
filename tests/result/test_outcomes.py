"""Outcomes as sets of samples, judged by the same operations on arrays of numpy."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from advtransfer.result.outcomes import (
    all_samples,
    outcomes_from_values,
    read_outcomes,
    sample_positions,
    samples_at,
    worst_outcomes,
)
from advtransfer.result.record import pack_outcomes
from advtransfer.types import Outcome

SIZES = (1, 2, 3, 4, 5, 63, 64, 65, 1001)
SEVERITY = np.array([Outcome.ROBUST, Outcome.UNKNOWN, Outcome.BROKEN, Outcome.WRONG])


def drawn(of: int, seed: int) -> npt.NDArray[np.uint8]:
    return np.random.RandomState(seed).randint(0, 4, of).astype(np.uint8)


@pytest.mark.parametrize("of", SIZES)
def test_sets_of_outcomes_are_those_of_the_array(of: int) -> None:
    values = drawn(of, 0)
    outcomes = outcomes_from_values(values)

    assert outcomes == read_outcomes(pack_outcomes(values.tolist()))
    assert values.tolist() == outcomes.to_array().tolist()
    by_outcome = {
        Outcome.ROBUST: outcomes.robust,
        Outcome.BROKEN: outcomes.broken,
        Outcome.WRONG: outcomes.wrong,
        Outcome.UNKNOWN: outcomes.unknown,
    }
    for outcome, samples in by_outcome.items():
        positions = np.flatnonzero(values == outcome).tolist()
        assert positions == sample_positions(samples)
        assert samples == samples_at(positions, of)
        assert len(positions) == samples.bit_count()
    robust, unknown = (values == Outcome.ROBUST).mean(), (values == Outcome.UNKNOWN).mean()
    assert pytest.approx((robust, robust + unknown, of), abs=1e-12) == outcomes.share


@pytest.mark.parametrize("of", SIZES)
def test_worst_outcomes_and_breaks_are_those_of_the_arrays(of: int) -> None:
    arrays = [drawn(of, seed) for seed in range(1, 4)]
    each = [outcomes_from_values(values) for values in arrays]
    ranks = np.argsort(SEVERITY)[np.stack(arrays)]

    assert SEVERITY[ranks.max(axis=0)].tolist() == worst_outcomes(each).to_array().tolist()
    is_broken = drawn(of, 9) > 1
    after = each[0].with_broken(samples_at(np.flatnonzero(is_broken).tolist(), of))
    expected = np.where(is_broken & (arrays[0] != Outcome.WRONG), Outcome.BROKEN, arrays[0])
    assert expected.tolist() == after.to_array().tolist()
    # Samples beyond the last one are in no set.
    assert after == each[0].with_broken(
        samples_at(np.flatnonzero(is_broken).tolist(), of) | 1 << 2 * of
    )


def test_bits_after_the_last_sample_are_no_samples() -> None:
    # One sample in a byte whose other pairs say broken, wrong and unknown.
    packed = pack_outcomes([0, 1, 2, 3]) | {"of": 1}
    outcomes = read_outcomes(packed)

    assert (0, 0, 0, 1) == outcomes
    assert all_samples(1) == outcomes.robust == 1
