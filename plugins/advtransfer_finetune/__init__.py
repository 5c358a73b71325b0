"""Hooks of the fine-tuning plugin.

Probes on frozen features or logits, fine-tuning, and baselines without a source.
"""

from __future__ import annotations

from collections.abc import Iterable

from advtransfer.hookspecs import hookimpl
from advtransfer.types import Factory, Transfer
from advtransfer_finetune.components import (
    adversarial,
    bitfit,
    blocks,
    controlled_transferability,
    full,
    l2_sp,
    linear_probe,
    logit_affine,
    lora,
    lp_ft,
    lwf,
    scratch,
    unchanged,
)


@hookimpl
def register_transfers() -> Iterable[Factory[Transfer]]:
    """Return the probes, the fine-tunings, the baselines without a source and the unchanged source."""
    probes: list[Factory[Transfer]] = [linear_probe, logit_affine]
    tunings: list[Factory[Transfer]] = [blocks, full, lp_ft, l2_sp, lwf, bitfit, lora]
    more: list[Factory[Transfer]] = [controlled_transferability, scratch, adversarial, unchanged]
    return [*probes, *tunings, *more]
