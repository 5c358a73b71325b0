"""Jobs compute float32 in full and deterministically, whatever is set outside, and restore the settings afterwards."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator

import pytest
import torch

from advtransfer.worker.device import full_float32
from advtransfer.worker.process import deterministic_algorithms


def settings() -> list[object]:
    """What torch says of matrix products and convolutions."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    owners = (matmul, getattr(cudnn, "conv", None), getattr(torch.backends.mkldnn, "matmul", None))
    return [
        matmul.allow_tf32,
        cudnn.allow_tf32,
        *(getattr(owner, "fp32_precision", None) for owner in owners),
    ]


@pytest.fixture(autouse=True)
def _put_back() -> Iterator[None]:
    cudnn = torch.backends.cudnn.allow_tf32
    yield
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = cudnn


@pytest.mark.parametrize(
    "choose",
    [
        lambda: None,
        lambda: torch.set_float32_matmul_precision("high"),
        lambda: torch.set_float32_matmul_precision("medium"),
        lambda: setattr(torch.backends.cuda.matmul, "allow_tf32", True),
        lambda: setattr(torch.backends.cudnn, "allow_tf32", True),
    ],
)
@pytest.mark.parametrize("inside", [full_float32, deterministic_algorithms])
def test_float32_is_computed_in_full(
    choose: Callable[[], None], inside: Callable[[], object]
) -> None:
    choose()
    before = settings()
    with inside():  # type: ignore[attr-defined]  # a context manager either way
        found = settings()

    assert [False, False] == found[:2]
    assert {"ieee", None} >= set(found[2:])
    assert settings() == before


@pytest.mark.parametrize("was_enabled", [False, True])
def test_algorithms_are_deterministic_without_an_import_of_torchs_compiler(
    monkeypatch: pytest.MonkeyPatch, was_enabled: bool
) -> None:
    torch.use_deterministic_algorithms(was_enabled)
    monkeypatch.delenv("TORCHINDUCTOR_DETERMINISTIC", raising=False)
    monkeypatch.delitem(sys.modules, "torch._inductor.config")
    with deterministic_algorithms():
        inside = torch.get_deterministic_debug_mode()
        is_imported = "torch._inductor.config" in sys.modules
        told = os.environ["TORCHINDUCTOR_DETERMINISTIC"]
    outside = torch.are_deterministic_algorithms_enabled()
    torch.set_deterministic_debug_mode("default")

    assert (2, "1", was_enabled) == (inside, told, outside)
    assert not is_imported


def test_a_compiler_that_is_loaded_is_told() -> None:
    from torch._inductor import config

    with deterministic_algorithms():
        inside = config.deterministic

    assert (True, False) == (inside, config.deterministic)
