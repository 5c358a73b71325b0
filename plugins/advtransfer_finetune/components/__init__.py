"""Factories of the transfers. They import torch only when a component is built."""

from __future__ import annotations

from advtransfer_finetune.components.baselines import adversarial, scratch, unchanged
from advtransfer_finetune.components.few_weights import bitfit, lora
from advtransfer_finetune.components.probes import linear_probe, logit_affine
from advtransfer_finetune.components.starting_points import l2_sp, lp_ft, lwf
from advtransfer_finetune.components.transferability import controlled_transferability
from advtransfer_finetune.components.tunings import blocks, full

__all__ = [
    "adversarial",
    "bitfit",
    "blocks",
    "controlled_transferability",
    "full",
    "l2_sp",
    "linear_probe",
    "logit_affine",
    "lora",
    "lp_ft",
    "lwf",
    "scratch",
    "unchanged",
]
