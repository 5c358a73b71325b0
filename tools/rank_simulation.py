"""Print how often ranges of ranks hold the true ranks, and how often rows separate, on simulated boards.

A board has some rows of a few seeds. Without images a trial is a normal value; with images it has one right where a
sum of normal effects is positive (of the image, of the image in this row, of the subset seed in this row, and of
both), so that every true mean is known. Rows are all equal, or one is ahead, or each is a step ahead of the next.

A range holds the true ranks if it holds those of all ways to break ties: no equal rows are told apart. The step is
the detectable difference of the true variances, which are the mean ones of boards of equal rows; "page" is the median
of what the boards themselves say it is. A line prints the share of boards in which all ranges hold; the shares in
which two rows a step apart separate, and half a step apart, at the first level of Holm's rule in brackets; and that in
which equal rows share their ranks. On a ladder, whose rows are all apart, Holm's later levels tell more than the first.

    python tools/rank_simulation.py --boards 10000
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from advtransfer.statistics import (
    PairDifferences,
    detectable_difference,
    difference_p_values,
    first_holm_level,
    image_differences,
    rank_ranges,
    separated_pairs,
    value_differences,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats: TypeAlias = NDArray[np.float64]

SHARE = 0.5
"""True share of the rows from which steps are taken, with images."""
CHUNK = 250
"""Boards that are drawn at once."""
LARGEST_RUNG = 0.06
"""Largest step of a ladder with images, whose shares must stay between 0 and 1."""
SHAPES = ("equal", "one ahead", "ladder")


@dataclass(frozen=True, slots=True)
class Design:
    """The trials of each row of a board.

    Attributes:
        seeds: Subset seeds.
        images: Test images, 0 for values without outcomes of images.
        rows: Rows of a board.
        seed: Standard deviation of the effect of a seed on a row.
        own_image: That of an image on a row.
        rest: That of an image in a trial.
    """

    seeds: int
    images: int
    rows: int = 12
    seed: float = 0.005
    own_image: float = 0.4
    rest: float = 0.05

    def draw(
        self, means: Floats, boards: int, generator: np.random.Generator
    ) -> NDArray[np.generic]:
        """Return boards ``(boards, rows, seeds)``, with images ``(boards, rows, seeds, images)``."""
        shape = (boards, self.rows, self.seeds)
        if not self.images:
            return np.asarray(means[:, None] + self.seed * generator.standard_normal(shape))
        effects = generator.standard_normal((*shape, self.images), dtype=np.float32)
        effects *= self.rest
        for part, deviation in (
            ((boards, 1, 1, self.images), 1.0),
            ((boards, self.rows, 1, self.images), self.own_image),
            ((*shape, 1), self.seed),
        ):
            effects += deviation * generator.standard_normal(part, dtype=np.float32)
        deviation = sqrt(1 + self.own_image**2 + self.seed**2 + self.rest**2)
        limits = [NormalDist().inv_cdf(1 - mean) * deviation for mean in means]
        return (effects > np.array(limits, dtype=np.float32)[:, None, None]).astype(np.uint8)

    def differences(
        self, means: Floats, boards: int, generator: np.random.Generator
    ) -> Iterator[PairDifferences]:
        """Yield the differences of all pairs of the boards, ``(boards, rows, rows)``, in chunks."""
        keys = [(0, seed) for seed in range(self.seeds)]
        for start in range(0, boards, CHUNK):
            drawn = self.draw(means, min(CHUNK, boards - start), generator)
            differences_of = image_differences if self.images else value_differences
            yield differences_of(drawn, drawn, keys)  # type: ignore[arg-type]  # values are floats


@dataclass(frozen=True, slots=True)
class Shares:
    """Shares of boards.

    Attributes:
        held: All ranges hold the true ranks.
        separated: Two rows a step apart separate, the mean over such pairs; NaN without any.
        first_level: The same by the first level of Holm's rule alone.
        shared: All rows with equal means share a rank; NaN without any.
        detectable: Median of the detectable differences by the boards' own variances.
    """

    held: float
    separated: float
    first_level: float
    shared: float
    detectable: float


def true_step(design: Design, *, boards: int, seed: int) -> float:
    """Return the detectable difference by the mean variances of boards of equal rows."""
    generator = np.random.default_rng(seed)
    upper = np.triu_indices(design.rows, 1)
    found = [
        differences.at((slice(None), *upper)).pooled()
        for differences in design.differences(np.full(design.rows, SHARE), boards, generator)
    ]
    units, images, residual = (
        float(np.mean([getattr(each, name) for each in found]))
        for name in ("units", "images", "residual")
    )
    zero = np.zeros(1)
    pooled = PairDifferences(
        zero,
        zero,
        np.array([units]),
        zero,
        np.array([images]),
        np.array([residual]),
        unit_count=design.seeds,
        seed_count=design.seeds,
        image_count=design.images,
    ).pooled()
    return detectable_difference(pooled, level=first_holm_level(design.rows))


def row_means(shape: str, rows: int, step: float) -> Floats:
    """Return the true means of a board's rows, around the share."""
    places = np.arange(rows, dtype=np.float64)
    steps = {"equal": 0 * places, "one ahead": (places == 0) * 1.0, "ladder": -places}[shape]
    return np.asarray(SHARE + step * (steps - steps.mean()))


def simulate(design: Design, shape: str, step: float, *, boards: int, seed: int) -> Shares:
    """Return what the boards of a design and shape show."""
    generator = np.random.default_rng(seed)
    means = row_means(shape, design.rows, step)
    # Rounding must not tell equal rows apart.
    gaps = np.round(means[:, None] - means[None], 12)
    upper = np.triu_indices(design.rows, 1)
    apart = np.isclose(np.abs(gaps), step) & (step > 0)
    best = 1 + (gaps < 0).sum(axis=1)
    worst = design.rows - (gaps > 0).sum(axis=1)
    held, shared, separated, first_level, detectable = [], [], [], [], []
    level = first_holm_level(design.rows)
    for differences in design.differences(means, boards, generator):
        p_values = np.ones(differences.mean.shape)
        p_values[:, *upper] = difference_p_values(
            differences.at((slice(None), *upper)), ceiling=0.05
        )
        for place, own_p in enumerate(p_values):
            ranges = np.array(rank_ranges(own_p, differences.mean[place]))
            held.append((ranges[:, 0] <= best).all() and (worst <= ranges[:, 1]).all())
            sure = separated_pairs(own_p)
            separated.append(sure[apart].mean() if apart.any() else np.nan)
            first_level.append(
                (own_p + own_p.T < 1 + level)[apart].mean() if apart.any() else np.nan
            )
            shared.append(not (sure & (gaps == 0)).any())
            if place % 50 == 0:
                variances = differences.at((place, *upper)).pooled()
                detectable.append(detectable_difference(variances, level=level))
    has_ties = (gaps[upper] == 0).any()
    return Shares(
        float(np.mean(held)),
        float(np.mean(separated)),
        float(np.mean(first_level)),
        float(np.mean(shared)) if has_ties else float("nan"),
        float(np.median(detectable)),
    )


def designs() -> Iterator[tuple[str, Design]]:
    """Yield every design with its name."""
    for seeds in (3, 5, 20):
        yield f"{seeds} seeds", Design(seeds, images=0)
    # Few seeds find only differences that are large beside the variance of an outcome.
    for seeds, images in ((3, 1000), (5, 600), (20, 300)):
        yield f"{seeds} seeds, {images} images", Design(seeds, images)


def main() -> None:
    """Print one line for each design and shape."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--boards", type=int, default=10_000)
    arguments = parser.parse_args()
    for seed, (name, design) in enumerate(designs()):
        step = true_step(design, boards=min(arguments.boards, 2000), seed=1000 + seed)
        for shape in SHAPES:
            own = min(step, LARGEST_RUNG) if shape == "ladder" and design.images else step
            whole = simulate(design, shape, own, boards=arguments.boards, seed=seed)
            parts = [f"held {whole.held:.4f}"]
            if shape != "equal":
                half = simulate(design, shape, own / 2, boards=arguments.boards, seed=100 + seed)
                shares = [
                    f"{each.separated:.3f} ({each.first_level:.3f})" for each in (whole, half)
                ]
                parts = [f"held {whole.held:.4f}, at half {half.held:.4f}"]
                parts.append(f"separated {', at half '.join(shares)}")
            if not np.isnan(whole.shared):
                parts.append(f"equal rows share {whole.shared:.4f}")
            parts.append(f"step {own:.4f} (page {whole.detectable:.4f})")
            print(f"{name}; {shape}: {'; '.join(parts)}", flush=True)  # noqa: T201  # its output


if __name__ == "__main__":
    main()
