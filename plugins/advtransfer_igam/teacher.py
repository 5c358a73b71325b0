"""The teacher, its tuning and its accuracies.

Source, adapter and a new logit layer for the target.
"""

from __future__ import annotations

import copy
from dataclasses import asdict
from typing import Literal

import torch
from torch import Tensor, nn

from advtransfer.toolkit.adversary import Adversary
from advtransfer.toolkit.augmentation import make_augmentation
from advtransfer.toolkit.checkpoint import strip_prefix
from advtransfer.toolkit.model_modes import freeze_weights
from advtransfer.toolkit.pgd import measure_robust_accuracy
from advtransfer.toolkit.prediction import measure_accuracy
from advtransfer.toolkit.rng import build_initialized, fork_global_rng, reinitialize
from advtransfer.toolkit.training import train as minimise
from advtransfer.toolkit.training_config import Augment, Schedule
from advtransfer.types import Context, DataCard, Json, Network, Samples, Shape
from advtransfer_igam.options import TeacherConfig

HEAD_PREFIX = "head/"
ADAPTER_PREFIX = "adapter/"
CURVES_PREFIX = "curves/"
TUNING_VERSION = 1
"""Raise it when the same options give another teacher, so that remembered ones are not used."""


class Teacher(nn.Module):
    """Classifier of target images ``(B, C, H, W)``, to logits ``(B, K)``.

    It consists of copies of the source and the adapter, and a new logit layer. Everything is frozen
    except this layer and a learned adapter (Chan et al., 2020, section 4.1).

    Args:
        source: The network whose features it uses.
        adapter: From target images to the source's; None for none. Weights that require gradients
            are learned.
        target: The target's card.
        generator: Random numbers for the new layer.
        batch_norm: Statistics of batch normalisation in teaching mode: ``running`` or ``batch``.
    """

    network: Network

    def __init__(
        self,
        source: Network,
        adapter: nn.Module | None,
        target: DataCard,
        *,
        generator: torch.Generator,
        batch_norm: Literal["running", "batch"],
    ) -> None:
        super().__init__()
        self.adapter = nn.Identity() if adapter is None else copy.deepcopy(adapter)
        self.network = copy.deepcopy(source)
        freeze_weights(self.network)  # type: ignore[arg-type]  # a Network is a module, which a protocol cannot say
        self.eval()
        weights = next(self.parameters(), torch.empty(0))
        with torch.inference_mode():
            features = self.features(torch.zeros(1, *target.shape, device=weights.device)).shape[1]
        # Built after the freezing, so that the new layer is trained.
        self.head = build_initialized(lambda: nn.Linear(features, target.outputs), generator).to(
            weights.device
        )
        self.batch_norm = batch_norm

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, ``(B, K)``, of images ``(B, C, H, W)``."""
        logits: Tensor = self.head(self.features(images))
        return logits

    def features(self, images: Tensor) -> Tensor:
        """Return the inputs of the logit layer, ``(B, D)``."""
        return self.network.features(self.adapter(images)).flatten(1)

    def enter_teaching_mode(self) -> None:
        """Enter the mode of tuning and gradient matching: a random adapter draws."""
        self.eval()
        self.adapter.train()
        if self.batch_norm == "batch":
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    # Without tracking, training mode uses the batch's statistics and leaves the
                    # teacher's own as they are.
                    module.track_running_stats = False
                    module.train()

    def is_deterministic(self, shape: Shape) -> bool:
        """Return whether an image's output is the same in every batch and every epoch.

        It is not where batch normalisation uses a batch's statistics, nor where an adapter draws
        random numbers.

        Args:
            shape: ``(C, H, W)`` of an image.
        """
        for module in self.modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training:
                return False
        device = self.head.weight.device
        # The trial call must not advance the caller's random state.
        with fork_global_rng(torch.Generator(), device=device), torch.inference_mode():
            # An adapter that draws leaves the global generators in another state.
            before = _random_states(device)
            self(torch.zeros(1, *shape, device=device))
            after = _random_states(device)
        return all(map(torch.equal, before, after))


def tune_teacher(
    teacher: Teacher,
    config: TeacherConfig,
    *,
    train: Samples,
    validation: Samples | None,
    augment: Augment,
    context: Context,
) -> list[dict[str, float]]:
    """Train the teacher's logit layer, and a learned adapter, on natural images; then freeze both.

    The tuned teacher is remembered. A student whose training was interrupted finds it tuned, and
    students with the same source, adapter, subset and tuning share it. All its randomness is the
    subset's.

    Args:
        teacher: Ends frozen and in eval mode.
        config: Options of the tuning.
        train: The natural images.
        validation: Measured after each epoch.
        augment: The augmentations by name.
        context: Random streams, device and storage.

    Returns:
        The curves.

    Raises:
        Diverged: A loss is not finite.
        Inapplicable: A learned adapter cannot draw its initial weights.
    """

    def build() -> dict[str, Tensor]:
        # The head was drawn at construction; a learned adapter is drawn only here.
        reinitialize(
            teacher.adapter, context.generator("adapter"), whose="the adapter", trained_only=True
        )
        curves = minimise(
            teacher,
            train,
            epochs=config.epochs,
            batch_size=config.batch_size,
            optimiser=config.optimiser,
            schedule=Schedule(kind="constant"),
            context=context,
            augment=make_augmentation(
                augment, shape=train.card.shape, context=context, stream="teacher augment"
            ),
            stream="teacher",
            validation=validation,
            mode=lambda _: teacher.enter_teaching_mode(),
        )
        columns = {
            CURVES_PREFIX + name: torch.tensor([row[name] for row in curves], dtype=torch.float64)
            for name in curves[0]
        }
        head = _prefixed_state(HEAD_PREFIX, teacher.head)
        adapter = _prefixed_state(ADAPTER_PREFIX, teacher.adapter)
        return columns | head | adapter

    key: dict[str, Json] = {"recipe": TUNING_VERSION, "tuning": asdict(config), "augment": augment}
    # Keyed by the subset, not by the student, so that students share the teacher.
    state = context.remember("teacher", key, build, of=("source", "adapter", "subset"))
    teacher.head.load_state_dict(strip_prefix(state, HEAD_PREFIX))
    teacher.adapter.load_state_dict(strip_prefix(state, ADAPTER_PREFIX))
    freeze_weights(teacher.eval())
    curves = strip_prefix(state, CURVES_PREFIX)
    columns = {name: tensor.tolist() for name, tensor in curves.items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _prefixed_state(prefix: str, module: nn.Module) -> dict[str, Tensor]:
    return {prefix + name: tensor.cpu() for name, tensor in module.state_dict().items()}


def _random_states(device: torch.device) -> list[Tensor]:
    """Return the states of the global generators that a module on the device may use."""
    states = [torch.get_rng_state()]
    if device.type == "cuda":
        states.append(torch.cuda.get_rng_state(device))
    return states


def teacher_accuracies(
    teacher: Teacher, samples: Samples, *, attack: Adversary | None, context: Context
) -> dict[str, float]:
    """Return the facts of a teacher in eval mode: clean and, with an attack, robust accuracy."""
    clean_accuracy = measure_accuracy(teacher, samples, device=context.device)
    facts = {"teacher_clean_accuracy": clean_accuracy}
    if attack is not None:
        facts["teacher_robust_accuracy"] = measure_robust_accuracy(
            teacher,
            samples,
            attack,
            generator=context.generator("teacher attack"),
            device=context.device,
        )
    return facts
