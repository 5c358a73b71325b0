from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.rng import build_initialized, reinitialize, stream_generator
from advtransfer.types import Shape
from advtransfer_adapters import learned
from advtransfer_adapters.components import (
    auto,
    centre_crop,
    chain,
    channel_mean,
    pad,
    transposed_convolution,
)
from advtransfer_adapters.learned import SpatialMap, Upsampling, learned_map
from advtransfer_adapters.options import Form, Full, LowRank, PerChannel, Spatial

COLOUR, GREY, LARGE = (3, 4, 4), (1, 4, 4), (3, 7, 6)

FORMS: dict[str, tuple[Form, nn.Module, Shape, Shape]] = {
    "full": (Full(), nn.Identity(), GREY, GREY),
    "full of a vector": (Full(), nn.Identity(), (7,), (7,)),
    "full, behind a pad": (Full(), pad().module(target=COLOUR, source=LARGE), COLOUR, LARGE),
    "low rank": (LowRank(rank=2), nn.Identity(), COLOUR, COLOUR),
    "low rank, behind a mean": (
        LowRank(),
        auto().module(target=COLOUR, source=(1, 8, 8)),
        COLOUR,
        (1, 8, 8),
    ),
    "channels": (PerChannel(), nn.Identity(), COLOUR, COLOUR),
    "channels, behind a crop": (
        PerChannel(),
        centre_crop().module(target=LARGE, source=COLOUR),
        LARGE,
        COLOUR,
    ),
    "each channel": (PerChannel(mixing=False), nn.Identity(), COLOUR, COLOUR),
    "spatial": (Spatial(), nn.Identity(), COLOUR, COLOUR),
    "spatial, in a margin": (
        Spatial(where="margin"),
        pad().module(target=COLOUR, source=LARGE),
        COLOUR,
        LARGE,
    ),
    "spatial, bounded": (Spatial(scale=False, bound=0.5), nn.Identity(), GREY, GREY),
}


def upsampling(target: Shape, source: Shape, *, kernel: int = 3, bias: bool = True) -> nn.Module:
    return transposed_convolution(kernel=kernel, bias=bias).module(target=target, source=source)


def random_tensor(*shape: int, name: str) -> Tensor:
    return torch.rand(shape, generator=stream_generator("learned", name), dtype=torch.float64)


def initial_map(name: str) -> nn.Module:
    form, base, target, _ = FORMS[name]
    return build_initialized(
        lambda: learned_map(form, base, target=target), stream_generator("form")
    )


def trained_map(name: str) -> nn.Module:
    """Return the map of this name with all parameters moved from their start."""
    module = initial_map(name).double()
    for index, parameter in enumerate(module.parameters()):
        parameter.data.copy_(random_tensor(*parameter.shape, name=f"{name} {index}") - 0.3)
    return module


def assert_adjoint(module: nn.Module, target: Shape, source: Shape) -> None:
    """Assert that the map is affine and its gradient is the transposed matrix."""
    u, w = (random_tensor(2, *target, name=name) for name in ("u", "w"))
    v, origin = (
        random_tensor(2, *source, name="v"),
        module(torch.zeros(2, *target, dtype=torch.float64)),
    )
    (transposed,) = torch.autograd.grad((module(w.requires_grad_()) * v).sum(), w)

    torch.testing.assert_close(module(u + w), module(u) + module(w) - origin)
    torch.testing.assert_close(((module(u) - origin) * v).sum(), (u * transposed).sum())
    assert transposed.abs().sum().item() > 0


@pytest.mark.parametrize("name", FORMS)
def test_every_form_is_affine_and_its_gradient_is_the_transposed_matrix(name: str) -> None:
    _, _, target, source = FORMS[name]
    module = trained_map(name)

    assert (2, *source) == tuple(module(random_tensor(2, *target, name="u")).shape)
    assert_adjoint(module, target, source)


@pytest.mark.parametrize("name", FORMS)
def test_every_form_starts_as_the_fixed_map_and_learns(name: str) -> None:
    _, base, target, _ = FORMS[name]
    module, images = initial_map(name), random_tensor(2, *target, name="images").float()
    before = module(images)
    (before * torch.randn(before.shape, generator=stream_generator("weights"))).sum().backward()

    torch.testing.assert_close(before, base(images), atol=0, rtol=0)
    assert any(
        parameter.grad is not None and parameter.grad.any() for parameter in module.parameters()
    )


@pytest.mark.parametrize("name", FORMS)
def test_resetting_parameters_restores_the_fixed_map(name: str) -> None:
    _, base, target, _ = FORMS[name]
    module, images = trained_map(name), random_tensor(2, *target, name="images")
    reinitialize(module, stream_generator("new"), whose="the map", trained_only=True)

    assert module(images).equal(base(images))


def test_the_low_rank_change_has_that_rank() -> None:
    module = trained_map("low rank")
    columns = torch.eye(48, dtype=torch.float64).view(48, *COLOUR)
    change = (module(columns) - columns - module(torch.zeros_like(columns))).flatten(1)

    assert 2 == int(torch.linalg.matrix_rank(change))


def test_a_pixel_outside_a_crop_gets_no_gradient_through_a_learned_map() -> None:
    images = random_tensor(2, *LARGE, name="images").requires_grad_()
    (gradient,) = torch.autograd.grad(trained_map("channels, behind a crop")(images).sum(), images)
    inside = torch.zeros(7, 6, dtype=torch.bool)
    inside[1:5, 1:5] = True

    assert gradient.ne(0).equal(inside.expand_as(gradient))


def test_program_in_the_margin_does_not_change_the_image() -> None:
    module = trained_map("spatial, in a margin")
    assert isinstance(module, SpatialMap)
    program, inside = module.program(), torch.zeros(LARGE, dtype=torch.bool)
    inside[:, 1:5, 1:5] = True

    assert program.eq(0).equal(inside)


def test_a_bounded_program_stays_within_its_bound() -> None:
    module = initial_map("spatial, bounded")
    assert isinstance(module, SpatialMap)
    module.raw.data.copy_(torch.linspace(-30, 30, 16).view(1, 4, 4))

    assert 0.5 == module.program().abs().max().item()


@pytest.mark.parametrize(
    ("form", "target", "reason"),
    [
        (Spatial(where="margin"), COLOUR, "leaves no margin around the image; use adapters/pad"),
        (PerChannel(), (50,), r"per_channel works on images \(C, H, W\); use low_rank"),
    ],
)
def test_form_that_does_not_apply_to_the_inputs_is_inapplicable(
    form: Form, target: Shape, reason: str
) -> None:
    with pytest.raises(Inapplicable, match=reason):
        learned_map(form, nn.Identity(), target=target)


def test_a_full_map_is_for_small_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(learned, "MAX_MATRIX_ENTRIES", 48 * 48)
    learned_map(Full(), nn.Identity(), target=COLOUR)

    with pytest.raises(
        Inapplicable, match=r"has 49 x 49 entries, more than 2304; use the form low_rank"
    ):
        learned_map(Full(), nn.Identity(), target=(1, 7, 7))


SIZES: list[tuple[Shape, Shape, int]] = [
    ((3, 32, 32), (3, 64, 64), 3),
    ((2, 3, 4), (1, 6, 12), 3),
    ((1, 3, 4), (2, 9, 4), 4),
    ((1, 3, 4), (1, 12, 20), 2),
    ((1, 4, 4), (1, 4, 4), 2),
    ((1, 2, 2), (1, 4, 4), 1),
]


@pytest.mark.parametrize(("target", "source", "kernel"), SIZES)
def test_a_transposed_convolution_gives_the_sources_shape_and_its_gradient_is_the_transposed_matrix(
    target: Shape, source: Shape, kernel: int
) -> None:
    module = upsampling(target, source, kernel=kernel).double()

    assert (2, *source) == tuple(module(random_tensor(2, *target, name="images")).shape)
    assert_adjoint(module, target, source)


def test_the_layer_of_the_paper_is_three_by_three_with_stride_two() -> None:
    module = upsampling((3, 32, 32), (3, 64, 64))
    assert isinstance(module, Upsampling)

    assert (3, 3, 3, 3) == tuple(module.convolution.weight.shape)
    assert (2, 2) == module.convolution.stride
    assert 3 * 3 * 3 * 3 + 3 == sum(parameter.numel() for parameter in module.parameters())
    assert 3 * 3 * 3 * 3 == sum(
        one.numel() for one in upsampling((3, 2, 2), (3, 4, 4), bias=False).parameters()
    )


def test_upsampling_pads_like_tensorflows_same_padding() -> None:
    module = upsampling((1, 2, 2), (1, 4, 4), bias=False)
    assert isinstance(module, Upsampling)
    module.convolution.weight.data.copy_(torch.arange(1.0, 10.0).view(1, 1, 3, 3))
    pixel = torch.tensor([[[[0.0, 0.0], [0.0, 1.0]]]])
    corner = torch.tensor([[[[1.0, 0.0], [0.0, 0.0]]]])

    assert [[1.0, 2.0], [4.0, 5.0]] == module(pixel)[0, 0, 2:, 2:].tolist()
    assert [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0]] == module(corner)[
        0, 0, :3, :3
    ].tolist()


def test_same_padding_is_the_transpose_of_a_convolution_that_pads_below_and_to_the_right() -> None:
    module = upsampling((1, 3, 3), (1, 6, 6), bias=False).double()
    assert isinstance(module, Upsampling)
    small, large = random_tensor(1, 1, 3, 3, name="small"), random_tensor(1, 1, 6, 6, name="large")
    convolved = functional.conv2d(
        functional.pad(large, (0, 1, 0, 1)), module.convolution.weight, stride=2
    )

    torch.testing.assert_close((module(small) * large).sum(), (small * convolved).sum())


def test_a_transposed_convolution_is_learned_alone_and_in_a_chain() -> None:
    alone = transposed_convolution()
    chained = chain(parts=(channel_mean(), alone))
    module = chained.module(target=(3, 2, 2), source=(2, 6, 4))

    assert alone.learned
    assert chained.learned
    assert (5, 2, 6, 4) == tuple(module(torch.rand(5, 3, 2, 2)).shape)
    assert [True, True] == [parameter.requires_grad for parameter in module.parameters()]


def test_building_a_learned_adapter_draws_nothing_and_gives_the_same_weights() -> None:
    before = torch.get_rng_state()
    first, second = (upsampling((1, 2, 2), (1, 4, 4)).state_dict() for _ in range(2))

    assert before.equal(torch.get_rng_state())
    assert all(tensor.equal(second[name]) for name, tensor in first.items())
