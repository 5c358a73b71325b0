"""Transfer that trains an affine map in front of a frozen source, and the model it trains."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias, cast

import torch
from torch import Tensor, nn

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.augmentation import make_augmentation
from advtransfer.toolkit.model_modes import freeze_weights
from advtransfer.toolkit.rng import build_initialized, reinitialize
from advtransfer.toolkit.training import train as minimise
from advtransfer.toolkit.training_config import Augment, OptimizerConfig, Schedule
from advtransfer.types import Context, DataCard, Fitted, Network, Samples
from advtransfer_adapters.learned import learned_map
from advtransfer_adapters.options import Form

LabelMapping: TypeAlias = Literal["new", "map"] | tuple[int, ...]


class ComposedModel(nn.Module):
    """From target images ``(B, *target)`` to target logits ``(B, K)``, around a frozen copy of the source.

    Args:
        source: The network.
        adapter: From target images to the source's inputs.
        target: The target's card.
        labels: ``new`` for a new logit layer on the source's features, drawn later; ``map`` or a tuple for the source's
            own logits, the target's output k read from its output k or from the k-th of the tuple.

    Raises:
        Inapplicable: The source has no such outputs.
    """

    network: Network
    read: Tensor | None

    def __init__(
        self, *, source: Network, adapter: nn.Module, target: DataCard, labels: LabelMapping
    ) -> None:
        super().__init__()
        self.adapter, self.network = adapter, copy.deepcopy(source)
        network = cast(nn.Module, self.network)
        freeze_weights(network.eval())
        self.to(next(network.parameters(), torch.empty(0)).device)
        with torch.inference_mode():
            inputs = self.adapter(torch.zeros(1, *target.shape, device=self.device))
            features, outputs = (
                self.network.features(inputs).flatten(1).shape[1],
                self.network(inputs).shape[1],
            )
        new = labels == "new"
        self.head = (
            build_initialized(lambda: nn.Linear(features, target.outputs), torch.Generator())
            if new
            else None
        )
        read = None if new else torch.tensor(_source_outputs(labels, target.outputs, outputs))
        self.register_buffer("read", read, persistent=False)

    @property
    def device(self) -> torch.device:
        """Where the source's weights are."""
        return next(self.parameters()).device

    def forward(self, inputs: Tensor) -> Tensor:
        """``(B, *target)`` to ``(B, K)``; what the source is given is not clamped."""
        adapted = self.adapter(inputs)
        if self.head is None:
            return self.network(adapted)[:, self.read]
        logits: Tensor = self.head(self.network.features(adapted).flatten(1))
        return logits

    def draw_weights(self, context: Context) -> None:
        """Draw everything that is trained from the context's streams."""
        reinitialize(
            self.adapter, context.generator("adapter"), whose="the adapter", trained_only=True
        )
        if self.head is not None:
            reinitialize(self.head, context.generator("head"), whose="the head")

    def enter_training_mode(self) -> None:
        """The source runs as in evaluation; a random adapter draws."""
        self.eval()
        self.adapter.train()


@dataclass(frozen=True, slots=True, kw_only=True)
class AffineTransfer:
    """A transfer: a map of the source's inputs is trained, the source stays as it is.

    Args:
        form: Which entries of the map are trained.
        labels: Where the target's outputs come from.
        epochs: How often each image is seen.
        batch_size: Images in a step.
        optimiser: The optimiser and its largest learning rate.
        schedule: The learning rate over the training.
        augment: Changes to each image.
    """

    form: Form
    labels: LabelMapping
    epochs: int
    batch_size: int
    optimiser: OptimizerConfig
    schedule: Schedule
    augment: Augment

    def model(
        self, *, source: Network | None, adapter: nn.Module | None, target: DataCard
    ) -> nn.Module:
        """The untrained model: what the source gives through the cell's adapter; a new head is drawn by `fit`.

        Raises:
            Inapplicable: The form or the labels do not suit the shapes.
        """
        if source is None:
            raise ValueError(
                "found no source; expected a network; declare needs=('source',) on the factory"
            )
        base = nn.Identity() if adapter is None else copy.deepcopy(adapter)
        moving = build_initialized(
            lambda: learned_map(self.form, base, target=target.shape), torch.Generator()
        )
        return ComposedModel(
            source=source, adapter=moving, target=target, labels=self.labels
        ).eval()

    def fit(
        self,
        model: nn.Module,
        *,
        source: Network | None,
        adapter: nn.Module | None,
        train: Samples,
        validation: Samples | None,
        context: Context,
    ) -> Fitted:
        """Draw what is trained, and train it; the validation part is only measured.

        The fact ``adapter_parameters`` counts what is trained before the source.

        Raises:
            Diverged: A loss is not finite.
        """
        composed = _as_composed_model(model.to(context.device))
        composed.draw_weights(context)
        curves = minimise(
            composed,
            train,
            epochs=self.epochs,
            batch_size=self.batch_size,
            optimiser=self.optimiser,
            schedule=self.schedule,
            context=context,
            augment=make_augmentation(self.augment, shape=train.card.shape, context=context),
            validation=validation,
            mode=lambda _: composed.enter_training_mode(),
            save_every=max(1, self.epochs // 10),
        )
        trained = (
            parameter.numel()
            for parameter in composed.adapter.parameters()
            if parameter.requires_grad
        )
        return Fitted(curves=curves, facts={"adapter_parameters": sum(trained)})


def _source_outputs(labels: LabelMapping, wanted: int, there: int) -> Sequence[int]:
    """The outputs of the source that the target's are read from."""
    read = range(wanted) if isinstance(labels, str) else labels
    if len(read) != wanted:
        raise Inapplicable(
            f"labels names {len(read)} outputs of the source, the target has {wanted}; name as many"
        )
    if max(read) >= there:
        found = f"labels reads output {max(read)} of the source, which has {there}, numbered from 0"
        raise Inapplicable(f"{found}; name others, or use labels: new")
    return read


def _as_composed_model(model: nn.Module) -> ComposedModel:
    """The model handed to a fit, as what `AffineTransfer.model` made it."""
    if not isinstance(model, ComposedModel):
        found = f"found a {type(model).__name__}"
        raise TypeError(f"{found}; expected the transfer's own model; pass what model() returned")
    return model
