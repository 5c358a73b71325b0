from __future__ import annotations

from itertools import product

import pytest
import torch
from torch import Tensor, nn

from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer_alignment.linear_algebra import (
    ModelFunction,
    batch_jacobian,
    jacobian_vector_products,
    leading_spectrum,
    spectrum_by_decomposition,
    spectrum_by_power_iteration,
)
from advtransfer_alignment.options import Spectrum


def smooth(*, outputs: int) -> nn.Module:
    def build() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 3, 2), nn.Softplus(), nn.Flatten(), nn.Linear(12, outputs)
        )

    return build_initialized(build, stream_generator("smooth")).double()


def images(count: int = 4) -> Tensor:
    return torch.rand(count, 1, 3, 3, generator=stream_generator("images"), dtype=torch.float64)


def matrix(values: list[float], *, name: str = "matrix") -> tuple[ModelFunction, Tensor]:
    """Return a linear model of ``(B, 1, 2, 3)`` with these singular values, and its Jacobian."""
    source = stream_generator(name)
    left = torch.linalg.qr(
        torch.randn(len(values), len(values), generator=source, dtype=torch.float64)
    ).Q
    right = torch.linalg.qr(torch.randn(6, 6, generator=source, dtype=torch.float64)).Q[
        :, : len(values)
    ]
    whole = left @ torch.diag(torch.tensor(values, dtype=torch.float64)) @ right.T
    return lambda inputs: inputs.flatten(1) @ whole.T, whole


def test_a_jacobian_equals_finite_differences() -> None:
    model, inputs, step = smooth(outputs=3), images(), 1e-6
    jacobians = batch_jacobian(model, inputs)
    with torch.no_grad():
        for row, column in product(range(3), range(3)):
            moved = torch.zeros_like(inputs)
            moved[:, 0, row, column] = step
            slope = (model(inputs + moved) - model(inputs - moved)) / (2 * step)

            torch.testing.assert_close(
                slope, jacobians[:, :, 3 * row + column], rtol=1e-6, atol=1e-9
            )


def test_a_product_with_the_jacobian_needs_no_jacobian() -> None:
    model, inputs = smooth(outputs=3), images()
    block = torch.randn(4, 9, 2, generator=stream_generator("block"), dtype=torch.float64)

    torch.testing.assert_close(
        batch_jacobian(model, inputs) @ block, jacobian_vector_products(model, inputs, block)
    )


@pytest.mark.parametrize("outputs", [1, 2, 5])
def test_leading_spectrum_equals_a_singular_value_decomposition(outputs: int) -> None:
    whole = batch_jacobian(smooth(outputs=outputs), images())
    _, values, right = torch.linalg.svd(whole, full_matrices=False)
    leading = spectrum_by_decomposition(whole)

    torch.testing.assert_close(values[:, :2], leading.values[:, : min(2, outputs)])
    torch.testing.assert_close(
        torch.ones(4, dtype=torch.float64), (right[:, 0] * leading.direction).sum(1).abs()
    )
    assert [0.0] * 4 == leading.residual.tolist()


@pytest.mark.parametrize("outputs", [1, 2, 5, 12])
def test_power_iteration_comes_to_the_same_singular_values_and_directions(outputs: int) -> None:
    model, inputs = smooth(outputs=outputs), images()
    expected = spectrum_by_decomposition(batch_jacobian(model, inputs))
    leading = spectrum_by_power_iteration(
        model, inputs, iterations=60, generator=stream_generator("start")
    )

    torch.testing.assert_close(expected.values, leading.values, rtol=1e-8, atol=1e-12)
    torch.testing.assert_close(
        torch.ones(4).double(), (expected.direction * leading.direction).sum(1).abs()
    )
    assert leading.residual.max() < 1e-5


def test_residual_shows_an_unconverged_iteration() -> None:
    function, _ = matrix([1.0, 0.99, 0.98, 0.97, 0.96, 0.95])
    inputs = torch.zeros(2, 1, 2, 3, dtype=torch.float64)
    early, late = (
        spectrum_by_power_iteration(
            function, inputs, iterations=n, generator=stream_generator("start")
        )
        for n in (1, 500)
    )

    assert early.residual.min() > 1e-3
    assert late.residual.max() < 1e-6


def test_known_singular_values_are_found() -> None:
    function, _ = matrix([3.0, 0.5, 0.1])
    inputs = torch.zeros(2, 1, 2, 3, dtype=torch.float64)
    for most in (0, 100):
        leading = leading_spectrum(
            function,
            inputs,
            spectrum=Spectrum(most_outputs=most, iterations=30),
            generator=stream_generator("start"),
        )

        torch.testing.assert_close(torch.tensor([[3.0, 0.5]] * 2).double(), leading.values)


def test_constant_model_has_no_direction() -> None:
    inputs = images()
    for most in (0, 100):
        leading = leading_spectrum(
            lambda x: 0 * x.flatten(1),
            inputs,
            spectrum=Spectrum(most_outputs=most),
            generator=stream_generator(""),
        )

        assert not leading.values.any()
        assert not leading.direction.any()
        assert leading.residual.isfinite().all()


def test_attention_has_correct_jacobian_products() -> None:
    def attend(inputs: Tensor) -> Tensor:
        parts = inputs.reshape(len(inputs), 1, 3, 3)
        return nn.functional.scaled_dot_product_attention(parts, parts, parts).flatten(1)

    inputs, block = images().float(), torch.eye(9)[:, :2].expand(4, -1, -1)

    torch.testing.assert_close(
        batch_jacobian(attend, inputs) @ block, jacobian_vector_products(attend, inputs, block)
    )
