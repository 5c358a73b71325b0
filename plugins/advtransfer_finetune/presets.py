"""Presets: the settings of papers. Does not import torch."""

from __future__ import annotations

from collections.abc import Mapping

from advtransfer.types import Json
from advtransfer_finetune.options import STEP_AFTER_EACH_THIRD

UTRERA2021: Mapping[str, Json] = {
    "epochs": 150,
    "batch_size": 128,
    "optimiser": {
        "kind": "sgd",
        "lr": 0.1,
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "nesterov": False,
    },
    "schedule": {
        "kind": "step",
        "milestones": STEP_AFTER_EACH_THIRD.milestones,
        "gamma": 0.1,
        "warmup": 0.0,
    },
    "head_init": "normal",
}
"""Utrera et al. (2021) from 3,200 images on; values not in the paper are those of their code."""

# The authors' code steps every 100 // 3 epochs, and so a third time before the last epoch.
UTRERA2021_FEW: Mapping[str, Json] = {
    **UTRERA2021,
    "epochs": 100,
    "schedule": {"kind": "step", "milestones": (0.33, 0.66, 0.99), "gamma": 0.1, "warmup": 0.0},
}
"""The same up to 1,600 images."""

UTRERA2021_AUGMENT: Mapping[str, Json] = {
    "augment": ("pad_crop", "flip", "colour_jitter", "rotation")
}
"""Augmentations of the authors' code, in its order."""


def utrera2021_presets(more: Mapping[str, Json]) -> Mapping[str, Mapping[str, Json]]:
    """Return the presets of a factory that takes `more` options besides the recipe."""
    return {"utrera2021": {**UTRERA2021, **more}, "utrera2021_few": {**UTRERA2021_FEW, **more}}


SALMAN2020: Mapping[str, Json] = {
    "epochs": 150,
    "batch_size": 64,
    "optimiser": {
        "kind": "sgd",
        "lr": 0.01,
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "nesterov": False,
    },
    "schedule": {
        "kind": "step",
        "milestones": STEP_AFTER_EACH_THIRD.milestones,
        "gamma": 0.1,
        "warmup": 0.0,
    },
    "augment": ("random_resized_crop", "flip"),
    # Also with fixed features: their code trains in training mode throughout.
    "batch_norm": "adapt",
}
"""Salman et al. (2020), appendix A: the rate drops every 50 epochs."""


_CLASSIC: Mapping[str, Json] = {
    "kind": "apgd",
    "norm": "linf",
    "eps": 4 / 255,
    "steps": 10,
    "random_start": False,
}
# Theirs ascends by APGD; TRADES of this project by PGD.
_TRADES: Mapping[str, Json] = {
    "kind": "trades",
    "norm": "linf",
    "eps": 4 / 255,
    "steps": 10,
    "beta": 1.0,
}


def _robustgenbench(
    *, epochs: int, lr: float, adversary: Mapping[str, Json] = _CLASSIC
) -> Mapping[str, Json]:
    """Return a protocol of Heuillet et al. (2025), from their code.

    They search the learning rate and the weight decay of each cell between 1e-6 and 0.1, and 1e-6
    and 0.01, of the head and of the rest by themselves; `lr` is a start for a search of ours.
    """
    return {
        "epochs": epochs,
        "batch_size": 1024,
        "optimiser": {"kind": "adam", "lr": lr, "weight_decay": 1e-4},
        "schedule": {"kind": "cosine", "milestones": (), "gamma": 0.1, "warmup": 0.0},
        "augment": ("flip", "colour_jitter", "rotation"),
        "batch_norm": "adapt",
        "adversary": dict(adversary),
    }


HEAD_PRESETS: Mapping[str, Mapping[str, Json]] = {
    "salman2020_fixed": {"blocks": 0, **SALMAN2020},
    "robustgenbench_lp50": {"blocks": 0, **_robustgenbench(epochs=50, lr=1e-3)},
    "robustgenbench_lp50_trades": {
        "blocks": 0,
        **_robustgenbench(epochs=50, lr=1e-3, adversary=_TRADES),
    },
}
"""Presets that train the head alone."""

FULL_PRESETS: Mapping[str, Mapping[str, Json]] = {
    "salman2020_full": SALMAN2020,
    "robustgenbench_fft50": _robustgenbench(epochs=50, lr=1e-4),
    "robustgenbench_fft5": _robustgenbench(epochs=5, lr=1e-4),
    "robustgenbench_fft50_trades": _robustgenbench(epochs=50, lr=1e-4, adversary=_TRADES),
    "robustgenbench_fft5_trades": _robustgenbench(epochs=5, lr=1e-4, adversary=_TRADES),
}
"""Presets that train all weights."""
