"""The teacher: the source behind its adapter, with a logit layer for the target."""

from __future__ import annotations

import copy
from typing import Literal

import torch
from torch import Tensor, nn

from advtransfer.toolkit.augment import Augmentation
from advtransfer.toolkit.freezing import freeze
from advtransfer.toolkit.recipe import Schedule
from advtransfer.toolkit.streams import initialised
from advtransfer.toolkit.training import train as minimise
from advtransfer.types import Context, DataCard, Network, Samples, Tensors
from advtransfer_igam.settings import TeacherTuning

HEAD, CURVES = "head/", "curves/"


class Teacher(nn.Module):
    """From target images ``(B, C, H, W)`` to target logits ``(B, K)``, around copies of the source and the adapter.

    Everything is frozen but the new logit layer.

    Args:
        source: The network whose features it uses.
        adapter: From target images to the source's; None for none.
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
        freeze(self)
        self.eval()
        weights = next(self.parameters(), torch.empty(0))
        with torch.inference_mode():
            features = self.features(torch.zeros(1, *target.shape, device=weights.device)).shape[1]
        self.head = initialised(lambda: nn.Linear(features, target.outputs), generator).to(weights.device)
        self.batch_norm = batch_norm

    def forward(self, images: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, K)``."""
        logits: Tensor = self.head(self.features(images))
        return logits

    def features(self, images: Tensor) -> Tensor:
        """What the logit layer receives, ``(B, D)``."""
        return self.network.features(self.adapter(images)).flatten(1)

    def teaching(self) -> None:
        """Enter the mode in which it is tuned and its gradients are matched: a random adapter draws."""
        self.eval()
        self.adapter.train()
        if self.batch_norm == "batch":
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    # without tracking, training mode uses the batch's statistics and leaves the teacher's as they are
                    module.track_running_stats = False
                    module.train()


def tune(
    teacher: Teacher,
    tuning: TeacherTuning,
    *,
    train: Samples,
    validation: Samples | None,
    augment: Augmentation | None,
    context: Context,
) -> list[dict[str, float]]:
    """Train the teacher's logit layer on natural images, freeze it, and return the curves.

    It is remembered, so that a student whose training was killed finds its teacher tuned.

    Raises:
        Diverged: A loss is not finite.
    """

    def build() -> dict[str, Tensor]:
        curves = minimise(
            teacher,
            train,
            epochs=tuning.epochs,
            batch_size=tuning.batch_size,
            optimiser=tuning.optimiser,
            schedule=Schedule(kind="constant"),
            context=context,
            augment=augment,
            stream="teacher",
            validation=validation,
            mode=lambda _: teacher.teaching(),
        )
        columns = {
            CURVES + name: torch.tensor([row[name] for row in curves], dtype=torch.float64) for name in curves[0]
        }
        return {HEAD + name: tensor.cpu() for name, tensor in teacher.head.state_dict().items()} | columns

    found = context.remember("teacher", {}, build)
    teacher.head.load_state_dict(_under(found, HEAD))
    freeze(teacher.eval())
    columns = {name: tensor.tolist() for name, tensor in _under(found, CURVES).items()}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _under(state: Tensors, prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
