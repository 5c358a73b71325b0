"""Fronts and hypervolumes agree with staircases by hand, with moocore, and with what a row's doubt demands."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING

import numpy as np
import pytest
from scipy.special import expit

from advtransfer.leaderboard import make_page
from advtransfer.leaderboard.pareto import (
    AccuracyPair,
    area_interval,
    default_pair,
    dominated_area,
    pareto_fronts,
    pareto_mask,
)
from advtransfer.leaderboard.pareto_resamples import RowSides, resampled_accuracies
from advtransfer.leaderboard.result_data import ImageShares, Metric
from advtransfer.leaderboard.run_data import gather_run_data
from advtransfer.result.record import pack_outcomes, robust_share
from advtransfer.types import Outcome

if TYPE_CHECKING:
    from tests.leaderboard.conftest import Bench

    from advtransfer.leaderboard.pareto import ParetoFront
    from advtransfer.leaderboard.table_rows import TrialKey

STAIRS = np.array([[0.9, 0.2], [0.8, 0.5], [0.6, 0.7], [0.7, 0.4], [0.9, 0.1]])
ROBUST, BROKEN, WRONG = int(Outcome.ROBUST), int(Outcome.BROKEN), int(Outcome.WRONG)


def test_hypervolume_of_a_staircase_by_hand() -> None:
    # Above (0.1, 0): 0.8 x 0.2, then 0.7 x 0.3 above it, then 0.5 x 0.2.
    assert dominated_area(STAIRS, (0.1, 0.0)) == pytest.approx(0.16 + 0.21 + 0.10)
    assert pareto_mask(STAIRS).tolist() == [True, True, True, False, False]


def test_points_at_or_below_chance_add_nothing() -> None:
    points = np.array([[0.05, 0.9], [0.1, 0.8], [0.3, 0.5], [0.4, -0.1]])

    assert dominated_area(points, (0.1, 0.0)) == pytest.approx(0.2 * 0.5)
    assert dominated_area(points[:2], (0.1, 0.0)) == 0


def test_equal_points_are_on_the_front_together_and_ties_in_one_objective_are_not() -> None:
    points = np.array([[0.5, 0.5], [0.5, 0.5], [0.5, 0.4], [0.4, 0.5], [0.2, 0.6], [0.2, 0.6]])

    assert pareto_mask(points).tolist() == [True, True, False, False, True, True]
    assert pareto_mask(points[::-1]).tolist() == [True, True, False, False, True, True]
    assert dominated_area(points, (0.0, 0.0)) == pytest.approx(0.25 + 0.02)


def dominated_pairwise(points: np.ndarray) -> list[bool]:
    """Return the front by its definition."""
    return [
        not any((other >= point).all() and (other > point).any() for other in points)
        for point in points
    ]


@pytest.mark.parametrize("levels", [3, 10, 1000])
def test_fronts_of_random_points_agree_with_the_definition(levels: int) -> None:
    # Few levels give many ties.
    points = np.random.RandomState(levels).randint(0, levels, size=(60, 17, 2)) / levels

    assert pareto_mask(points).tolist() == [dominated_pairwise(each) for each in points]


@pytest.mark.parametrize("levels", [4, 1000])
def test_fronts_and_hypervolumes_agree_with_moocore(levels: int) -> None:
    moocore = pytest.importorskip("moocore")
    points = np.random.RandomState(levels).randint(0, levels, size=(50, 25, 2)) / levels
    start = (0.25, 0.0)

    areas = [moocore.hypervolume(each, ref=start, maximise=True) for each in points]
    masks = [moocore.is_nondominated(each, maximise=True, keep_weakly=True) for each in points]

    assert dominated_area(points, start) == pytest.approx(np.array(areas))
    assert (pareto_mask(points) == np.array(masks)).all()


def sides(clean: np.ndarray, robust: np.ndarray) -> RowSides:
    """Return the accuracies of a row from outcomes ``(seeds, N)``."""
    both: list[dict[TrialKey, Metric]] = []
    for outcomes in (clean, robust):
        metrics: dict[TrialKey, Metric] = {}
        for seed, images in enumerate(outcomes):
            shares = ImageShares(images.astype(float), images.astype(float))
            metrics[None, seed] = Metric(images.mean(), images.mean(), len(images), images=shares)
        both.append(metrics)
    return RowSides(*both)


def test_resamples_have_the_variance_of_images_and_of_units() -> None:
    stream = np.random.RandomState(0)
    one_seed = stream.rand(1, 400) < 0.7
    apart = np.repeat([[1], [0], [0], [1]], 400, axis=1)

    values = resampled_accuracies(
        [sides(one_seed, one_seed), sides(apart, apart)], stream, 4000
    ).both

    share = one_seed.mean()
    assert values[:, 0, 0].mean() == pytest.approx(share, abs=0.002)
    assert values[:, 0, 0].std() == pytest.approx(np.sqrt(share * (1 - share) / 400), rel=0.05)
    # Four units of 0 and 1, all images alike: the variance is that of their mean alone.
    assert values[:, 1, 0].std() == pytest.approx(0.25, rel=0.05)


def test_equal_rows_stay_equal_in_every_resample() -> None:
    outcomes = np.random.RandomState(1).rand(3, 200) < 0.6
    rows = [sides(outcomes, ~outcomes) for _ in range(70)]

    values = resampled_accuracies(rows, np.random.RandomState(2), 50).both

    assert (values == values[:, :1]).all()
    # Drawn together, each image is either right or broken.
    assert values.sum(axis=-1) == pytest.approx(np.ones((50, 70)))


@pytest.mark.slow
@pytest.mark.parametrize("unit_spread", [0.1, 0.4, 1.0])
@pytest.mark.parametrize("unit_count", [3, 5])
def test_intervals_of_an_area_cover_a_known_truth(unit_count: int, unit_spread: float) -> None:
    # Outcomes by logit: four rows that cross, effects of units (shared by .7 of their variance) and of images.
    stream = np.random.RandomState(unit_count)
    base = np.array([[1.8, 0.0], [1.2, 0.6], [2.2, -0.8], [0.8, 0.9]])
    chance, board_count = 0.2, 1000

    def logits(units: int, images: int) -> np.ndarray:
        shared, own = stream.randn(units, 1, 2), stream.randn(units, 4, 2)
        effects = unit_spread * (np.sqrt(0.7) * shared + np.sqrt(0.3) * own)
        return np.asarray((base + effects)[..., None] + 1.5 * stream.randn(images))

    truth = float(dominated_area(expit(logits(2000, 500)).mean(axis=(0, 3)), (chance, 0.0)))
    held = 0
    for _ in range(board_count):
        chances = expit(logits(unit_count, 200))
        outcomes = stream.rand(*chances.shape) < chances
        rows = [sides(outcomes[:, row, 0], outcomes[:, row, 1]) for row in range(4)]
        resamples = resampled_accuracies(rows, stream, 100)
        low, high = area_interval(rows, resamples.images, chance)
        held += low <= truth <= high

    assert held / board_count >= 0.93, held / board_count


def test_the_interval_of_a_linear_area_is_that_of_its_mean() -> None:
    # One row that is robust wherever it is right in each of three units: the area is linear in its robust accuracy.
    robust = np.repeat([[0.2], [0.5], [0.8]], 10, axis=1)
    rows = [sides(np.ones((3, 10)), robust)]
    images = np.tile([1.0, 0.5], (50, 1, 1))

    low, high = area_interval(rows, images, 0.5)

    half = (
        0.5 * 4.302653 * 0.3 / np.sqrt(3)
    )  # t of 2 degrees of freedom; the area is half the accuracy
    assert (low, high) == (0.0, 0.5)
    near = [sides(np.ones((3, 10)), 0.5 + (robust - 0.5) / 10)]
    assert area_interval(near, images, 0.5) == pytest.approx((0.25 - half / 10, 0.25 + half / 10))


@pytest.fixture
def plane(bench: Bench) -> Bench:
    """Two sources with two transfers; shares of 100 images, clean and robust."""
    bench.leaderboard["rank_by"] = "pgd.robust_accuracy"
    accuracies = {
        ("natural", "probe"): (0.9, 0.2),
        ("natural", "tuning"): (0.8, 0.1),
        ("robust", "probe"): (0.7, 0.5),
        ("robust", "tuning"): (0.6, 0.6),
    }
    for (source, transfer), seed in product(accuracies, range(2)):
        add_trial(bench, source, transfer, seed, *accuracies[source, transfer])
    return bench


def add_trial(
    bench: Bench,
    source: str,
    transfer: str,
    seed: int,
    clean: float,
    robust: float,
    **options: object,
) -> None:
    trial = bench.trial(source, seed, clean, robust, transfer=transfer)
    right = round(100 * clean)
    kept = round(100 * robust)
    labels = {"largest_class": 0.1, "one_class": False}
    attack = [ROBUST] * kept + [BROKEN] * (right - kept) + [WRONG] * (100 - right)
    bench.checked(trial, attack, labels=labels, **options)  # type: ignore[arg-type]  # options of the helper
    bench.result(
        trial["evaluations"]["clean"][0], "foolbox/clean_accuracy", {}, {"accuracy": clean}
    )
    share = [ROBUST] * right + [WRONG] * (100 - right)
    record = bench.records[trial["evaluations"]["clean"][0]]
    record["metrics"] = {"accuracy": robust_share(share)}
    record["outcomes"] = {"accuracy": pack_outcomes(share)}


def fronts_of(bench: Bench, *, resamples: int = 200) -> dict[str, ParetoFront]:
    data = gather_run_data(bench.run())
    pair = default_pair(data)
    assert pair is not None
    return {
        "all" if front.is_overall else str(front.source): front
        for front in pareto_fronts(data, pair, resamples=resamples)
    }


def test_each_source_and_all_have_a_front_above_chance(plane: Bench) -> None:
    fronts = fronts_of(plane)

    assert {front.chance for front in fronts.values()} == {0.1}
    assert fronts["natural"].area == pytest.approx(0.8 * 0.2)
    assert fronts["robust"].area == pytest.approx(0.6 * 0.5 + 0.5 * 0.1)
    assert fronts["all"].area == pytest.approx(0.8 * 0.2 + 0.6 * 0.3 + 0.5 * 0.1)
    names = {
        (point.row.source, point.row.transfer)
        for point in fronts["all"].points
        if point.is_on_front
    }
    assert names == {("natural", "probe"), ("robust", "probe"), ("robust", "tuning")}
    for front in fronts.values():
        assert front.interval is not None
        assert front.interval[0] < front.area < front.interval[1]
        # Some row is on the front in every resample.
        assert sum(point.share or 0 for point in front.points) >= 1


def test_the_pair_of_a_page_is_its_clean_and_its_ranking_accuracy(plane: Bench) -> None:
    data = gather_run_data(plane.run())
    pair = default_pair(data)

    assert isinstance(pair, AccuracyPair)
    assert [column.key for column in pair] == ["clean.accuracy", "pgd.robust_accuracy@0.1"]
    plane.leaderboard["columns"] = ["clean.accuracy"]
    plane.leaderboard["rank_by"] = "clean.accuracy"
    assert default_pair(gather_run_data(plane.run())) is None
    assert "Clean and robust accuracy together" not in make_page(plane.run()).markdown


def test_rows_that_are_not_ranked_are_on_no_front(plane: Bench) -> None:
    # Without a battery, with a missing trial, and with a suspicious check: each would be the best.
    plane.trial("unchecked", 0, 0.99, 0.98)
    add_trial(plane, "incomplete", "probe", 0, 0.99, 0.98)
    plane.trial("incomplete", 1)
    add_trial(plane, "suspicious", "probe", 0, 0.99, 0.98)
    (id,) = plane.trials[-1]["evaluations"]["pgd"]
    plane.records[id]["checks"][0]["grade"] = "suspicious"
    add_trial(plane, "constant", "probe", 0, 0.99, 0.98)
    (id,) = plane.trials[-1]["evaluations"]["pgd"]
    plane.records[id]["labels"] = {"largest_class": 0.1, "one_class": True}

    fronts = fronts_of(plane, resamples=0)

    assert set(fronts) == {"natural", "robust", "all"}
    assert fronts["all"].area == pytest.approx(0.39)
    assert {front.interval for front in fronts.values()} == {None}


def test_the_page_has_the_fronts_and_the_figure_draws_them(plane: Bench) -> None:
    plane.leaderboard["figures"] = [
        {"kind": "robust_vs_clean", "robust": "pgd.robust_accuracy", "clean": "clean.accuracy"}
    ]
    page = make_page(plane.run())
    section = page.markdown.partition("## Clean and robust accuracy together")[2]

    assert ["all sources", "3/4"] == plane.row(section, "all sources")[:2]
    assert plane.row(section, "all sources")[2].startswith(".390 [")
    assert plane.row(section, "robust, tuning")[3].startswith("**")
    assert plane.row(section, "natural, tuning")[3:] == ["0 %", "0 %"]
    assert "above (.100, 0)" in section
    (name,) = page.figures
    assert "from robust: 2 points, the front at (.600, .600); (.700, .500)" in page.markdown
    assert f"({name})" in page.markdown


def test_the_page_says_what_few_units_and_a_missing_largest_class_mean(plane: Bench) -> None:
    page = make_page(plane.run()).markdown
    assert "Shares over 2 trainings or seeds are rough" in page
    assert "where .100 is the share of the largest class" in page
    for record in plane.records.values():
        if record["kind"] == "result":
            record.pop("labels", None)

    page = make_page(plane.run()).markdown
    assert (
        "above (0, 0): chance is taken as 0, since no record has the share of the largest class"
        in page
    )


def test_the_same_records_give_the_same_shares_in_any_order(plane: Bench) -> None:
    before = fronts_of(plane)
    plane.records = dict(reversed(plane.records.items()))
    after = fronts_of(plane)

    for name, front in before.items():
        assert front.interval == after[name].interval
        assert [point.share for point in front.points] == [
            point.share for point in after[name].points
        ]
