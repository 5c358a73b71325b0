"""Afterwards torch is as it was, and one pretend device does not stand inside another."""

from __future__ import annotations

import pytest
import torch

from advtransfer.testing.pretend_cuda import pretend_cuda


def test_torch_is_restored_also_after_an_error() -> None:
    names = (
        "is_available",
        "device_count",
        "get_rng_state",
        "set_rng_state",
        "manual_seed",
        "device",
        "_lazy_init",
    )
    functions = {name: getattr(torch.cuda, name) for name in names}
    generator, autocast = torch.Generator, torch.autocast.__init__
    swaps = torch.__future__.get_swap_module_params_on_conversion()
    with pytest.raises(RuntimeError, match="cuda:0 and cuda:1"), pretend_cuda(devices=2):
        torch.zeros(1, device="cuda:1") + torch.zeros(1, device="cuda")

    assert functions == {name: getattr(torch.cuda, name) for name in names}
    assert (torch.Generator, torch.autocast.__init__) == (generator, autocast)
    assert torch.__future__.get_swap_module_params_on_conversion() is swaps
    assert (torch.ones(2) + 1).tolist() == [2, 2]


def test_a_pretend_device_inside_another_is_refused() -> None:
    with (
        pytest.raises(RuntimeError, match="found a pretend device inside another"),
        pretend_cuda(),
        pretend_cuda(),
    ):
        pass
