"""In which precision networks are trained. Whatever is measured, is measured in float32, and that in full."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

import torch

from advtransfer.types import Precision


@contextmanager
def full_float32() -> Iterator[None]:
    """Inside, products of float32 numbers keep all their bits: TF32 (10 of 23 bits) and bfloat16 take no part.

    For training, too: a precision that a GPU chose by itself would differ from GPU to GPU, and be in no record.
    """
    before = [(owner, name, getattr(owner, name)) for owner, name in _finer()]
    coarse = _coarse()
    try:
        if coarse is not None:
            torch.backends.cudnn.allow_tf32 = False
            torch.set_float32_matmul_precision("highest")
        for owner, name, _ in before:
            setattr(owner, name, "ieee")
        yield
    finally:
        if coarse is not None:
            torch.backends.cudnn.allow_tf32, product = coarse
            torch.set_float32_matmul_precision(product)
        for owner, name, value in before:
            setattr(owner, name, value)


def _coarse() -> tuple[bool, str] | None:
    """The switches that every torch has; None where finer ones were set, after which torch does not read these."""
    try:
        return torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    except RuntimeError:
        return None


def _finer() -> Iterator[tuple[object, str]]:
    """The switches for each kind of operation, which torch has from 2.9 on."""
    cudnn, mkldnn = torch.backends.cudnn, torch.backends.mkldnn
    owners: list[object] = [torch.backends.cuda.matmul]
    owners += [getattr(library, kind, None) for library in (cudnn, mkldnn) for kind in ("matmul", "conv", "rnn")]
    yield from ((owner, "fp32_precision") for owner in owners if hasattr(owner, "fp32_precision"))


def training_in(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """Inside, ``bfloat16`` lets torch choose the operations that are safe in it; weights and losses stay float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")
