"""Networks as functions of the target's inputs, and their outputs at samples."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.model_modes import in_eval_mode, weights_frozen
from advtransfer.toolkit.network import require_source
from advtransfer.toolkit.prediction import apply_in_chunks, kernel_batches
from advtransfer.types import Context, EvaluationInputs, Network, Samples
from advtransfer_alignment.linear_algebra import ModelFunction


@dataclass(frozen=True, slots=True)
class AdaptedModel:
    """A network behind an adapter, or by itself where there is none."""

    network: Network
    adapter: nn.Module

    @classmethod
    def of_source(cls, given: EvaluationInputs) -> AdaptedModel:
        """Return f_S: the source with its own head.

        Raises:
            ValueError: There is no source.
            Inapplicable: The adapter is learned. Each transfer trains its own, and an evaluation
                gets none of them.
        """
        source = require_source(given.source)
        adapter = nn.Identity() if given.adapter is None else given.adapter
        # Its weights here are the untrained ones, which no transfer uses.
        if any(parameter.requires_grad for parameter in adapter.parameters()):
            raise Inapplicable(
                "the adapter is learned by each transfer; what is measured here needs a fixed one"
            )
        return cls(source, adapter)

    @classmethod
    def of_reference(cls, given: EvaluationInputs) -> AdaptedModel:
        """Return f_T: the model trained on the target.

        Raises:
            ValueError: There is no reference.
        """
        if given.reference is None:
            raise ValueError(
                "found no reference; expected a model; declare needs=('reference',) on the factory"
            )
        return cls(given.reference, nn.Identity())

    def outputs(self, inputs: Tensor) -> Tensor:
        """Return the outputs ``(B, m)`` for inputs ``(B, *target)``."""
        return self.network(self.adapter(inputs)).flatten(1)

    def features(self, inputs: Tensor) -> Tensor:
        """Return the inputs of the head, ``(B, D)``, for inputs ``(B, *target)``."""
        return self.network.features(self.adapter(inputs)).flatten(1)

    @contextmanager
    def frozen_in_eval(self) -> Iterator[None]:
        """Freeze the weights and put the adapter in eval mode while the context is open.

        Raises:
            ValueError: The network, or a module in it, is in training mode.
        """
        module = cast(nn.Module, self.network)
        # In training mode outputs would depend on the batch, or on random numbers.
        if any(submodule.training for submodule in module.modules()):
            raise ValueError(
                "found a model in training mode; expected eval mode; call model.eval() before measuring"
            )
        # Attacks and Jacobians need gradients with respect to the inputs only.
        with weights_frozen(module), in_eval_mode(self.adapter):
            yield


def outputs_at(
    function: ModelFunction, samples: Samples, delta: Tensor | None, *, context: Context
) -> Tensor:
    """Return the outputs at the samples, ``(N, d)`` on the CPU.

    Args:
        function: The model, from inputs to outputs.
        samples: The samples.
        delta: Perturbations to add, ``(N, *shape)``; None for none.
        context: Device.

    Raises:
        ValueError: There are no samples, or outputs are not finite.
    """
    if not len(samples):
        raise ValueError("found no samples; expected at least one; check the subset or the view")
    chunks = []
    with torch.no_grad():
        for positions, inputs, _ in kernel_batches(samples):
            moved = inputs if delta is None else inputs + delta[positions]
            chunks.append(apply_in_chunks(function, moved.to(context.device)).cpu())
    outputs = torch.cat(chunks)
    broken = int((~outputs.isfinite().all(1)).sum())
    if broken:
        found = f"outputs that are not finite for {broken} of {len(outputs)} samples"
        raise ValueError(f"found {found}; expected finite values; check the model's weights")
    return outputs
