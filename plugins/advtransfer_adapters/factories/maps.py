"""Maps from target images to what a source takes, as adapters. Light: torch is imported when one is built."""

from __future__ import annotations

from typing import Annotated, Literal

from annotated_types import Ge, MinLen

from advtransfer.precheck import precheck
from advtransfer.types import Adapter, component
from advtransfer_adapters import shapes


@component(identity=True)
def identity() -> Adapter:
    """Images as they are; what a cell without an adapter does."""
    from advtransfer_adapters import fixed

    return fixed.identity()


@precheck(check=shapes.leads_to_source("resize", shapes.resize))
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

    return fixed.resize(grid=grid)


@precheck(check=shapes.leads_to_source("channel_mean", shapes.channel_mean))
def channel_mean() -> Adapter:
    """The mean over the channels, as one channel: colour images for a source of grey ones."""
    from advtransfer_adapters import fixed

    return fixed.channel_mean()


@precheck(check=shapes.leads_to_source("channel_repeat", shapes.channel_repeat))
def channel_repeat() -> Adapter:
    """The one channel of grey images, repeated for each channel of the source."""
    from advtransfer_adapters import fixed

    return fixed.channel_repeat()


@precheck(check=shapes.leads_to_source("centre_crop", shapes.centre_crop))
def centre_crop() -> Adapter:
    """The window in the middle, of the source's height and width (Chan et al., 2020, section 4.3.2).

    Outside the window the gradient is zero. Of an odd margin, the smaller half is above and to the left.
    """
    from advtransfer_adapters import fixed

    return fixed.centre_crop()


@precheck(check=shapes.leads_to_source("pad", shapes.pad))
def pad(*, value: float = 0.0) -> Adapter:
    """The image in the middle of a field of the source's height and width (Chan et al., 2020, section 4.3.3).

    Of an odd margin, the smaller half is above and to the left.

    Args:
        value: What the field is filled with, in the unit of the pixels.
    """
    from advtransfer_adapters import fixed

    return fixed.pad(value=value)


@precheck(check=shapes.leads_to_source("random_pad", shapes.pad))
def random_pad(*, value: float = 0.0) -> Adapter:
    """As `pad`, but in training mode each image lies at a random place of the field (Chan et al., 2020, section 5.1.2).

    Every place is as likely as any other. The paper does not say what it draws from.

    Args:
        value: What the field is filled with, in the unit of the pixels.
    """
    from advtransfer_adapters import fixed

    return fixed.random_pad(value=value)


@precheck(check=shapes.leads_to_source("transposed_convolution", shapes.transposed_convolution))
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
    from advtransfer_adapters.chained import Chain

    return Chain(parts)


@component(suits=True, version=2)
def auto() -> Adapter:
    """Whatever makes the shapes agree: the channels' mean or repetition where they differ, then `resize`."""
    from advtransfer_adapters.chained import Automatic

    return Automatic()
