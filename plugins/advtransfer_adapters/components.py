"""Factories of the adapters and of the transfer that learns an affine map.

They import torch only when one is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

from annotated_types import Ge, MinLen

from advtransfer.precheck import precheck
from advtransfer.toolkit.training_config import Adam, Augment, OptimizerConfig, Schedule
from advtransfer.types import Adapter, Json, Transfer, component
from advtransfer_adapters import options, shapes
from advtransfer_adapters.options import Form, LowRank


@component(identity=True)
def identity() -> Adapter:
    """Images as they are; what a cell without an adapter does."""
    from advtransfer_adapters import fixed

    return fixed.identity_adapter()


@precheck(check=shapes.source_shape_check("resize", shapes.after_resize))
@component(version=2)
def resize(*, grid: Literal["centred", "corner"] = "centred") -> Adapter:
    """Images scaled to the source's height and width; channels stay.

    Larger by bilinear interpolation; smaller by the mean over whole blocks of pixels where both sides are divided by
    an integer, and by bilinear interpolation with antialiasing otherwise. Chan et al. (2020), section 4.3.1.

    Args:
        grid: Where pixels lie: ``centred`` in the middle of their cells; ``corner`` at their upper left corners, which
            is what TensorFlow 1 does in the paper's released code: bilinear interpolation both ways, no antialiasing.
    """
    from advtransfer_adapters import fixed

    return fixed.resize_adapter(grid=grid)


@precheck(check=shapes.source_shape_check("channel_mean", shapes.after_channel_mean))
def channel_mean() -> Adapter:
    """The mean over the channels, as one channel: colour images for a source of grey ones."""
    from advtransfer_adapters import fixed

    return fixed.channel_mean_adapter()


@precheck(check=shapes.source_shape_check("channel_repeat", shapes.after_channel_repeat))
def channel_repeat() -> Adapter:
    """The one channel of grey images, repeated for each channel of the source."""
    from advtransfer_adapters import fixed

    return fixed.channel_repeat_adapter()


@precheck(check=shapes.source_shape_check("centre_crop", shapes.after_center_crop))
def centre_crop() -> Adapter:
    """The window in the middle, of the source's height and width (Chan et al., 2020, section 4.3.2).

    Outside the window the gradient is zero. Of an odd margin, the smaller half is above and to the left.
    """
    from advtransfer_adapters import fixed

    return fixed.center_crop_adapter()


@precheck(check=shapes.source_shape_check("pad", shapes.after_pad))
def pad(*, value: float = 0.0) -> Adapter:
    """The image in the middle of a field of the source's height and width (Chan et al., 2020, section 4.3.3).

    Of an odd margin, the smaller half is above and to the left.

    Args:
        value: What the field is filled with, in the unit of the pixels.
    """
    from advtransfer_adapters import fixed

    return fixed.pad_adapter(value=value)


@precheck(check=shapes.source_shape_check("random_pad", shapes.after_pad))
def random_pad(*, value: float = 0.0) -> Adapter:
    """As `pad`, but in training mode each image lies at a random place of the field (Chan et al., 2020, section 5.1.2).

    Every place is as likely as any other. The paper does not say what it draws from.

    Args:
        value: What the field is filled with, in the unit of the pixels.
    """
    from advtransfer_adapters import fixed

    return fixed.random_pad_adapter(value=value)


@precheck(
    check=shapes.source_shape_check("transposed_convolution", shapes.after_transposed_convolution)
)
def transposed_convolution(*, kernel: Annotated[int, Ge(1)] = 3, bias: bool = True) -> Adapter:
    """One learned transposed convolution from the target's channels, height and width to larger ones of the source.

    Chan et al. (2020), section 5.1.2, with a kernel of 3 from 32 to 64 pixels. The stride is the ratio of the sides,
    which must be whole. The transfer that uses it draws its weights and trains it together with the new logit layer.

    Args:
        kernel: The sides of its kernel; the paper has 3.
        bias: Whether each output channel has an offset; the paper does not say.
    """
    from advtransfer_adapters.upsampling import TransposedConvolution

    return TransposedConvolution(kernel=kernel, bias=bias)


def chain(*, parts: Annotated[tuple[Adapter, ...], MinLen(1)]) -> Adapter:
    """Several adapters, one after another.

    Args:
        parts: The adapters from the target's side to the source's, each an entry of the suite or written in place.
            Each works on the shape that the one before it gives.
    """
    from advtransfer_adapters.chained import AdapterChain

    return AdapterChain(parts)


@component(suits=True, version=2)
def auto() -> Adapter:
    """Whatever makes the shapes agree: the channels' mean or repetition where they differ, then `resize`."""
    from advtransfer_adapters.chained import AutomaticAdapter

    return AutomaticAdapter()


PositiveInt: TypeAlias = Annotated[int, Ge(1)]
SourceOutputs: TypeAlias = Annotated[tuple[Annotated[int, Ge(0)], ...], MinLen(1)]

_DEFAULT_FORM, _DEFAULT_OPTIMIZER, _DEFAULT_SCHEDULE = LowRank(), Adam(lr=0.01), Schedule()

ELSAYED2019: Mapping[str, Json] = {
    "form": {"kind": "spatial", "scale": False, "where": "margin", "bound": 0.5},
    "labels": "map",
    "optimiser": {"kind": "adam", "lr": 0.05},
}
"""A program around the image, and the source's first outputs (Elsayed, Goodfellow and Sohl-Dickstein, 2019).

Theirs is tanh(W * M) for pixels in [-1, 1] and a mask M of the margin: half of it, around grey, for pixels in [0, 1].
The learning rate is that of public re-implementations.
"""


@precheck(check=options.affine_misfits)
@component(
    needs=("source",),
    tasks=("classes", "attributes", "values"),
    presets={"elsayed2019": ELSAYED2019},
)
def affine(
    *,
    form: Form = _DEFAULT_FORM,
    labels: Literal["new", "map"] | SourceOutputs = "new",
    epochs: PositiveInt = 60,
    batch_size: PositiveInt = 32,
    optimiser: OptimizerConfig = _DEFAULT_OPTIMIZER,
    schedule: Schedule = _DEFAULT_SCHEDULE,
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
    from advtransfer_adapters.affine_transfer import AffineTransfer

    if isinstance(labels, tuple) and len(set(labels)) < len(labels):
        raise ValueError(
            f"found labels {list(labels)}; expected each output of the source at most once; name others"
        )
    return AffineTransfer(
        form=form,
        labels=labels,
        epochs=epochs,
        batch_size=batch_size,
        optimiser=optimiser,
        schedule=schedule,
        augment=augment,
    )
