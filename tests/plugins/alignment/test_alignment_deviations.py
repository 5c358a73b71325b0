"""The identities of alpha and tau, on drawn deviations in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from advtransfer.toolkit.rng import stream_generator
from advtransfer_alignment.deviations import (
    DeviationMap,
    Deviations,
    alpha_1,
    alpha_2,
    alpha_2_squared_unbiased,
    limit_spectral_norm,
    second_moment,
    tau_2,
)


def rows(name: str, count: int, width: int) -> Tensor:
    return torch.randn((count, width), generator=stream_generator(name), dtype=torch.float64)


def orthogonal(width: int) -> Tensor:
    found: Tensor = torch.linalg.qr(rows("orthogonal", width, width)).Q
    return found


def carried(own: Tensor, other: Tensor) -> DeviationMap:
    """tau_2 of moves that are not zero."""
    found = tau_2(own, other)
    assert found is not None
    return found


def test_alpha_1_is_how_far_the_other_model_moves_by_how_far_its_own_attack_moves_it() -> None:
    found = Deviations(
        rows("own", 2, 3),
        torch.tensor([[3.0, 4.0], [0.0, 1.0]]),
        torch.tensor([[0.0, 10.0], [0.5, 0.0]]),
    )

    assert [0.5, 2.0] == alpha_1(found).tolist()


def test_the_square_of_alpha_2_is_the_mean_product_of_cosines_over_all_pairs() -> None:
    own, other = rows("own", 40, 5), rows("other", 40, 3)
    cosines = [
        torch.nn.functional.cosine_similarity(one[:, None], one[None], dim=2)
        for one in (own, other)
    ]

    found = alpha_2(Deviations(own, other, other))

    assert float((cosines[0] * cosines[1]).mean()) == pytest.approx(found**2, rel=1e-12)


def test_the_unbiased_square_leaves_out_the_pairs_of_a_sample_with_itself() -> None:
    own, other = rows("own", 40, 5), rows("other", 40, 3)
    cosines = [
        torch.nn.functional.cosine_similarity(one[:, None], one[None], dim=2)
        for one in (own, other)
    ]
    product = (cosines[0] * cosines[1]).fill_diagonal_(0)

    found = alpha_2_squared_unbiased(Deviations(own, other, other))

    assert float(product.sum()) / (40 * 39) == pytest.approx(found, rel=1e-12)


def test_chance_alone_gives_alpha_2_and_not_its_unbiased_square() -> None:
    found = Deviations(rows("own", 2000, 30), rows("other", 2000, 30), rows("other", 2000, 30))

    assert 1 / math.sqrt(2000) == pytest.approx(alpha_2(found), rel=0.2)
    assert 0 == pytest.approx(alpha_2_squared_unbiased(found), abs=1e-4)


def test_alpha_2_of_one_common_direction_is_1_and_of_opposite_signs_in_one_model_0() -> None:
    own, signs = (
        rows("own", 10, 1).abs(),
        torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(5).unsqueeze(1),
    )

    assert 1 == pytest.approx(alpha_2(Deviations(own, 3 * own, own)))
    assert 0 == pytest.approx(alpha_2(Deviations(own, own * signs, own)))


def test_alpha_2_does_not_see_scales_signs_and_rotations_of_either_model() -> None:
    own, other = rows("own", 30, 4), rows("other", 30, 4)
    before = alpha_2(Deviations(own, other, other))

    assert before == pytest.approx(
        alpha_2(Deviations(-2 * own @ orthogonal(4), 0.1 * other, other)), rel=1e-12
    )


def test_the_joint_takes_the_mean_of_the_product_and_not_the_product_of_the_means() -> None:
    own = other = torch.eye(2, dtype=torch.float64)
    found = Deviations(own, other, other / torch.tensor([[1.0], [3.0]], dtype=torch.float64))

    assert math.sqrt(0.5**2 + 1.5**2) == pytest.approx(alpha_2(found, weights=alpha_1(found)))


def test_tau_2_of_equal_deviations_is_1_and_of_a_scaled_rotation_too() -> None:
    own = rows("own", 50, 4)

    assert 1 == pytest.approx(carried(own, own).tau)
    assert 1 == pytest.approx(carried(own, 3 * own @ orthogonal(4)).tau)


def test_tau_2_of_numbers_is_their_squared_uncentred_correlation() -> None:
    own, other = rows("own", 50, 1), 0.5 * rows("own", 50, 1) + rows("other", 50, 1)
    expected = (own * other).mean() ** 2 / (own.square().mean() * other.square().mean())

    assert float(expected) == pytest.approx(carried(own, other).tau, rel=1e-12)


def test_tau_2_is_the_share_that_least_squares_explains_where_the_map_is_not_scaled() -> None:
    own = rows("own", 60, 3)
    other = own @ orthogonal(3) + rows("other", 60, 3)
    solution = torch.linalg.lstsq(own, other).solution
    found = carried(own, other)

    torch.testing.assert_close(solution.T, found.matrix)
    assert float((own @ solution).square().sum() / other.square().sum()) == pytest.approx(
        found.tau, rel=1e-10
    )


def test_the_map_of_tau_2_is_scaled_to_the_ratio_of_both_lengths() -> None:
    own = rows("own", 60, 2) * torch.tensor([3.0, 0.3], dtype=torch.float64)
    other = own * torch.tensor([0.1, 1.0], dtype=torch.float64)
    found = carried(own, other)
    radius = float((other.square().sum(1).mean() / own.square().sum(1).mean()).sqrt())
    moved = own @ found.matrix.T
    share = float(((2 * other - moved) * moved).sum() / other.square().sum())

    assert radius == pytest.approx(float(torch.linalg.matrix_norm(found.matrix, 2)))
    assert share == pytest.approx(found.tau)
    assert found.tau < 1


def test_tau_2_is_not_defined_where_a_model_does_not_move() -> None:
    still = torch.zeros(5, 2, dtype=torch.float64)

    assert tau_2(rows("own", 5, 2), still) is None
    assert tau_2(still, rows("own", 5, 2)) is None


def test_chance_alone_gives_tau_2_the_share_of_outputs_in_samples() -> None:
    for width in (5, 20):
        assert width / 400 == pytest.approx(
            carried(rows("own", 400, width), rows("other", 400, 30)).tau, rel=0.15
        )


def test_a_matrix_within_the_radius_stays_as_it_is() -> None:
    matrix = torch.diag(torch.tensor([2.0, 1.0]))

    assert matrix is limit_spectral_norm(matrix, 2.0)
    torch.testing.assert_close(matrix / 2, limit_spectral_norm(matrix, 1.0))


def test_a_moment_is_the_mean_outer_product() -> None:
    first, second = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[1.0], [3.0]])

    assert [[0.5], [3.0]] == second_moment(first, second).tolist()


def test_what_moves_less_than_rounding_has_no_direction() -> None:
    one, none = torch.ones(3, 2), torch.zeros(3, 2)
    own, other, white_box = one.clone(), one.clone(), one.clone()
    own[0], other[1], white_box[1] = none[0], 1e-13 * one[1], none[1]

    moved = Deviations(own, other, white_box).direction_masks()

    assert [False, True, True] == moved.surrogate.tolist()
    assert [True, False, True] == moved.victim.tolist()
    assert [True, False, True] == moved.white_box.tolist()
