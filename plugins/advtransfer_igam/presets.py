"""The experiments of Chan et al. (2020), one preset for each row of its appendix A. Light: no torch.

What the appendix leaves open is as in the released code (github.com/alvinchangw/IGAM_CVPR2020), which has the
experiments ``cifar100-cifar10`` and ``cifar10-upsize``: gradients of the true class's probability, summed squared
differences, 320,000 steps on batches of 32 of which the last eighth has the two terms.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from advtransfer.types import Json

PIXELS = 255**2
"""The paper's pixels lie in [0, 255]: its squared input gradients are so many times smaller than those on [0, 1]."""

WIDE, NARROW = (16, 32, 64, 128, 256), (8, 16, 32, 64)
CIFAR, TINY_IMAGENET = 205, 102  # epochs of some 320,000 steps on 50,000 and on 100,000 images


def _preset(
    lambda_adv: float,
    lambda_diff: float,
    channels: Sequence[int],
    every: int,
    *,
    epochs: int,
    teacher_epochs: int,
    input_noise: float = 0.0,
) -> Mapping[str, Json]:
    sgd: dict[str, Json] = {"kind": "sgd", "lr": 0.1, "momentum": 0.9}
    return {
        "lambda_adv": lambda_adv,
        "lambda_diff": lambda_diff / PIXELS,
        "gradient_of": "probability",
        "reduction": "sum",
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
        "discriminator": {"channels": list(channels), "every": every, "optimiser": {**sgd, "weight_decay": 2e-4}},
    }


PRESETS: Mapping[str, Mapping[str, Json]] = {
    "cifar10-mnist": _preset(1.0, 100.0, WIDE, 10, epochs=CIFAR, teacher_epochs=10),
    "cifar10-transposed_convolution": _preset(1.0, 10.0, NARROW, 5, epochs=CIFAR, teacher_epochs=6),
    "cifar10-random_pad": _preset(1.0, 10.0, NARROW, 5, epochs=CIFAR, teacher_epochs=6),
    "cifar10-pad": _preset(2.0, 20.0, NARROW, 5, epochs=CIFAR, teacher_epochs=6),
    "cifar10-upsize": _preset(5.0, 10.0, NARROW, 5, epochs=CIFAR, teacher_epochs=6),
    "cifar100-mnist": _preset(0.1, 200.0, WIDE, 5, epochs=CIFAR, teacher_epochs=10),
    "cifar100-cifar10": _preset(2.0, 10.0, WIDE, 10, epochs=CIFAR, teacher_epochs=6, input_noise=8 / 255),
    "tiny_imagenet-cifar10-resize": _preset(0.1, 200.0, NARROW, 5, epochs=TINY_IMAGENET, teacher_epochs=5),
    "tiny_imagenet-cifar10-crop": _preset(2.0, 50.0, NARROW, 5, epochs=TINY_IMAGENET, teacher_epochs=5),
    "tiny_imagenet-cifar100-resize": _preset(0.1, 200.0, NARROW, 5, epochs=TINY_IMAGENET, teacher_epochs=5),
    "tiny_imagenet-cifar100-crop": _preset(0.5, 200.0, NARROW, 5, epochs=TINY_IMAGENET, teacher_epochs=5),
}
