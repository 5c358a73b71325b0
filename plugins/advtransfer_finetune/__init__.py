"""Fine-tuning: probes on frozen features or logits, some or all blocks of a source with a new head, and baselines.

Light to import: torch and scikit-learn are imported by the factories.
"""

from __future__ import annotations

from collections.abc import Iterable

from advtransfer.hookspecs import hookimpl
from advtransfer.types import Factory, Transfer
from advtransfer_finetune.factories.baselines import adversarial, scratch
from advtransfer_finetune.factories.probes import linear_probe, logit_affine
from advtransfer_finetune.factories.tunings import blocks, full

__all__ = ["adversarial", "blocks", "full", "linear_probe", "logit_affine", "register_transfers", "scratch"]


@hookimpl
def register_transfers() -> Iterable[Factory[Transfer]]:
    """Probes, fine-tunings, and baselines that need no source."""
    return [linear_probe, logit_affine, blocks, full, scratch, adversarial]
