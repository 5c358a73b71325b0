"""The teacher (source, adapter and a logit layer for the target), its tuning and its accuracies."""

from __future__ import annotations

import copy
from dataclasses import asdict
from typing import Literal

import torch
from torch import Tensor, nn

from advtransfer.toolkit.adversary import Adversary
from advtransfer.toolkit.augmentation import make_augmentation
from advtransfer.toolkit.model_modes import freeze_weights
from advtransfer.toolkit.pgd import pgd
from advtransfer.toolkit.prediction import kernel_batches, measure_accuracy
from advtransfer.toolkit.rng import build_initialized, fork_global_rng, reinitialize
from advtransfer.toolkit.training import train as minimise
from advtransfer.toolkit.training_config import Augment, Schedule
from advtransfer.types import Context, DataCard, Json, Network, Samples, Shape, Tensors
from advtransfer_igam.options import TeacherConfig

HEAD_PREFIX, ADAPTER_PREFIX, CURVES_PREFIX = "head/", "adapter/", "curves/"
TUNING_VERSION = 1
"""Goes up when the same options tune another teacher: what was remembered of the old one is then not found."""


class Teacher(nn.Module):
    """From target images ``(B, C, H, W)`` to target logits ``(B, K)``, around copies of the source and the adapter.

    Everything is frozen but the new logit layer and, where the adapter is learned, the adapter.

    Args:
        source: The network whose features it uses.
        adapter: From target images to the source's; None for none. Those of its weights that require gradients are
            learned.
        target: The target's card.
        generator: What the new layer is drawn from.
        batch_norm: Whose statistics batch normalisation uses while others train: ``running`` or ``batch``.
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
        self.head = build_initialized(lambda: nn.Linear(features, target.outputs), generator).to(
            weights.device
        )
        self.batch_norm = batch_norm

    def forward(self, images: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, K)``."""
        logits: Tensor = self.head(self.features(images))
        return logits

    def features(self, images: Tensor) -> Tensor:
        """What the logit layer receives, ``(B, D)``."""
        return self.network.features(self.adapter(images)).flatten(1)

    def enter_teaching_mode(self) -> None:
        """Enter the mode in which it is tuned and its gradients are matched: a random adapter draws."""
        self.eval()
        self.adapter.train()
        if self.batch_norm == "batch":
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    # without tracking, training mode uses the batch's statistics and leaves the teacher's as they are
                    module.track_running_stats = False
                    module.train()

    def is_deterministic(self, shape: Shape) -> bool:
        """Whether it gives an image ``(C, H, W)`` of this shape the same in every batch and every epoch, as it now is.

        It does not where batch normalisation uses a batch's statistics, nor where an adapter draws random numbers.
        """
        if any(
            isinstance(module, nn.modules.batchnorm._BatchNorm) and module.training
            for module in self.modules()
        ):
            return False
        device = self.head.weight.device
        with fork_global_rng(torch.Generator(), device=device), torch.inference_mode():
            before = _random_states(device)
            self(torch.zeros(1, *shape, device=device))
            return all(
                one.equal(other) for one, other in zip(before, _random_states(device), strict=True)
            )


def tune_teacher(
    teacher: Teacher,
    tuning: TeacherConfig,
    *,
    train: Samples,
    validation: Samples | None,
    augment: Augment,
    context: Context,
) -> list[dict[str, float]]:
    """Train the teacher's logit layer, and its adapter if that is learned, on natural images; freeze both.

    The teacher is remembered: a student whose training was killed finds it tuned, and students of one source, adapter
    and subset that ask for the same tuning share it. All randomness in it is the subset's.

    Args:
        teacher: It leaves frozen and in eval mode.
        tuning: How it is trained.
        train: The natural images.
        validation: Measured after each epoch.
        augment: The augmentations by name.
        context: Where randomness comes from and what is built is kept.

    Returns:
        The curves.

    Raises:
        Diverged: A loss is not finite.
        Inapplicable: A learned adapter cannot draw its initial weights.
    """

    def build() -> dict[str, Tensor]:
        reinitialize(
            teacher.adapter, context.generator("adapter"), whose="the adapter", trained_only=True
        )
        curves = minimise(
            teacher,
            train,
            epochs=tuning.epochs,
            batch_size=tuning.batch_size,
            optimiser=tuning.optimiser,
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
        parts = {HEAD_PREFIX: teacher.head, ADAPTER_PREFIX: teacher.adapter}
        return columns | {
            prefix + name: tensor.cpu()
            for prefix, part in parts.items()
            for name, tensor in part.state_dict().items()
        }

    key: dict[str, Json] = {"recipe": TUNING_VERSION, "tuning": asdict(tuning), "augment": augment}
    found = context.remember("teacher", key, build, of=("source", "adapter", "subset"))
    teacher.head.load_state_dict(_select_prefix(found, HEAD_PREFIX))
    teacher.adapter.load_state_dict(_select_prefix(found, ADAPTER_PREFIX))
    freeze_weights(teacher.eval())
    columns = {
        name: tensor.tolist() for name, tensor in _select_prefix(found, CURVES_PREFIX).items()
    }
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _random_states(device: torch.device) -> list[Tensor]:
    """The states of the global generators that a module on the device may draw from."""
    return [
        torch.get_rng_state(),
        *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else []),
    ]


def _select_prefix(state: Tensors, prefix: str) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in state.items()
        if name.startswith(prefix)
    }


def teacher_accuracies(
    teacher: Teacher, samples: Samples, *, attack: Adversary | None, context: Context
) -> dict[str, float]:
    """The facts of a teacher in eval mode: its accuracy and, where there is an attack, its accuracy under it."""
    clean = {"teacher_clean_accuracy": measure_accuracy(teacher, samples, device=context.device)}
    return (
        clean
        if attack is None
        else clean
        | {"teacher_robust_accuracy": _robust_accuracy(teacher, samples, attack, context)}
    )


def _robust_accuracy(
    teacher: Teacher, samples: Samples, attack: Adversary, context: Context
) -> float:
    """The share of samples that PGD leaves right, by its last iterate, or by its best."""
    starts, left = context.generator("teacher attack"), 0
    for _, inputs, labels in kernel_batches(samples):
        truth = labels.to(context.device)
        moved = pgd(
            teacher,
            inputs.to(context.device),
            truth,
            norm=attack.norm,
            eps=attack.eps,
            steps=attack.steps,
            step_size=attack.effective_step_size,
            random_start=attack.random_start,
            generator=starts,
            best=attack.best,
            bounds=samples.card.bounds,
        )
        with torch.no_grad():
            left += int((teacher(moved).argmax(1) == truth).sum())
    return left / len(samples)
