"""Hooks of the fine-tuning plugin.

Probes on frozen features or logits, fine-tuning, and baselines without a source.
"""

from __future__ import annotations

from collections.abc import Iterable

from advtransfer.hookspecs import hookimpl
from advtransfer.types import Factory, Transfer
from advtransfer_finetune.components import (
    adversarial,
    blocks,
    full,
    linear_probe,
    logit_affine,
    scratch,
    unchanged,
)


@hookimpl
def register_transfers() -> Iterable[Factory[Transfer]]:
    """Return the probes, the fine-tunings, the baselines without a source and the unchanged source."""
    return [linear_probe, logit_affine, blocks, full, scratch, adversarial, unchanged]
