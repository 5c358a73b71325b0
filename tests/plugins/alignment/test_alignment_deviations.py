"""Identities of alpha and tau on random deviations in float64."""

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


def random_rows(name: str, count: int, width: int) -> Tensor:
    return torch.randn((count, width), generator=stream_generator(name), dtype=torch.float64)


def orthogonal_matrix(width: int) -> Tensor:
    matrix: Tensor = torch.linalg.qr(random_rows("orthogonal", width, width)).Q
    return matrix


def deviation_map(surrogate: Tensor, victim: Tensor) -> DeviationMap:
    """Return tau_2 and its map for nonzero deviations."""
    result = tau_2(surrogate, victim)
    assert result is not None
    return result


def test_alpha_1_is_the_ratio_of_transferred_to_white_box_change() -> None:
    deviations = Deviations(
        random_rows("own", 2, 3),
        torch.tensor([[3.0, 4.0], [0.0, 1.0]]),
        torch.tensor([[0.0, 10.0], [0.5, 0.0]]),
    )

    assert [0.5, 2.0] == alpha_1(deviations).tolist()


def test_squared_alpha_2_is_the_mean_product_of_cosines_over_all_pairs() -> None:
    surrogate, victim = random_rows("own", 40, 5), random_rows("other", 40, 3)
    cosines = [
        torch.nn.functional.cosine_similarity(changes[:, None], changes[None], dim=2)
        for changes in (surrogate, victim)
    ]

    value = alpha_2(Deviations(surrogate, victim, victim))

    assert float((cosines[0] * cosines[1]).mean()) == pytest.approx(value**2, rel=1e-12)


def test_unbiased_alpha_2_leaves_out_pairs_of_a_sample_with_itself() -> None:
    surrogate, victim = random_rows("own", 40, 5), random_rows("other", 40, 3)
    cosines = [
        torch.nn.functional.cosine_similarity(changes[:, None], changes[None], dim=2)
        for changes in (surrogate, victim)
    ]
    product = (cosines[0] * cosines[1]).fill_diagonal_(0)

    value = alpha_2_squared_unbiased(Deviations(surrogate, victim, victim))

    assert float(product.sum()) / (40 * 39) == pytest.approx(value, rel=1e-12)


def test_unrelated_changes_raise_alpha_2_but_not_its_unbiased_square() -> None:
    deviations = Deviations(
        random_rows("own", 2000, 30), random_rows("other", 2000, 30), random_rows("other", 2000, 30)
    )

    assert 1 / math.sqrt(2000) == pytest.approx(alpha_2(deviations), rel=0.2)
    assert 0 == pytest.approx(alpha_2_squared_unbiased(deviations), abs=1e-4)


def test_alpha_2_of_one_common_direction_is_1_and_of_opposite_signs_in_one_model_0() -> None:
    surrogate, signs = (
        random_rows("own", 10, 1).abs(),
        torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(5).unsqueeze(1),
    )

    assert 1 == pytest.approx(alpha_2(Deviations(surrogate, 3 * surrogate, surrogate)))
    assert 0 == pytest.approx(alpha_2(Deviations(surrogate, surrogate * signs, surrogate)))


def test_alpha_2_is_invariant_to_scales_signs_and_rotations() -> None:
    surrogate, victim = random_rows("own", 30, 4), random_rows("other", 30, 4)
    before = alpha_2(Deviations(surrogate, victim, victim))

    assert before == pytest.approx(
        alpha_2(Deviations(-2 * surrogate @ orthogonal_matrix(4), 0.1 * victim, victim)), rel=1e-12
    )


def test_joint_is_the_mean_of_the_product_and_not_the_product_of_the_means() -> None:
    surrogate = victim = torch.eye(2, dtype=torch.float64)
    deviations = Deviations(
        surrogate, victim, victim / torch.tensor([[1.0], [3.0]], dtype=torch.float64)
    )

    assert math.sqrt(0.5**2 + 1.5**2) == pytest.approx(
        alpha_2(deviations, weights=alpha_1(deviations))
    )


def test_tau_2_of_equal_deviations_is_1_and_of_a_scaled_rotation_too() -> None:
    surrogate = random_rows("own", 50, 4)

    assert 1 == pytest.approx(deviation_map(surrogate, surrogate).tau)
    assert 1 == pytest.approx(deviation_map(surrogate, 3 * surrogate @ orthogonal_matrix(4)).tau)


def test_tau_2_of_scalars_is_their_squared_uncentred_correlation() -> None:
    surrogate, victim = (
        random_rows("own", 50, 1),
        0.5 * random_rows("own", 50, 1) + random_rows("other", 50, 1),
    )
    expected = (surrogate * victim).mean() ** 2 / (
        surrogate.square().mean() * victim.square().mean()
    )

    assert float(expected) == pytest.approx(deviation_map(surrogate, victim).tau, rel=1e-12)


def test_tau_2_is_the_share_that_least_squares_explains_where_the_map_is_not_scaled() -> None:
    surrogate = random_rows("own", 60, 3)
    victim = surrogate @ orthogonal_matrix(3) + random_rows("other", 60, 3)
    solution = torch.linalg.lstsq(surrogate, victim).solution
    result = deviation_map(surrogate, victim)

    torch.testing.assert_close(solution.T, result.matrix)
    assert float((surrogate @ solution).square().sum() / victim.square().sum()) == pytest.approx(
        result.tau, rel=1e-10
    )


def test_the_map_of_tau_2_is_scaled_to_the_ratio_of_both_lengths() -> None:
    surrogate = random_rows("own", 60, 2) * torch.tensor([3.0, 0.3], dtype=torch.float64)
    victim = surrogate * torch.tensor([0.1, 1.0], dtype=torch.float64)
    result = deviation_map(surrogate, victim)
    radius = float((victim.square().sum(1).mean() / surrogate.square().sum(1).mean()).sqrt())
    predicted = surrogate @ result.matrix.T
    share = float(((2 * victim - predicted) * predicted).sum() / victim.square().sum())

    assert radius == pytest.approx(float(torch.linalg.matrix_norm(result.matrix, 2)))
    assert share == pytest.approx(result.tau)
    assert result.tau < 1


def test_tau_2_is_not_defined_where_a_model_does_not_move() -> None:
    still = torch.zeros(5, 2, dtype=torch.float64)

    assert tau_2(random_rows("own", 5, 2), still) is None
    assert tau_2(still, random_rows("own", 5, 2)) is None


def test_unrelated_changes_give_tau_2_of_outputs_over_samples() -> None:
    for width in (5, 20):
        assert width / 400 == pytest.approx(
            deviation_map(random_rows("own", 400, width), random_rows("other", 400, 30)).tau,
            rel=0.15,
        )


def test_a_matrix_within_the_radius_stays_as_it_is() -> None:
    matrix = torch.diag(torch.tensor([2.0, 1.0]))

    assert matrix is limit_spectral_norm(matrix, 2.0)
    torch.testing.assert_close(matrix / 2, limit_spectral_norm(matrix, 1.0))


def test_a_moment_is_the_mean_outer_product() -> None:
    first, second = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[1.0], [3.0]])

    assert [[0.5], [3.0]] == second_moment(first, second).tolist()


def test_deviation_below_rounding_has_no_direction() -> None:
    ones, zeros = torch.ones(3, 2), torch.zeros(3, 2)
    surrogate, victim, white_box = ones.clone(), ones.clone(), ones.clone()
    surrogate[0], victim[1], white_box[1] = zeros[0], 1e-13 * ones[1], zeros[1]

    masks = Deviations(surrogate, victim, white_box).direction_masks()

    assert [False, True, True] == masks.surrogate.tolist()
    assert [True, False, True] == masks.victim.tolist()
    assert [True, False, True] == masks.white_box.tolist()
