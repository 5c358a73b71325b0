"""The transfer that learns a map in front of a frozen source. Light: torch is imported when one is built."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

from annotated_types import Ge, MinLen

from advtransfer.precheck import precheck
from advtransfer.toolkit.recipe import Adam, Augment, Optimiser, Schedule
from advtransfer.types import Json, Transfer, component
from advtransfer_adapters import checks
from advtransfer_adapters.forms import Form, LowRank

Count: TypeAlias = Annotated[int, Ge(1)]
Outputs: TypeAlias = Annotated[tuple[Annotated[int, Ge(0)], ...], MinLen(1)]

_FORM, _OPTIMISER, _SCHEDULE = LowRank(), Adam(lr=0.01), Schedule()

ELSAYED2019: Mapping[str, Json] = {
    "form": {"kind": "spatial", "scale": False, "where": "margin", "bound": 0.5},
    "labels": "map",
    "optimiser": {"kind": "adam", "lr": 0.05},
}
"""A program around the image, and the source's first outputs (Elsayed, Goodfellow and Sohl-Dickstein, 2019).

Theirs is tanh(W * M) for pixels in [-1, 1] and a mask M of the margin: half of it, around grey, for pixels in [0, 1].
The learning rate is that of public re-implementations.
"""


@precheck(check=checks.affine)
@component(needs=("source",), tasks=("classes", "attributes", "values"), presets={"elsayed2019": ELSAYED2019})
def affine(
    *,
    form: Form = _FORM,
    labels: Literal["new", "map"] | Outputs = "new",
    epochs: Count = 60,
    batch_size: Count = 32,
    optimiser: Optimiser = _OPTIMISER,
    schedule: Schedule = _SCHEDULE,
    augment: Augment = "none",
) -> Transfer:
    """An affine map of the source's inputs, x' = A x + b, trained in front of the frozen source.

    Liang et al. (2021) ask how well an affine map of what a source gives fits the target; this asks it of what the
    source is given. With ``labels: map`` it is adversarial reprogramming (Elsayed, Goodfellow and Sohl-Dickstein,
    2019): the preset ``elsayed2019`` behind ``{use: adapters/pad, value: 0.5}`` is their program around the image, but
    without their penalty on it, and with epochs, batch size and schedule that are not theirs.

    The map starts as the cell's adapter, the identity where it has none, and weight decay pulls it back there; an
    adapter that is learned is trained with it. The source stays as it is, its batch normalisation too. It gets x'
    unclamped: a clamp would not be affine, and would hide gradients from attacks.

    Args:
        form: What of A and b is learned. ``{kind: low_rank, rank}``: fixed(x) + U V x + b; ``{kind: full}``: all of
            it, for small inputs; ``{kind: per_channel, mixing}``: fixed(M x + c) with a matrix over the channels, or
            a factor for each where `mixing` is false; ``{kind: spatial, scale, where, bound}``: s * fixed(x) + p, a
            factor (without `scale` it is 1) and an offset for each entry of the source's input, the offset
            ``everywhere`` or in the ``margin`` that a pad leaves around the centred image, and kept within `bound` by
            tanh.
        labels: ``new``: a new logit layer on the source's features; ``map``: the target's output k is the source's
            output k; a list: the source's k-th output of the list, each at most once.
        epochs: How often each image is seen.
        batch_size: Images in a step.
        optimiser: The optimiser and its largest learning rate, for the map and a new logit layer alike.
        schedule: The learning rate over the training.
        augment: Changes to each training image, before the map, as in finetune/blocks.
    """
    from advtransfer_adapters.composition import AffineComposition

    if isinstance(labels, tuple) and len(set(labels)) < len(labels):
        raise ValueError(f"found labels {list(labels)}; expected each output of the source at most once; name others")
    return AffineComposition(
        form=form,
        labels=labels,
        epochs=epochs,
        batch_size=batch_size,
        optimiser=optimiser,
        schedule=schedule,
        augment=augment,
    )
