"""Randomised models: draws that keys name, expectations, and the closed form of a linear model with noise."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from advtransfer.testing.pretend_cuda import pretend_cuda
from advtransfer.toolkit.datasets import ArraySamples
from advtransfer.toolkit.prediction import predict
from advtransfer.toolkit.randomized import (
    FixedDraw,
    MeanOfDraws,
    is_randomized,
    keyed_draws,
    model_draws,
)
from advtransfer.toolkit.rng import stream_generator
from advtransfer.types import DataCard

CPU = torch.device("cpu")
SIGMA = 0.5


class InputNoise(nn.Module):
    """Gaussian noise on the inputs, in eval mode too."""

    randomized = True

    def __init__(self, sigma: float = SIGMA) -> None:
        super().__init__()
        self.sigma = sigma

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs + self.sigma * torch.randn_like(inputs)


def linear(weight: Tensor, front: nn.Module) -> nn.Sequential:
    """Logits ``-w x / 2`` and ``w x / 2`` of what the front gives."""
    layer = nn.Linear(len(weight), 2, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.stack([-weight / 2, weight / 2]))
    return nn.Sequential(front, nn.Flatten(), layer).eval().requires_grad_(False)


WEIGHT = torch.randn(16, generator=stream_generator("weight"))
INPUTS = torch.randn(32, 1, 4, 4, generator=stream_generator("inputs"))
NOISY = linear(WEIGHT, InputNoise())
PLAIN = linear(WEIGHT, nn.Identity())


def test_a_module_anywhere_in_the_model_says_so() -> None:
    assert is_randomized(NOISY)
    assert is_randomized(nn.Sequential(NOISY))
    assert not is_randomized(PLAIN)
    assert not is_randomized(None)


def test_the_draw_of_a_key_depends_on_nothing_else() -> None:
    keys = list(range(100, 132))
    together = keyed_draws(NOISY, INPUTS, keys)
    some = [20, 3, 7]

    assert keyed_draws(NOISY, INPUTS[some], [keys[row] for row in some]).equal(together[some])
    assert not keyed_draws(NOISY, INPUTS, keys[::-1]).equal(together)


def test_the_global_random_state_is_left_as_it_was() -> None:
    before = torch.get_rng_state()
    keyed_draws(NOISY, INPUTS, range(32))
    with model_draws(NOISY, source=lambda: stream_generator("draws"), device=CPU):
        NOISY(INPUTS)

    assert torch.get_rng_state().equal(before)


def test_draws_of_a_stream_are_equal_in_each_block_and_differ_within() -> None:
    def drawn() -> list[Tensor]:
        with model_draws(NOISY, source=lambda: stream_generator("draws"), device=CPU):
            return [NOISY(INPUTS), NOISY(INPUTS)]

    first, second = drawn()

    assert torch.stack(drawn()).equal(torch.stack([first, second]))
    assert not first.equal(second)


def test_nothing_is_seeded_for_other_models() -> None:
    def no_stream() -> torch.Generator:
        raise AssertionError

    with model_draws(PLAIN, None, source=no_stream, device=CPU):
        PLAIN(INPUTS)


def test_a_fixed_draw_is_a_function_of_the_image() -> None:
    fixed = FixedDraw(NOISY)
    shift = fixed(INPUTS) - PLAIN(INPUTS)

    assert fixed(INPUTS[5:6]).equal(fixed(INPUTS)[5:6])
    # Of a linear model the same draw moves every image's logits by the same amount.
    torch.testing.assert_close(shift, shift[:1].expand_as(shift))
    assert shift.abs().max() > 0.01


def test_the_mean_of_draws_has_the_gradient_of_the_clean_linear_model() -> None:
    points = INPUTS.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(MeanOfDraws(NOISY, 8)(points)[:, 1].sum(), points)

    torch.testing.assert_close(gradient.flatten(1), (WEIGHT / 2).expand(32, -1))


def test_the_mean_of_draws_comes_near_the_clean_logits() -> None:
    """The error of a mean over n draws is normal with the deviation sigma |w| / (2 sqrt(n))."""
    with model_draws(NOISY, source=lambda: stream_generator("mean"), device=CPU):
        errors = (MeanOfDraws(NOISY, 400)(INPUTS) - PLAIN(INPUTS))[:, 1]

    deviation = SIGMA * float(WEIGHT.norm()) / 2 / math.sqrt(400)
    # The root mean square over 32 images lies within 50 % of it at four standard errors.
    assert errors.square().mean().sqrt().item() == pytest.approx(deviation, rel=0.5)


def test_accuracy_of_a_linear_model_with_noise_is_that_of_the_closed_form() -> None:
    """An image of margin m is right with probability Phi(m / (sigma |w|))."""
    inputs = torch.randn(3000, 1, 4, 4, generator=stream_generator("images"))
    card = DataCard((1, 4, 4), None, "classes", 2, ("below", "above"), "")
    margins = inputs.flatten(1) @ WEIGHT
    samples = ArraySamples(card=card, inputs=inputs, labels=(margins > 0).long())
    logits, labels = predict(NOISY, samples, device=CPU)
    expected = torch.special.ndtr(margins.abs() / (SIGMA * WEIGHT.norm())).double()

    found = (logits.argmax(1) == labels).double().mean().item()
    standard_error = (expected * (1 - expected)).sum().sqrt().item() / 3000
    assert 0.8 < expected.mean().item() < 0.95
    assert abs(found - expected.mean().item()) < 4 * standard_error


def test_draws_on_a_gpu_repeat_and_leave_its_state() -> None:
    with pretend_cuda():
        device = torch.device("cuda")
        model, inputs = linear(WEIGHT, InputNoise()).to(device), INPUTS.to(device)
        before = torch.cuda.get_rng_state(device)
        first = keyed_draws(model, inputs, range(32)).cpu()

        assert torch.cuda.get_rng_state(device).equal(before)
        assert keyed_draws(model, inputs, range(32)).cpu().equal(first)
