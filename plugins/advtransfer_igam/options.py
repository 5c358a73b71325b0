"""Options, presets of Chan et al. (2020), and the checks of options. Does not import torch.

There is one preset for each row of appendix A of the paper. Values that the appendix leaves open
are those of the released code (github.com/alvinchangw/IGAM_CVPR2020), which has the experiments
``cifar100-cifar10`` and ``cifar10-upsize``: gradients of the true class's probability, summed
squared differences, and 320,000 steps on batches of 32, of which the last eighth has the two terms.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from advtransfer.precheck import CellOutline, Misfit, OptionValues, Outline
from advtransfer.toolkit.option_checks import adversary_misfits, augment_misfits, network_misfits
from advtransfer.toolkit.training_config import Adam, OptimizerConfig, Schedule, require_field
from advtransfer.types import Json

GradientTarget: TypeAlias = Literal["loss", "probability"]
MatchTarget: TypeAlias = Literal["teacher", "zero", "image"]
"""What the student's gradients are matched with: the teacher's, or zeros or images as controls."""

Reduction: TypeAlias = Literal["sum", "sample_mean", "mean"]

_TEACHER_OPTIMIZER = Adam(lr=1e-3)


@dataclass(frozen=True, slots=True, kw_only=True)
class TeacherConfig:
    """Tuning of the teacher's new logit layer; other weights are frozen but a learned adapter's.

    Args:
        epochs: Number of times that each image is seen.
        batch_size: Images per step.
        optimiser: The optimizer and its learning rate, which is constant.
        batch_norm: ``running`` uses the statistics that came with the teacher; ``batch`` those of
            each batch, here and while its gradients are matched, as in the paper's released code.
            The teacher's own statistics are never changed.
    """

    epochs: int = 30
    batch_size: int = 32
    optimiser: OptimizerConfig = _TEACHER_OPTIMIZER
    batch_norm: Literal["running", "batch"] = "running"

    def __post_init__(self) -> None:
        require_field(self.epochs >= 1, "epochs", self.epochs, "at least 1")
        require_field(self.batch_size >= 1, "batch_size", self.batch_size, "at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class DiscriminatorConfig:
    """The discriminator and its training.

    Args:
        channels: Output channels of its convolutions, each of which halves the sides.
        every: Steps of the student per step of the discriminator.
        optimiser: The optimizer and its largest learning rate; by default the student's.
        schedule: The learning rate over the training; by default the student's.
        kernel_decay: Weight of half the squared l2 norm of its convolution and linear kernels; the
            optimizer's `weight_decay` applies to all of its weights.
    """

    channels: tuple[int, ...] = (8, 16, 32, 64)
    every: int = 5
    optimiser: OptimizerConfig | None = None
    schedule: Schedule | None = None
    kernel_decay: float = 0.0

    def __post_init__(self) -> None:
        has_channels = bool(self.channels) and min(self.channels) >= 1
        require_field(
            has_channels, "channels", self.channels, "one number from 1 for each convolution"
        )
        require_field(self.every >= 1, "every", self.every, "at least 1")
        require_field(self.kernel_decay >= 0, "kernel_decay", self.kernel_decay, "a number from 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class LossTerms:
    """Terms added to the student's cross-entropy.

    Args:
        lambda_adv: Weight of the discriminator's cross-entropy, which the student maximises.
        lambda_diff: Weight of the squared distance between the input gradients.
        gradient_of: Quantity that is differentiated with respect to the image.
        reduction: Reduction of the squared differences to one number.
        warm_up: Share of the training before both terms begin.
        kernel_decay: Weight of half the squared l2 norm of convolution and linear kernels.
        input_noise: Largest uniform change of each pixel, clipped to the bounds.
    """

    lambda_adv: float
    lambda_diff: float
    gradient_of: GradientTarget
    reduction: Reduction
    warm_up: float
    kernel_decay: float
    input_noise: float


PIXEL_SCALE_SQUARED = 255**2
"""The paper's pixels lie in [0, 255]: its squared gradients are smaller than ours by this factor."""

WIDE_CHANNELS = (16, 32, 64, 128, 256)
NARROW_CHANNELS = (8, 16, 32, 64)
# About 320,000 steps of 32 images, on 50,000 and on 100,000 images.
CIFAR_EPOCHS = 205
TINY_IMAGENET_EPOCHS = 102


def _paper_preset(
    lambda_adv: float,
    lambda_diff: float,
    channels: Sequence[int],
    every: int,
    *,
    epochs: int,
    teacher_epochs: int,
    input_noise: float = 0.0,
) -> Mapping[str, Json]:
    """Return a preset of appendix A; values not given are the released code's."""
    sgd: dict[str, Json] = {"kind": "sgd", "lr": 0.1, "momentum": 0.9}
    return {
        "lambda_adv": lambda_adv,
        # A gradient with respect to x / 255 is 255 times that with respect to x.
        "lambda_diff": lambda_diff / PIXEL_SCALE_SQUARED,
        "gradient_of": "probability",
        "reduction": "sum",
        # The released scripts add both terms for the last 40,000 of 320,000 steps only.
        "warm_up": 0.875,
        "epochs": epochs,
        "batch_size": 32,
        "optimiser": {**sgd, "weight_decay": 0.0},
        "schedule": {"kind": "step", "milestones": [0.5, 0.75], "gamma": 0.1},
        "augment": ["pad_crop_2", "flip"],
        "kernel_decay": 2e-4,
        "input_noise": input_noise,
        "standardise": "l2",
        "teacher": {"epochs": teacher_epochs, "batch_size": 64, "batch_norm": "batch"},
        "discriminator": {
            "channels": list(channels),
            "every": every,
            "optimiser": {**sgd, "weight_decay": 0.0},
            # The released code decays the variables named `DW`: kernels, neither biases nor
            # batch normalisation.
            "kernel_decay": 2e-4,
        },
    }


PRESETS: Mapping[str, Mapping[str, Json]] = {
    "cifar10-mnist": _paper_preset(
        1.0, 100.0, WIDE_CHANNELS, 10, epochs=CIFAR_EPOCHS, teacher_epochs=10
    ),
    "cifar10-transposed_convolution": _paper_preset(
        1.0, 10.0, NARROW_CHANNELS, 5, epochs=CIFAR_EPOCHS, teacher_epochs=6
    ),
    "cifar10-random_pad": _paper_preset(
        1.0, 10.0, NARROW_CHANNELS, 5, epochs=CIFAR_EPOCHS, teacher_epochs=6
    ),
    "cifar10-pad": _paper_preset(
        2.0, 20.0, NARROW_CHANNELS, 5, epochs=CIFAR_EPOCHS, teacher_epochs=6
    ),
    "cifar10-upsize": _paper_preset(
        5.0, 10.0, NARROW_CHANNELS, 5, epochs=CIFAR_EPOCHS, teacher_epochs=6
    ),
    "cifar100-mnist": _paper_preset(
        0.1, 200.0, WIDE_CHANNELS, 5, epochs=CIFAR_EPOCHS, teacher_epochs=10
    ),
    "cifar100-cifar10": _paper_preset(
        2.0, 10.0, WIDE_CHANNELS, 10, epochs=CIFAR_EPOCHS, teacher_epochs=6, input_noise=8 / 255
    ),
    "tiny_imagenet-cifar10-resize": _paper_preset(
        0.1, 200.0, NARROW_CHANNELS, 5, epochs=TINY_IMAGENET_EPOCHS, teacher_epochs=5
    ),
    "tiny_imagenet-cifar10-crop": _paper_preset(
        2.0, 50.0, NARROW_CHANNELS, 5, epochs=TINY_IMAGENET_EPOCHS, teacher_epochs=5
    ),
    "tiny_imagenet-cifar100-resize": _paper_preset(
        0.1, 200.0, NARROW_CHANNELS, 5, epochs=TINY_IMAGENET_EPOCHS, teacher_epochs=5
    ),
    "tiny_imagenet-cifar100-crop": _paper_preset(
        0.5, 200.0, NARROW_CHANNELS, 5, epochs=TINY_IMAGENET_EPOCHS, teacher_epochs=5
    ),
}


def igam_misfits(chosen: OptionValues, around: CellOutline) -> Iterator[Misfit]:
    """Yield misfits of the student, the attack and the augmentation to the target's images."""
    student = chosen.get("student")
    if isinstance(student, Outline):
        yield from network_misfits(student, around.target, name="student")
    yield from adversary_misfits(chosen["teacher_attack"], around.target, path=("teacher_attack",))
    yield from augment_misfits(chosen["augment"], around.target)
    yield from _comparison_misfits(chosen, around)


def _comparison_misfits(chosen: OptionValues, around: CellOutline) -> Iterator[Misfit]:
    """Yield a comparison of gradients that has no teacher, or no held-out images."""
    if not chosen["compare_gradients"]:
        return
    if chosen["match"] != "teacher":
        yield Misfit(
            ("compare_gradients",),
            f"false with match: {chosen['match']}, which has no teacher",
            "leave it out",
        )
    # Nothing is known of the cell where an entry is checked by itself.
    if around.n is not None and not around.validation:
        yield Misfit(
            ("compare_gradients",),
            "a target with a validation part, on which it measures",
            "give the target a `validation` share",
        )
