"""Factories of the adapters and of the transfer that learns an affine map.

They import torch only when a component is built.
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
    """Pass images on unchanged, like a cell without an adapter."""
    from advtransfer_adapters import fixed

    return fixed.identity_adapter()


@precheck(check=shapes.source_shape_check("resize", shapes.after_resize))
@component(version=2)
def resize(*, grid: Literal["centred", "corner"] = "centred") -> Adapter:
    """Scale images to the source's height and width; channels stay.

    Enlarges by bilinear interpolation. Shrinks by the mean over whole blocks of pixels where both
    sides are divided by an integer, and by bilinear interpolation with antialiasing otherwise. Chan
    et al. (2020), section 4.3.1.

    Args:
        grid: Position of the pixels: ``centred`` in the middle of their cells; ``corner`` at their
            upper left corners, as in TensorFlow 1 and the paper's released code: bilinear
            interpolation both ways, without antialiasing.
    """
    from advtransfer_adapters import fixed

    return fixed.resize_adapter(grid=grid)


@precheck(check=shapes.source_shape_check("channel_mean", shapes.after_channel_mean))
def channel_mean() -> Adapter:
    """Average the channels into one: colour images for a source of grey ones."""
    from advtransfer_adapters import fixed

    return fixed.channel_mean_adapter()


@precheck(check=shapes.source_shape_check("channel_repeat", shapes.after_channel_repeat))
def channel_repeat() -> Adapter:
    """Repeat the one channel of grey images for each channel of the source."""
    from advtransfer_adapters import fixed

    return fixed.channel_repeat_adapter()


@precheck(check=shapes.source_shape_check("centre_crop", shapes.after_center_crop))
def centre_crop() -> Adapter:
    """Crop the middle of the image, of the source's height and width.

    Chan et al. (2020), section 4.3.2. Outside the window the gradient is zero. Of an odd margin,
    the smaller half is above and to the left.
    """
    from advtransfer_adapters import fixed

    return fixed.center_crop_adapter()


@precheck(check=shapes.source_shape_check("pad", shapes.after_pad))
def pad(*, value: float = 0.0) -> Adapter:
    """Put the image in the middle of a frame of the source's height and width.

    Chan et al. (2020), section 4.3.3. Of an odd margin, the smaller half is above and to the left.

    Args:
        value: Value of the frame, in the unit of the pixels.
    """
    from advtransfer_adapters import fixed

    return fixed.pad_adapter(value=value)


@precheck(check=shapes.source_shape_check("random_pad", shapes.after_pad))
def random_pad(*, value: float = 0.0) -> Adapter:
    """Pad like `pad`, but with each image at a random place in training mode.

    Chan et al. (2020), section 5.1.2. Every place is equally likely; the paper does not give its
    distribution.

    Args:
        value: Value of the frame, in the unit of the pixels.
    """
    from advtransfer_adapters import fixed

    return fixed.random_pad_adapter(value=value)


@precheck(
    check=shapes.source_shape_check("transposed_convolution", shapes.after_transposed_convolution)
)
def transposed_convolution(*, kernel: Annotated[int, Ge(1)] = 3, bias: bool = True) -> Adapter:
    """Enlarge images by one learned transposed convolution to the source's shape.

    Chan et al. (2020), section 5.1.2, with a kernel of 3 from 32 to 64 pixels. The stride is the
    ratio of the sides, which must be whole. The transfer that uses it draws its weights and trains
    it together with the new logit layer.

    Args:
        kernel: Side of the kernel; 3 in the paper.
        bias: Give each output channel an offset; the paper does not say.
    """
    from advtransfer_adapters.learned import TransposedConvolution

    return TransposedConvolution(kernel=kernel, bias=bias)


def chain(*, parts: Annotated[tuple[Adapter, ...], MinLen(1)]) -> Adapter:
    """Apply several adapters one after another.

    Args:
        parts: The adapters from the target's side to the source's, each an entry of the suite or an
            inline entry. Each works on the shape that the one before it gives.
    """
    from advtransfer_adapters.chained import AdapterChain

    return AdapterChain(parts)


@component(suits=True, version=2)
def auto() -> Adapter:
    """Make the shapes agree: mean or repetition of channels where they differ, then `resize`."""
    from advtransfer_adapters.chained import AutomaticAdapter

    return AutomaticAdapter()


PositiveInt: TypeAlias = Annotated[int, Ge(1)]
SourceOutputs: TypeAlias = Annotated[tuple[Annotated[int, Ge(0)], ...], MinLen(1)]

_DEFAULT_FORM = LowRank()
_DEFAULT_OPTIMIZER = Adam(lr=0.01)
_DEFAULT_SCHEDULE = Schedule()

ELSAYED2019: Mapping[str, Json] = {
    "form": {"kind": "spatial", "scale": False, "where": "margin", "bound": 0.5},
    "labels": "map",
    "optimiser": {"kind": "adam", "lr": 0.05},
}
"""A program around the image, and the source's first outputs.

Elsayed, Goodfellow and Sohl-Dickstein (2019). Their program is tanh(W * M) for pixels in [-1, 1] and
a mask M of the margin. For pixels in [0, 1] it is half of that, around grey. The learning rate is
that of public re-implementations.
"""


@precheck(check=options.affine_misfits)
@component(
    version=2,
    needs=("source",),
    tasks=("classes", "attributes", "values"),
    presets={"elsayed2019": ELSAYED2019},
    example={"epochs": 2, "batch_size": 16},
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
    """Train an affine map of the source's inputs, x' = A x + b, in front of the frozen source.

    Liang et al. (2021) measure how well an affine map of a source's outputs fits the target; this
    maps the source's inputs instead. With ``labels: map`` it is adversarial reprogramming (Elsayed,
    Goodfellow and Sohl-Dickstein, 2019): the preset ``elsayed2019`` behind ``{use: adapters/pad,
    value: 0.5}`` is their program around the image, but without their penalty on it, and with other
    epochs, batch size and schedule.

    The map starts as the cell's adapter, the identity where it has none, and weight decay pulls it
    back there; a learned adapter is trained with it. The source stays as it is, including its batch
    normalisation. Its inputs x' are not clamped: a clamp would not be affine, and would hide
    gradients from attacks.

    Args:
        form: Learned part of A and b. ``{kind: low_rank, rank}``: fixed(x) + U V x + b; ``{kind:
            full}``: all entries, for small inputs; ``{kind: per_channel, mixing}``: fixed(M x + c)
            with a matrix over the channels, or a factor for each where `mixing` is false; ``{kind:
            spatial, scale, where, bound}``: s * fixed(x) + p, a factor (1 without `scale`) and an
            offset for each entry of the source's input, the offset ``everywhere`` or in the
            ``margin`` that a pad leaves around the centred image, and kept within `bound` by tanh.
        labels: ``new``: a new logit layer on the source's features; ``map``: the target's output k
            is the source's output k; a list: the source's k-th output of the list, each at most
            once.
        epochs: Number of times that each image is seen.
        batch_size: Images per step.
        optimiser: The optimizer and its largest learning rate, for the map and a new logit layer
            alike.
        schedule: The learning rate over the training.
        augment: Changes to each training image, before the map, as in finetune/blocks.
    """
    from advtransfer_adapters.affine_transfer import AffineTransfer

    if isinstance(labels, tuple) and len(set(labels)) < len(labels):
        raise ValueError(
            f"found labels {list(labels)}; expected each output of the source at most once; "
            "name others"
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
