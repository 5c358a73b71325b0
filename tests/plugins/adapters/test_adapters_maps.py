from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from advtransfer.toolkit.rng import fork_global_rng, stream_generator
from advtransfer.types import Adapter, Shape
from advtransfer_adapters.components import (
    auto,
    centre_crop,
    chain,
    channel_mean,
    channel_repeat,
    identity,
    pad,
    random_pad,
    resize,
)

MAPS: dict[str, tuple[Adapter, Shape, Shape]] = {
    "identity": (identity(), (2, 3, 4), (2, 3, 4)),
    "mean": (channel_mean(), (3, 2, 4), (1, 2, 4)),
    "repeat": (channel_repeat(), (1, 2, 4), (3, 2, 4)),
    "crop": (centre_crop(), (2, 7, 6), (2, 4, 3)),
    "pad": (pad(value=0.5), (2, 3, 4), (2, 6, 9)),
    "random pad": (random_pad(value=0.5), (2, 3, 4), (2, 6, 9)),
    "larger": (resize(), (2, 3, 4), (2, 6, 10)),
    "smaller by an integer": (resize(), (2, 6, 8), (2, 3, 4)),
    "smaller": (resize(), (1, 7, 9), (1, 4, 5)),
    "larger and smaller": (resize(), (1, 7, 4), (1, 4, 7)),
    "larger on corners": (resize(grid="corner"), (2, 3, 4), (2, 6, 7)),
    "smaller on corners": (resize(grid="corner"), (2, 6, 7), (2, 3, 4)),
    "chain": (chain(parts=(channel_mean(), centre_crop())), (3, 6, 6), (1, 4, 4)),
    "auto": (auto(), (1, 6, 6), (3, 4, 4)),
}


def random_tensor(*shape: int, name: str) -> Tensor:
    return torch.rand(shape, generator=stream_generator("adapters", name), dtype=torch.float64)


def matrix_of(module: nn.Module, target: Shape) -> tuple[Tensor, Tensor]:
    """Return A ``(outputs, inputs)`` and b ``(outputs,)`` of x' = A x + b, from unit images."""
    size = torch.Size(target).numel()
    pixels = torch.eye(size, dtype=torch.float64).view(size, *target)
    offset = module(torch.zeros(1, *target, dtype=torch.float64)).flatten()
    return (
        torch.cat([module(pixel.unsqueeze(0)).flatten().unsqueeze(1) for pixel in pixels], 1).T
        - offset
    ).T, offset


@pytest.mark.parametrize("name", MAPS)
def test_each_map_is_affine_and_its_gradient_is_the_transposed_matrix(name: str) -> None:
    adapter, target, source = MAPS[name]
    module = adapter.module(target=target, source=source).eval()
    weights, offset = matrix_of(module, target)
    images = random_tensor(2, *target, name="images").requires_grad_()
    outputs, weighting = module(images), random_tensor(2, *source, name="weighting")
    (gradient,) = torch.autograd.grad((outputs * weighting).sum(), images)

    assert (2, *source) == tuple(outputs.shape)
    torch.testing.assert_close(outputs.flatten(1), images.flatten(1) @ weights.T + offset)
    torch.testing.assert_close(gradient.flatten(1), weighting.flatten(1) @ weights)
    torch.testing.assert_close(
        ((outputs.flatten(1) - offset) * weighting.flatten(1)).sum(),
        (images * gradient).sum().detach(),
    )


@pytest.mark.parametrize("name", MAPS)
def test_fixed_maps_have_no_parameters_and_no_state(name: str) -> None:
    adapter, target, source = MAPS[name]
    module = adapter.module(target=target, source=source)

    assert not adapter.learned
    assert {} == module.state_dict()
    assert [] == list(module.parameters())


def test_a_crop_is_the_middle_and_has_no_gradient_outside() -> None:
    module = centre_crop().module(target=(2, 7, 6), source=(2, 4, 3))
    images = random_tensor(3, 2, 7, 6, name="images").requires_grad_()
    cropped = module(images)
    (gradient,) = torch.autograd.grad(cropped.sum(), images)
    inside = torch.zeros(7, 6, dtype=torch.float64)
    inside[1:5, 1:4] = 1

    assert cropped.equal(images[:, :, 1:5, 1:4])
    assert gradient.equal(inside.expand(3, 2, 7, 6))
    assert (slice(1, 5), slice(1, 4)) == module.window


def test_chain_has_the_window_of_a_crop_preceded_only_by_channel_maps() -> None:
    parts = chain(parts=(channel_mean(), chain(parts=(centre_crop(), channel_repeat()))))
    late = chain(parts=(pad(), channel_mean()))

    assert (slice(1, 3), slice(2, 6)) == parts.module(target=(3, 4, 8), source=(2, 2, 4)).window
    assert late.module(target=(3, 4, 8), source=(1, 6, 8)).window is None


def test_the_mean_gives_each_channel_the_same_gradient() -> None:
    images = random_tensor(2, 3, 4, 4, name="images").requires_grad_()
    (gradient,) = torch.autograd.grad(
        channel_mean().module(target=(3, 4, 4), source=(1, 4, 4))(images).sum(), images
    )

    torch.testing.assert_close(gradient, torch.full_like(gradient, 1 / 3))


@pytest.mark.parametrize(
    "name", ["larger", "smaller by an integer", "smaller", "larger on corners"]
)
def test_a_constant_image_stays_constant_when_it_is_resized(name: str) -> None:
    adapter, target, source = MAPS[name]
    module = adapter.module(target=target, source=source)

    torch.testing.assert_close(module(torch.full((1, *target), 0.3)), torch.full((1, *source), 0.3))


def test_an_integer_ratio_takes_the_mean_over_blocks() -> None:
    images = torch.arange(8.0).view(1, 1, 2, 4)
    halved = resize().module(target=(1, 2, 4), source=(1, 1, 2))(images)

    torch.testing.assert_close(halved, torch.tensor([[[[2.5, 4.5]]]]))


def test_the_two_grids_double_a_row_as_torch_and_as_tensorflow_1_do() -> None:
    row = torch.tensor([[[[0.0, 4.0]]]])
    centred = resize().module(target=(1, 1, 2), source=(1, 1, 4))(row)
    corner = resize(grid="corner").module(target=(1, 1, 2), source=(1, 1, 4))(row)

    torch.testing.assert_close(centred.flatten(), torch.tensor([0.0, 1.0, 3.0, 4.0]))
    torch.testing.assert_close(corner.flatten(), torch.tensor([0.0, 2.0, 4.0, 4.0]))


def test_corner_grid_skips_pixels_when_shrinking() -> None:
    row = torch.tensor([[[[1.0, 2.0, 3.0, 4.0]]]])

    assert [1.0, 3.0] == resize(grid="corner").module(target=(1, 1, 4), source=(1, 1, 2))(
        row
    ).flatten().tolist()


def test_a_pad_has_its_value_around_the_image_in_the_middle() -> None:
    padded = pad(value=0.25).module(target=(1, 1, 2), source=(1, 2, 5))(torch.ones(1, 1, 1, 2))

    assert [[0.25, 1.0, 1.0, 0.25, 0.25], [0.25] * 5] == padded[0, 0].tolist()


def test_a_random_pad_is_the_centred_one_in_eval_mode_and_draws_nothing() -> None:
    module = random_pad(value=0.5).module(target=(1, 2, 3), source=(1, 5, 6)).eval()
    images, before = (
        torch.rand(4, 1, 2, 3, generator=stream_generator("images")),
        torch.get_rng_state(),
    )

    assert module(images).equal(pad(value=0.5).module(target=(1, 2, 3), source=(1, 5, 6))(images))
    assert before.equal(torch.get_rng_state())


def test_random_pad_draws_a_place_for_each_image_in_training_mode() -> None:
    module = random_pad().module(target=(2, 2, 2), source=(2, 3, 4)).train()
    images = 1 + torch.rand(200, 2, 2, 2, generator=stream_generator("images"))
    with fork_global_rng(stream_generator("places")):
        padded = module(images)
    with fork_global_rng(stream_generator("places")):
        again = module(images)
    corners = [tuple(image[0].nonzero()[0].tolist()) for image in padded]

    assert padded.equal(again)
    assert {(row, column) for row in range(2) for column in range(3)} == set(corners)
    for image, laid, (row, column) in zip(images, padded, corners, strict=True):
        assert image.equal(laid[:, row : row + 2, column : column + 2])
        assert image.sum().item() == pytest.approx(laid.sum().item())


def test_a_random_pad_passes_the_whole_gradient_in_training_mode() -> None:
    module = random_pad().module(target=(1, 2, 2), source=(1, 4, 4)).train()
    images = torch.rand(3, 1, 2, 2, generator=stream_generator("images")).requires_grad_()
    with fork_global_rng(stream_generator("places")):
        (gradient,) = torch.autograd.grad(module(images).sum(), images)

    assert gradient.equal(torch.ones(3, 1, 2, 2))
