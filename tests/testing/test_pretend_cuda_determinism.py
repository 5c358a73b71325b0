"""Kernels of which CUDA has no deterministic form, by the documentation of ``torch.use_deterministic_algorithms``."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from advtransfer.testing.pretend_cuda import pretend_cuda

Act = Callable[[], object]


@pytest.fixture(autouse=True)
def strict(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        with pretend_cuda():
            yield
    finally:
        torch.use_deterministic_algorithms(before)


def backward(function: Callable[[Tensor], Tensor], *shape: int) -> Act:
    return lambda: function(torch.rand(*shape, device="cuda", requires_grad=True)).sum().backward()  # type: ignore[no-untyped-call]  # torch leaves it bare


def scaled(mode: str, *, antialias: bool = False) -> Callable[[Tensor], Tensor]:
    return lambda images: functional.interpolate(images, (7, 7), mode=mode, antialias=antialias)


def padded(mode: str) -> Callable[[Tensor], Tensor]:
    return lambda images: functional.pad(images, (1, 1, 1, 1), mode=mode)


def sampled(images: Tensor) -> Tensor:
    return functional.grid_sample(
        images, torch.zeros(1, 2, 2, 2, device="cuda"), align_corners=False
    )


def pixels(images: Tensor) -> Tensor:
    return functional.cross_entropy(images, torch.zeros(1, 4, 4, dtype=torch.int64, device="cuda"))


SHAPE = (1, 2, 4, 4)


@pytest.mark.parametrize(
    ("act", "kernel"),
    [
        (
            backward(scaled("bilinear", antialias=True), *SHAPE),
            "upsample_bilinear2d_aa_backward_out_cuda",
        ),
        (
            backward(scaled("bicubic", antialias=True), *SHAPE),
            "upsample_bicubic2d_aa_backward_out_cuda",
        ),
        (backward(scaled("bicubic"), *SHAPE), "upsample_bicubic2d_backward_out_cuda"),
        (backward(nn.AdaptiveAvgPool2d(2), *SHAPE), "adaptive_avg_pool2d_backward_cuda"),
        (backward(nn.AdaptiveAvgPool2d(4), *SHAPE), "adaptive_avg_pool2d_backward_cuda"),
        (backward(nn.AdaptiveAvgPool3d(2), 1, *SHAPE), "adaptive_avg_pool3d_backward_cuda"),
        (backward(nn.AdaptiveMaxPool2d(2), *SHAPE), "adaptive_max_pool2d_backward_cuda"),
        (backward(nn.AvgPool3d(2), 1, *SHAPE[:1], 4, 4, 4), "avg_pool3d_backward_cuda"),
        (backward(padded("reflect"), *SHAPE), "reflection_pad2d_backward_cuda"),
        (backward(sampled, *SHAPE), "grid_sampler_2d_backward_cuda"),
        (backward(pixels, *SHAPE), "nll_loss2d_forward_out_cuda_template"),
        (lambda: torch.rand(3, 4, device="cuda").median(1), "median CUDA with indices output"),
        (lambda: torch.rand(4, device="cuda").cumsum(0), "cumsum_cuda_kernel"),
        (lambda: torch.rand(4, device="cuda").histc(2), "_histc_cuda"),
        (
            lambda: torch.ones(2, dtype=torch.int64, device="cuda").bincount(
                torch.rand(2, device="cuda")
            ),
            "_bincount_cuda",
        ),
        (
            lambda: torch.rand(4, device="cuda").put_(
                torch.tensor([1], device="cuda"), torch.ones(1, device="cuda")
            ),
            "put_",
        ),
    ],
)
def test_a_kernel_without_a_deterministic_form_is_refused(act: Act, kernel: str) -> None:
    with pytest.raises(
        RuntimeError, match=f"^{kernel}.* does not have a deterministic implementation"
    ):
        act()
    torch.use_deterministic_algorithms(False)
    act()


@pytest.mark.parametrize(
    "act",
    [
        backward(scaled("bilinear"), *SHAPE),
        backward(scaled("nearest"), *SHAPE),
        backward(nn.AdaptiveAvgPool2d(1), *SHAPE),
        backward(nn.AvgPool2d(2), *SHAPE),
        backward(nn.MaxPool2d(2), *SHAPE),
        backward(padded("replicate"), *SHAPE),
        backward(padded("constant"), *SHAPE),
        backward(lambda images: images[:, [0, 0, 1]], *SHAPE),
        backward(lambda images: images.sort(1).values, *SHAPE),
        lambda: torch.rand(4, device="cuda").median(),
        lambda: torch.arange(4, device="cuda").cumsum(0),
        lambda: torch.ones(2, dtype=torch.int64, device="cuda").bincount(),
        lambda: torch.rand(3, 4).median(1),
        lambda: torch.rand(4).cumsum(0),
    ],
)
def test_operations_with_a_deterministic_form_are_computed(act: Act) -> None:
    act()


def test_cublas_needs_a_workspace_of_fixed_size(monkeypatch: pytest.MonkeyPatch) -> None:
    matrix = torch.rand(2, 2, device="cuda")
    matrix @ matrix
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")

    with pytest.raises(RuntimeError, match="CUBLAS_WORKSPACE_CONFIG=:4096:8"):
        matrix @ matrix


def test_nondeterminism_is_a_warning_in_warn_only_mode() -> None:
    torch.use_deterministic_algorithms(True, warn_only=True)

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        torch.rand(4, device="cuda").cumsum(0)
    assert ["cumsum_cuda_kernel does not"] == [str(one.message)[:27] for one in told]
