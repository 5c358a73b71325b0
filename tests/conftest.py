"""One CPU thread for every test: more of them change floating-point sums, and spin on a busy machine."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[name] = "1"  # before torch or numpy is imported


@pytest.fixture
def float64(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Networks, toy data and what is drawn are float64, so that expected numbers hold on every processor.

    In float32 they do not: Adam makes whole steps of gradients that are nothing but rounding, such as that of a bias
    before batch normalisation. Numbers drawn in float64 are not those drawn in float32.
    """
    import torch

    from advtransfer.toolkit import samples

    monkeypatch.setattr(samples, "INPUT_TYPES", (torch.uint8, torch.float64))
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)
