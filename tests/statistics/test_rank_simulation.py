"""Ranges of ranks on a few hundred simulated boards; `tools/rank_simulation.py` draws 10,000 of each design."""

from __future__ import annotations

import importlib.util
import sys
from math import sqrt
from pathlib import Path
from types import ModuleType

import pytest

BOARDS = 400


@pytest.fixture(scope="module")
def simulation() -> ModuleType:
    path = Path(__file__).parents[2] / "tools" / "rank_simulation.py"
    spec = importlib.util.spec_from_file_location("rank_simulation", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    # A frozen dataclass looks its module up.
    sys.modules["rank_simulation"] = module
    spec.loader.exec_module(module)
    return module


def margin(share: float) -> float:
    """Return three standard errors of a share of the boards."""
    return 3 * sqrt(share * (1 - share) / BOARDS)


@pytest.mark.parametrize("seeds", [3, 5])
def test_ranges_hold_and_rows_separate_at_the_detectable_difference(
    simulation: ModuleType, seeds: int
) -> None:
    design = simulation.Design(seeds, images=0)
    step = simulation.true_step(design, boards=BOARDS, seed=10 + seeds)
    equal = simulation.simulate(design, "equal", 0.0, boards=BOARDS, seed=seeds)
    ahead = simulation.simulate(design, "one ahead", step, boards=BOARDS, seed=seeds)
    half = simulation.simulate(design, "one ahead", step / 2, boards=BOARDS, seed=100 + seeds)

    assert equal.held > 0.945 - margin(0.945)
    assert equal.shared > 0.95 - margin(0.95)
    assert ahead.held > 0.945 - margin(0.945)
    # A power of .8 by the first level of Holm's rule; the later levels add a little.
    assert ahead.first_level == pytest.approx(0.8, abs=margin(0.8))
    assert ahead.separated < 0.85 + margin(0.85)
    assert half.separated < 0.5


def test_boards_without_a_difference_would_be_told_apart_by_uncorrected_p(
    simulation: ModuleType,
) -> None:
    """The canary of the test above: without Holm's rule some pair of 12 equal rows looks different."""
    design = simulation.Design(5, images=0)
    found = [
        (p_values < 0.05).any()
        for differences in design.differences(
            simulation.row_means("equal", 12, 0.0), 100, simulation.np.random.default_rng(0)
        )
        for p_values in simulation.difference_p_values(
            differences.at((slice(None), *simulation.np.triu_indices(12, 1))), ceiling=0.05
        )
    ]
    assert sum(found) > 40
