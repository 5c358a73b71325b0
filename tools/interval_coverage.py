"""Print how often intervals of shares and of their differences hold the truth, on simulated boards.

A trial has an image right where a sum of normal effects is positive: of the training, the subset seed, the
image, the image in this row, and the rest. So every true share is known in closed form. Each line prints the
coverage of the nominal 95 % for a share and for a difference, those of Satterthwaite's two-way interval
(units and images), and the mean widths over its.

    python tools/interval_coverage.py --repeats 1000
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from math import sqrt
from statistics import NormalDist
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from advtransfer.statistics import difference_interval, share_interval
from advtransfer.statistics.share_intervals import board_variances

Board: TypeAlias = NDArray[np.float64]
Interval: TypeAlias = Callable[[Board], tuple[float, float]]

EFFECTS = {
    "all, equal": {"seed": 0.0, "training": 0.0, "rest": 0.0},
    "all, nearly equal": {"seed": 0.02, "training": 0.05, "rest": 0.1},
    "few labels": {"seed": 0.15, "training": 0.2, "rest": 0.6},
    "rest alone": {"seed": 0.0, "training": 0.0, "rest": 1.0},
    "seeds": {"seed": 0.25, "training": 0.1, "rest": 0.6},
    "trainings": {"seed": 0.1, "training": 0.25, "rest": 0.6},
    "wide": {"seed": 0.5, "training": 0.5, "rest": 0.6},
}
"""Standard deviations of the effects, beside 1 for the image.

The last is beyond what few replicates can tell at shares of .99 and above: trials then range from .98 to .998, and
no interval of the mean of so skewed values covers from three or five of them.
"""

DESIGNS = {
    "3 seeds": {"trainings": 1, "seeds": 3},
    "5 seeds": {"trainings": 1, "seeds": 5},
    "3 trainings x 3 seeds": {"trainings": 3, "seeds": 3},
    "3 trainings x 5 seeds": {"trainings": 3, "seeds": 5},
    "3 trainings, a seed each": {"trainings": 3, "seeds": 3, "seed_each": True},
    "5 trainings, a seed each": {"trainings": 5, "seeds": 5, "seed_each": True},
    "3 trainings x 3 seeds, 1 of the baseline": {"trainings": 3, "seeds": 3, "lone": True},
}


@dataclass(frozen=True, slots=True)
class Situation:
    """The true shares of two rows, the design of their trials, and standard deviations of the effects.

    Attributes:
        share: True share of the first row.
        other_share: True share of the second row, the baseline.
        images: Number of test images.
        trainings: Trainings of either source. With one, the truth is that training's.
        seeds: Subset seeds.
        seed_each: Training i has subset seed i alone.
        lone: The baseline has one training, drawn from the same trainings.
        training: Effect of the training.
        seed: Effect of the subset, half its variance shared by the rows.
        own_image: Effect of the image in one row.
        rest: Effect of the trial and image together.
    """

    share: float
    other_share: float
    images: int
    trainings: int
    seeds: int
    seed_each: bool = False
    lone: bool = False
    training: float = 0.0
    seed: float = 0.0
    own_image: float = 0.3
    rest: float = 0.0

    def draw(self, generator: np.random.Generator) -> tuple[Board, Board]:
        """Return the boards of the two rows; the second has one training if it is alone."""
        normal = generator.standard_normal
        image = normal(self.images)
        seed_shape = (self.trainings if self.seed_each else 1, self.seeds, 1)
        shared_seed = normal(seed_shape)
        boards: list[Board] = []
        for share, trainings in (
            (self.share, self.trainings),
            (self.other_share, 1 if self.lone else self.trainings),
        ):
            effects = image + self.own_image * normal(self.images)
            effects = effects + self.seed * sqrt(0.5) * (shared_seed + normal(seed_shape))
            if self.trainings > 1:
                effects = effects + self.training * normal((trainings, 1, 1))
            effects = effects + self.rest * normal((trainings, self.seeds, self.images))
            board = (effects + self._threshold(share) > 0).astype(np.float64)
            if self.seed_each:
                board[~np.eye(self.trainings, dtype=bool)] = np.nan
            boards.append(board)
        return boards[0], boards[1]

    def _threshold(self, share: float) -> float:
        training = self.training if self.trainings > 1 else 0.0
        deviations = (1.0, self.own_image, self.seed, training, self.rest)
        return NormalDist().inv_cdf(share) * sqrt(sum(value**2 for value in deviations))


@dataclass(frozen=True, slots=True)
class Coverage:
    """Shares of the repeats whose interval holds the truth, and mean widths; of Satterthwaite's too."""

    covered: float
    width: float
    satterthwaite_covered: float
    satterthwaite_width: float

    @property
    def width_ratio(self) -> float:
        """Mean width over that of Satterthwaite's interval."""
        return self.width / max(self.satterthwaite_width, 1e-12)


def satterthwaite_interval(board: Board) -> tuple[float, float]:
    """Return the two-way interval of units and images by Satterthwaite's degrees of freedom (1946)."""
    from scipy.special import stdtrit

    found = board_variances(board)
    variance = max(found.units + found.images - found.residual, 0.0)
    if variance == 0:
        return found.mean, found.mean
    units, images = max(found.unit_count - 1, 1), found.image_count - 1
    spread = found.units**2 / units + found.images**2 / images
    spread += found.residual**2 / (units * images)
    half = float(stdtrit(max(variance**2 / spread, 1.0), 0.975)) * sqrt(variance)
    return found.mean - half, found.mean + half


def simulate(situation: Situation, *, repeats: int, seed: int) -> tuple[Coverage, Coverage]:
    """Return the coverage of shares and of differences in one situation."""
    generator = np.random.default_rng(seed)
    shares: list[Board] = []
    differences: list[Board] = []
    for _ in range(repeats):
        first, second = situation.draw(generator)
        shares.append(first)
        differences.append(first - second)
    difference = situation.share - situation.other_share
    interval = partial(difference_interval, unreplicated=situation.lone)
    return (
        _coverage(shares, situation.share, share_interval),
        _coverage(differences, difference, interval),
    )


def _coverage(boards: list[Board], truth: float, interval: Interval) -> Coverage:
    ends = np.array([interval(board) for board in boards])
    others = np.array([satterthwaite_interval(board) for board in boards])
    return Coverage(
        _covered(ends, truth),
        float(np.diff(ends).mean()),
        _covered(others, truth),
        float(np.diff(others).mean()),
    )


def _covered(ends: Board, truth: float) -> float:
    return float(((ends[:, 0] <= truth) & (truth <= ends[:, 1])).mean())


def situations(
    image_counts: tuple[int, ...] = (100, 1000, 10_000),
    shares: tuple[float, ...] = (0.6, 0.9, 0.99, 0.999),
) -> Iterator[tuple[str, Situation]]:
    """Yield every situation with its name."""
    for design_name, design in DESIGNS.items():
        for images in image_counts:
            for share in shares:
                for name, effects in EFFECTS.items():
                    gap = 0.1 * (1 - share)
                    situation = Situation(share, share - gap, images, **design)  # type: ignore[arg-type]  # mixed values
                    yield (
                        f"{design_name}; {images} images; {share}; {name}",
                        replace(situation, **effects),  # type: ignore[arg-type]  # mixed values,
                    )


def main() -> None:
    """Print one line for each situation, and the extremes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=1000)
    parser.add_argument("--images", type=int, nargs="+", default=[100, 1000, 10_000])
    parser.add_argument("--shares", type=float, nargs="+", default=[0.6, 0.9, 0.99, 0.999])
    arguments = parser.parse_args()
    for seed, (name, situation) in enumerate(
        situations(tuple(arguments.images), tuple(arguments.shares))
    ):
        repeats = max(arguments.repeats * 1000 // max(situation.images, 1000), 100)
        share, difference = simulate(situation, repeats=repeats, seed=seed)
        numbers = [
            f"{label} {found.covered:.3f} ({found.satterthwaite_covered:.3f}) x{found.width_ratio:.2f}"
            for label, found in (("share", share), ("difference", difference))
        ]
        print("  ".join(numbers), name, sep="  ", flush=True)  # noqa: T201  # its output


if __name__ == "__main__":
    main()
