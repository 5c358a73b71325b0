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
from advtransfer.toolkit.network import require_source
from advtransfer.toolkit.rng import build_initialized, reinitialize
from advtransfer.toolkit.training import train as minimise
from advtransfer.toolkit.training_config import Augment, OptimizerConfig, Schedule
from advtransfer.types import Context, DataCard, Fitted, Network, Samples
from advtransfer_adapters.learned import learned_map
from advtransfer_adapters.options import Form, label_count_text, label_range_text

LabelMapping: TypeAlias = Literal["new", "map"] | tuple[int, ...]


class ComposedModel(nn.Module):
    """Model around a frozen copy of the source, from target images to logits ``(B, K)``.

    Args:
        source: The source network.
        adapter: From target images to the source's inputs.
        target: Card of the target.
        labels: ``new`` for a new logit layer on the source's features, whose weights are drawn
            later; ``map`` or a tuple for the source's own logits: the target's output k is the
            source's output k, or its k-th output in the tuple.

    Raises:
        Inapplicable: The source does not have these outputs.
    """

    network: Network
    read: Tensor | None

    def __init__(
        self, *, source: Network, adapter: nn.Module, target: DataCard, labels: LabelMapping
    ) -> None:
        super().__init__()
        self.adapter = adapter
        # A copy, since freezing must not change the caller's source.
        self.network = copy.deepcopy(source)
        network = cast(nn.Module, self.network)
        freeze_weights(network.eval())
        self.to(next(network.parameters(), torch.empty(0)).device)
        with torch.inference_mode():
            inputs = self.adapter(torch.zeros(1, *target.shape, device=self.device))
            features = self.network.features(inputs).flatten(1).shape[1]
            outputs = self.network(inputs).shape[1]
        self.head: nn.Module | None = None
        read = None
        if labels == "new":
            self.head = build_initialized(
                lambda: nn.Linear(features, target.outputs), torch.Generator()
            )
        else:
            read = torch.tensor(_source_outputs(labels, target.outputs, outputs))
        # The options determine it, so saved weights need not contain it.
        self.register_buffer("read", read, persistent=False)

    @property
    def device(self) -> torch.device:
        """Device of the source's weights."""
        return next(self.parameters()).device

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits ``(B, K)`` of ``(B, *target)``; the source's inputs are not clamped."""
        adapted = self.adapter(inputs)
        if self.head is None:
            return self.network(adapted)[:, self.read]
        logits: Tensor = self.head(self.network.features(adapted).flatten(1))
        return logits

    def draw_weights(self, context: Context) -> None:
        """Draw all trained weights from the context's streams."""
        reinitialize(
            self.adapter, context.generator("adapter"), whose="the adapter", trained_only=True
        )
        if self.head is not None:
            reinitialize(self.head, context.generator("head"), whose="the head")

    def enter_training_mode(self) -> None:
        """Run the source as in evaluation, and let a random adapter draw."""
        # The source's batch normalisation keeps its own statistics, as in evaluation.
        self.eval()
        self.adapter.train()


@dataclass(frozen=True, slots=True, kw_only=True)
class AffineTransfer:
    """Transfer that trains an affine map of the source's inputs and leaves the source unchanged.

    Args:
        form: Entries of the map that are trained.
        labels: Origin of the target's outputs, as in `ComposedModel`.
        epochs: Number of times that each image is seen.
        batch_size: Images per step.
        optimiser: The optimizer and its largest learning rate.
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
        """Return the untrained model, which starts as the cell's adapter; `fit` draws a new head.

        Raises:
            Inapplicable: The form or the labels do not suit the shapes.
        """
        source = require_source(source)
        # A copy, since a learned adapter is trained with the map.
        base = nn.Identity() if adapter is None else copy.deepcopy(adapter)
        learned_adapter = build_initialized(
            lambda: learned_map(self.form, base, target=target.shape), torch.Generator()
        )
        model = ComposedModel(
            source=source, adapter=learned_adapter, target=target, labels=self.labels
        )
        return model.eval()

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
        """Draw the trained weights and train them; the validation part is only measured.

        The fact ``adapter_parameters`` counts the trained parameters before the source.

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
        parameters = composed.adapter.parameters()
        count = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
        return Fitted(curves=curves, facts={"adapter_parameters": count})


def _source_outputs(
    labels: LabelMapping, target_outputs: int, source_outputs: int
) -> Sequence[int]:
    """Return the outputs of the source that the target's outputs are read from."""
    read = range(target_outputs) if isinstance(labels, str) else labels
    if len(read) != target_outputs:
        raise Inapplicable(f"{label_count_text(len(read), target_outputs)}; name as many")
    largest = max(read)
    if largest >= source_outputs:
        found = label_range_text(largest, source_outputs)
        raise Inapplicable(f"{found}; name others, or use labels: new")
    return read


def _as_composed_model(model: nn.Module) -> ComposedModel:
    """Return the model as `AffineTransfer.model` made it, or raise an error."""
    if not isinstance(model, ComposedModel):
        found = f"found a {type(model).__name__}"
        raise TypeError(f"{found}; expected the transfer's own model; pass what model() returned")
    return model
