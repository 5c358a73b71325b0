"""Gradient distances and the theorems of Liang et al. (2020) on known models."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.datasets import ArraySamples
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.types import DataCard
from advtransfer_alignment.deviations import DeviationMap, Deviations, tau_2
from advtransfer_alignment.jacobians import (
    GramMatrices,
    JacobianStatistics,
    gradient_distance,
    jacobian_statistics,
    spectral_gap,
)
from advtransfer_alignment.linear_algebra import AffineSpan, root_mean_square
from advtransfer_alignment.linearized_attack import (
    LinearizedAttack,
    linearize_from_grams,
    linearize_from_products,
)
from advtransfer_alignment.options import Spectrum
from advtransfer_alignment.theorems import (
    TheoremOutputs,
    theorem_1_bound,
    theorem_2_bound,
    theorem_3_bound,
    theorem_3_left_side,
    theorem_metrics,
)

Function = Callable[[Tensor], Tensor]


def points(count: int = 80) -> ArraySamples:
    card = DataCard((6,), None, "values", 1, ("y",), "")
    inputs = torch.randn(count, 6, generator=stream_generator("points"))
    return ArraySamples(card=card, inputs=inputs, labels=torch.zeros(count, 1))


def smooth_model(name: str, outputs: int) -> Function:
    def build() -> nn.Module:
        return nn.Sequential(nn.Linear(6, 9), nn.Tanh(), nn.Linear(9, outputs))

    model = build_initialized(build, stream_generator(name)).double()
    return lambda inputs: model(inputs.double())


def statistics_of(source: Function, reference: Function) -> JacobianStatistics:
    return jacobian_statistics(source, reference, points(), device=torch.device("cpu"))


def jacobians_of(function: Function) -> Tensor:
    """Return every sample's Jacobian ``(N, d, n)`` by torch's own function."""
    inputs = points().inputs(torch.arange(80))
    return (
        torch.stack([torch.func.jacrev(function)(row.unsqueeze(0))[0, :, 0] for row in inputs])
        .detach()
        .double()
    )


def deviation_map(moves: Deviations) -> DeviationMap:
    """Return tau_2 and its map for nonzero deviations."""
    mapped = tau_2(moves.surrogate, moves.victim)
    assert mapped is not None
    return mapped


def test_the_inner_products_are_those_of_the_jacobians() -> None:
    source, reference = smooth_model("source", 3), smooth_model("reference", 2)
    grams = statistics_of(source, reference).grams
    first_one, second_one = jacobians_of(source), jacobians_of(reference)

    torch.testing.assert_close(first_one @ first_one.mT, grams.first, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(first_one @ second_one.mT, grams.cross, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(second_one @ second_one.mT, grams.second, rtol=1e-5, atol=1e-7)


def test_inner_products_take_the_documented_memory() -> None:
    grams = statistics_of(smooth_model("source", 3), smooth_model("reference", 2)).grams

    # The square of the number of all outputs, and three more numbers per sample.
    assert 80 * 8 * ((3 + 2) ** 2 + 3) == grams.first.untyped_storage().nbytes()


def test_gradient_distance_is_the_least_squares_residual() -> None:
    source, reference = smooth_model("source", 3), smooth_model("reference", 2)
    rows = [
        jacobians_of(model).mT.reshape(-1, outputs)
        for model, outputs in ((source, 3), (reference, 2))
    ]
    solution = torch.linalg.lstsq(rows[0], rows[1]).solution
    residual = float(((rows[1] - rows[0] @ solution).square().sum() / 80).sqrt())

    assert residual == pytest.approx(
        gradient_distance(statistics_of(source, reference).grams), rel=1e-5
    )


def test_the_spectral_gap_is_that_of_the_differences() -> None:
    source, reference = smooth_model("source", 3), smooth_model("reference", 2)
    drawn = torch.randn(2, 3, generator=stream_generator("map"), dtype=torch.float64)
    norms = torch.linalg.matrix_norm(jacobians_of(reference) - drawn @ jacobians_of(source), ord=2)

    assert float(norms.square().mean().sqrt()) == pytest.approx(
        spectral_gap(statistics_of(source, reference).grams, drawn), rel=1e-5
    )


def test_affine_map_of_the_source_has_distance_zero() -> None:
    source = smooth_model("source", 3)
    turned = torch.randn(2, 3, generator=stream_generator("map"), dtype=torch.float64)
    grams = statistics_of(source, lambda inputs: source(inputs) @ turned.T + 5).grams

    assert 0 == pytest.approx(gradient_distance(grams), abs=1e-6)
    assert gradient_distance(grams.with_roles_swapped()) > 0.01


def test_the_linearised_attack_is_the_same_from_products_with_the_jacobian() -> None:
    source, reference = smooth_model("source", 5), smooth_model("reference", 3)
    exact = linearize_from_grams(statistics_of(source, reference).grams)
    spectrum = Spectrum(most_outputs=2, iterations=80)
    from_products = linearize_from_products(
        source, reference, points(), spectrum=spectrum, context=InMemoryContext()
    )

    assert from_products.residual is not None
    assert from_products.residual.max() < 1e-3
    torch.testing.assert_close(
        exact.first_model_values, from_products.first_model_values, rtol=1e-4, atol=1e-6
    )
    torch.testing.assert_close(
        exact.second_model_values, from_products.second_model_values, rtol=1e-4, atol=1e-6
    )
    torch.testing.assert_close(exact.cosine.abs(), from_products.cosine.abs(), rtol=1e-3, atol=1e-4)
    for exact_deviations, product_deviations in (
        (exact.on_first, from_products.on_first),
        (exact.on_second, from_products.on_second),
    ):
        assert deviation_map(exact_deviations).tau == pytest.approx(
            deviation_map(product_deviations).tau, rel=1e-3
        )


def test_theorem_1_holds_with_equality_for_one_output_each() -> None:
    statistics = statistics_of(smooth_model("source", 1), smooth_model("reference", 1))
    linear = linearize_from_grams(statistics.grams)
    mapped = deviation_map(linear.on_first)

    assert spectral_gap(statistics.grams, mapped.matrix) == pytest.approx(
        theorem_1_bound(linear, mapped.tau), rel=1e-9
    )
    assert 0.05 < mapped.tau < 0.95


@pytest.mark.parametrize("outputs", [(1, 1), (3, 2), (2, 5)])
def test_left_sides_of_the_theorems_are_below_their_bounds(outputs: tuple[int, int]) -> None:
    source, reference = smooth_model("source", outputs[0]), smooth_model("reference", outputs[1])
    statistics = statistics_of(source, reference)
    inputs = points().inputs(torch.arange(80))
    with torch.no_grad():
        outputs_at_samples = TheoremOutputs(
            source(inputs), reference(inputs), reference(inputs).round()
        )
    linear = linearize_from_grams(statistics.grams)
    metrics = theorem_metrics(
        statistics, linear, deviation_map(linear.on_first), outputs_at_samples
    )

    assert metrics["theorem_2_left"] <= metrics["theorem_2_bound"]
    assert metrics["theorem_3_left"] <= metrics["theorem_3_bound"]
    assert (outputs == (1, 1)) == ("theorem_1_bound" in metrics)


def test_theorem_2_is_as_printed() -> None:
    values = torch.tensor([[2.0, 1.0], [4.0, 1.0]]).double()
    others = torch.tensor([[1.0, 0.1], [3.0, 0.6]]).double()
    deviations = linearize_from_grams(
        statistics_of(smooth_model("source", 1), smooth_model("reference", 1)).grams
    ).on_first
    linear = LinearizedAttack(
        values, others, torch.tensor([1.0, 0.5]).double(), deviations, deviations
    )
    angle, tau, source, reference = (1 + 0.25) / 2, 0.4, 0.5, 0.2
    inside = (1 - angle * tau) + (1 - angle) * (1 - tau) * reference**2 + (reference + source) ** 2

    assert (5 * 3.0**2 * inside) ** 0.5 == pytest.approx(theorem_2_bound(linear, tau))


def test_theorem_3_is_as_printed() -> None:
    values = torch.tensor([[2.0, 1.0], [4.0, 1.0]]).double()
    others = torch.tensor([[1.0, 0.1], [3.0, 0.6]]).double()
    moves = linearize_from_grams(
        statistics_of(smooth_model("source", 1), smooth_model("reference", 1)).grams
    ).on_first
    linear = LinearizedAttack(values, others, torch.ones(2).double(), moves, moves)
    whole_grams, zero = torch.zeros(2, 1, 1).double(), torch.zeros(1).double()
    steepness, lengths = (
        torch.tensor([[0.3, 0.2], [0.1, 0.7]]).double(),
        torch.tensor([2.0, 1.5]).double(),
    )
    statistics = JacobianStatistics(
        GramMatrices(whole_grams, whole_grams, whole_grams), steepness, lengths, (zero, zero)
    )
    reference_outputs, targets = (
        torch.tensor([[3.0, 0.0], [0.0, 0.0]]).double(),
        torch.tensor([[0.0, 4.0], [1.0, 0.0]]).double(),
    )
    outputs = TheoremOutputs(
        source=torch.zeros(2, 1).double(), reference=reference_outputs, target=targets
    )

    # ||f_T - y|| + R gap + (1 + ||grad f_T|| / ||grad f_S||) beta R^2
    expected = 13**0.5 + 2 * 0.25 + (1 + 5**0.5 / 10**0.5) * 0.7 * 2**2

    assert expected == pytest.approx(theorem_3_bound(statistics, linear, gap=0.25, outputs=outputs))


def test_theorem_3_bounds_the_error_of_the_map_that_equals_the_reference_at_the_origin() -> None:
    source, reference = smooth_model("source", 3), smooth_model("reference", 2)
    statistics, inputs = statistics_of(source, reference), points().inputs(torch.arange(80))
    mapped = deviation_map(linearize_from_grams(statistics.grams).on_first)
    with torch.no_grad():
        outputs_at_samples = TheoremOutputs(
            source(inputs), reference(inputs), reference(inputs).round()
        )
        shift = reference(torch.zeros(1, 6)) - source(torch.zeros(1, 6)) @ mapped.matrix.T
        residual = root_mean_square(
            outputs_at_samples.source @ mapped.matrix.T + shift - outputs_at_samples.target
        )

    assert residual == pytest.approx(theorem_3_left_side(statistics, mapped, outputs_at_samples))


def test_equal_models_have_no_gap_and_the_references_error() -> None:
    model = smooth_model("reference", 2)
    statistics, inputs = statistics_of(model, model), points().inputs(torch.arange(80))
    with torch.no_grad():
        outputs = model(inputs)
    linear = linearize_from_grams(statistics.grams)
    metrics = theorem_metrics(
        statistics,
        linear,
        deviation_map(linear.on_first),
        TheoremOutputs(outputs, outputs, torch.zeros_like(outputs)),
    )

    assert 0 == pytest.approx(metrics["theorem_2_left"], abs=1e-6)
    assert root_mean_square(outputs) == pytest.approx(metrics["theorem_3_left"])


def test_the_steepness_of_a_linear_model_is_zero_and_of_a_square_known() -> None:
    statistics = statistics_of(
        lambda inputs: inputs[:, :1], lambda inputs: inputs.square().sum(1, keepdim=True)
    )

    torch.testing.assert_close(torch.zeros(80).double(), statistics.steepness[:, 0])
    # The gradient of ||x||^2 is 2 x.
    torch.testing.assert_close(torch.full((80,), 2.0).double(), statistics.steepness[:, 1])


def test_affine_distance_is_the_least_squares_residual() -> None:
    inputs, outputs = (
        torch.randn(30, width, generator=stream_generator(str(width))).double() for width in (4, 2)
    )
    design = torch.cat([inputs, torch.ones(30, 1)], 1)
    residual = outputs - design @ torch.linalg.lstsq(design, outputs).solution

    assert root_mean_square(residual) == pytest.approx(
        AffineSpan.from_inputs(inputs).distance_to(outputs)
    )


def test_dependent_inputs_give_the_same_distance_as_those_they_depend_on() -> None:
    inputs, outputs = (
        torch.randn(30, width, generator=stream_generator(str(width))).double() for width in (4, 2)
    )
    doubled = torch.cat([inputs, inputs.sum(1, keepdim=True), torch.ones(30, 1)], 1)

    assert AffineSpan.from_inputs(inputs).distance_to(outputs) == pytest.approx(
        AffineSpan.from_inputs(doubled).distance_to(outputs)
    )


def test_affine_distance_is_undefined_for_as_many_numbers_as_samples() -> None:
    assert (
        AffineSpan.from_inputs(
            torch.randn(5, 4, generator=stream_generator("")).double()
        ).distance_to(torch.ones(5, 1).double())
        is None
    )
