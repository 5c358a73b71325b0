"""In which precision networks are trained. Whatever is measured, is measured in float32."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch

from advtransfer.types import Precision


def training_in(precision: Precision, device: torch.device) -> AbstractContextManager[object]:
    """Inside, ``bfloat16`` lets torch choose the operations that are safe in it; weights and losses stay float32."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision == "bfloat16")
