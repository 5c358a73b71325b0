"""Discriminator of student and teacher input gradients, and its training during the student's."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from advtransfer.toolkit.checkpoint import Checkpoint
from advtransfer.toolkit.model_modes import weights_frozen
from advtransfer.toolkit.rng import build_initialized
from advtransfer.toolkit.training import make_optimizer
from advtransfer.toolkit.training_config import OptimizerConfig, Schedule
from advtransfer.types import Context, Shape
from advtransfer_igam.input_gradients import l2_standardized
from advtransfer_igam.options import DiscriminatorConfig

KERNEL_SIZE = 4
STRIDE = 2
LEAKY_SLOPE = 0.1
STUDENT_CLASS = 0
TEACHER_CLASS = 1
"""Classes of the discriminator."""


class Discriminator(nn.Module):
    """Classifier of input gradients ``(B, *shape)``, to logits ``(B, 2)``; 1 is the teacher's.

    Convolutions of 4 x 4 pixels and stride 2, each with batch normalisation and a leaky rectifier,
    then a linear layer (released code of Chan et al., 2020). Each gradient is first centred and
    divided by its l2 norm. Batch normalisation uses the batch's statistics in every mode, as in
    that code.

    Args:
        shape: ``(C, H, W)`` of one gradient.
        channels: Output channels of each convolution.
    """

    def __init__(self, shape: Shape, channels: Sequence[int]) -> None:
        super().__init__()
        sides = [math.ceil(side / STRIDE ** len(channels)) for side in shape[1:]]
        widths = (shape[0], *channels)
        self.blocks = nn.Sequential(*map(_ConvolutionBlock, widths, channels))
        self.head = nn.Linear(channels[-1] * math.prod(sides), 2)
        # As TensorFlow's "uniform unit scaling", which the released code uses.
        bound = math.sqrt(3 / self.head.in_features)
        nn.init.uniform_(self.head.weight, -bound, bound)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                nn.init.zeros_(parameter)

    def forward(self, *gradients: Tensor) -> Tensor:
        """Return the logits ``(sum of B, 2)`` of several batches ``(B, *shape)``.

        The batches are joined, and share the statistics of batch normalisation.
        """
        first, *others = self.blocks
        images = first(*map(l2_standardized, gradients))
        for block in others:
            images = block(images)
        logits: Tensor = self.head(images.flatten(1))
        return logits

    def classification_loss(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the cross-entropy, averaged over both models' gradients.

        It is -L_adv / 2 of Chan et al. (2020, equation 10), and ``log(2)`` for a discriminator that
        cannot distinguish the two.
        """
        logits = self(student, teacher)
        classes = [STUDENT_CLASS] * len(student) + [TEACHER_CLASS] * len(teacher)
        labels = torch.tensor(classes, device=logits.device)
        return functional.cross_entropy(logits, labels)


class _ConvolutionBlock(nn.Module):
    """A convolution that halves the sides, rounding up, with normalisation and activation."""

    def __init__(self, inner: int, outer: int) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(
            inner, outer, KERNEL_SIZE, stride=STRIDE, padding=(KERNEL_SIZE - STRIDE) // 2
        )
        # Initialisation of the released code: N(0, sqrt(2 / (k^2 * out))).
        nn.init.normal_(self.convolution.weight, std=math.sqrt(2 / (KERNEL_SIZE**2 * outer)))
        self.norm = nn.BatchNorm2d(outer, eps=1e-3, track_running_stats=False)

    def forward(self, *batches: Tensor) -> Tensor:
        """Return one batch of halved images from several batches ``(B, inner, H, W)``.

        ``(sum of B, outer, H / 2, W / 2)``
        """
        # The batches go through the convolution one by one. Backward then skips those that need
        # no gradient, in the layer with the largest images.
        outputs = [self.convolution(_pad_to_even(batch)) for batch in batches]
        joined = torch.cat(outputs) if len(outputs) > 1 else outputs[0]
        return functional.leaky_relu(self.norm(joined), LEAKY_SLOPE)


def _pad_to_even(images: Tensor) -> Tensor:
    """Return the images with one more row below and column to the right of odd sides.

    TensorFlow's padding "SAME" does the same.
    """
    height, width = images.shape[-2:]
    rows = height % 2
    columns = width % 2
    return functional.pad(images, (0, columns, 0, rows)) if rows or columns else images


@dataclass(frozen=True, slots=True)
class DiscriminatorTraining:
    """A discriminator in training. The caller keeps its state.

    Args:
        discriminator: The network, in training mode.
        optimizer: Its optimizer.
        optimizer_config: Options of the optimizer.
        schedule: The learning rate over the whole training.
        every: Steps of the student per step of the discriminator.
        kernel_decay: Weight of half the squared l2 norm of its kernels.
    """

    discriminator: Discriminator
    optimizer: torch.optim.Optimizer
    optimizer_config: OptimizerConfig
    schedule: Schedule
    every: int
    kernel_decay: float = 0.0

    @classmethod
    def from_config(
        cls,
        config: DiscriminatorConfig,
        shape: Shape,
        *,
        optimiser: OptimizerConfig,
        schedule: Schedule,
        context: Context,
    ) -> DiscriminatorTraining:
        """Return a new discriminator of gradients of that shape.

        `optimiser` and `schedule` are used where the configuration names none.
        """
        generator = context.generator("discriminator")
        network = build_initialized(lambda: Discriminator(shape, config.channels), generator)
        network = network.to(context.device).train()
        optimizer_config = config.optimiser or optimiser
        return cls(
            discriminator=network,
            optimizer=make_optimizer(optimizer_config, network.parameters()),
            optimizer_config=optimizer_config,
            schedule=config.schedule or schedule,
            every=config.every,
            kernel_decay=config.kernel_decay,
        )

    def loss_for_student(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Return the cross-entropy, differentiable with respect to the gradients.

        The discriminator's own weights get no gradients.
        """
        # The student's step must not leave gradients in the discriminator.
        with weights_frozen(self.discriminator):
            return self.discriminator.classification_loss(student, teacher)

    def train_step(self, student: Tensor, teacher: Tensor, *, done: float) -> None:
        """Take one step on detached gradients.

        Args:
            student: Gradients of the student, ``(B, *shape)``.
            teacher: Gradients of the teacher, ``(B, *shape)``.
            done: Share of the whole training that is over; it sets the learning rate.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = self.optimizer_config.lr * self.schedule.rate_factor(done)
        self.optimizer.zero_grad()
        loss = self.discriminator.classification_loss(student, teacher)
        if self.kernel_decay:
            loss = loss + self.kernel_decay * half_squared_norm(self.discriminator)
        loss.backward()  # type: ignore[no-untyped-call]  # torch does not annotate backward
        self.optimizer.step()

    def pack_state(self) -> dict[str, Tensor]:
        """Return the weights and momenta by name."""
        return self._make_checkpoint().pack([], {})

    def restore_state(self, state: dict[str, Tensor]) -> None:
        """Restore the weights and momenta, if the state has them."""
        self._make_checkpoint().unpack(state)

    def _make_checkpoint(self) -> Checkpoint:
        return Checkpoint(self.discriminator, self.optimizer, {}, "discriminator")


def half_squared_norm(model: nn.Module) -> Tensor:
    """Return half the squared l2 norm of all trained kernels of convolutions and linear layers.

    The released code of Chan et al. (2020) decays these only, neither biases nor batch
    normalisation, of the student and of the discriminator.
    """
    layers = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    squares = [layer.weight.square().sum() for layer in layers if layer.weight.requires_grad]
    return 0.5 * torch.stack(squares).sum()
