"""The options that several factories share, and the values of Utrera et al. (2021) for them. Light: no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

from annotated_types import Ge

from advtransfer.toolkit.recipe import Schedule
from advtransfer.types import Json, NotAsked

Count: TypeAlias = Annotated[int, Ge(1)]
Epochs: TypeAlias = tuple[Count, ...]

Cached: TypeAlias = Annotated[bool, NotAsked()]
"""Whether what frozen layers give is kept in the cache for other fits; the bits are the same."""

HeadInit: TypeAlias = Literal["default", "normal"]
"""``default``: torch's for a linear layer; ``normal``: weights from N(0, 1) and zero biases (Utrera et al., 2021)."""

THIRDS = Schedule(kind="step", milestones=(1 / 3, 2 / 3))
"""A tenth of the rate after each third: the schedule of Utrera et al. (2021) over 150 epochs."""

UTRERA2021: Mapping[str, Json] = {
    "epochs": 150,
    "batch_size": 128,
    "optimiser": {"kind": "sgd", "lr": 0.1, "momentum": 0.9, "weight_decay": 5e-4, "nesterov": False},
    "schedule": {"kind": "step", "milestones": THIRDS.milestones, "gamma": 0.1, "warmup": 0.0},
    "head_init": "normal",
}
"""Utrera et al. (2021) from 3,200 images on; what the paper leaves out is from the authors' code."""

# the authors step every 100 // 3 epochs, and so a third time before the last one
UTRERA2021_FEW: Mapping[str, Json] = {
    **UTRERA2021,
    "epochs": 100,
    "schedule": {"kind": "step", "milestones": (0.33, 0.66, 0.99), "gamma": 0.1, "warmup": 0.0},
}
"""The same up to 1,600 images."""

AUGMENTED: Mapping[str, Json] = {"augment": ("pad_crop", "flip", "colour_jitter", "rotation")}
"""The changes to training images that the authors' code makes, in its order."""


def utrera2021(more: Mapping[str, Json]) -> Mapping[str, Mapping[str, Json]]:
    """The presets of a factory that takes, beside the recipe, `more`."""
    return {"utrera2021": {**UTRERA2021, **more}, "utrera2021_few": {**UTRERA2021_FEW, **more}}
