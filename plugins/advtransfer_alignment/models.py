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
from advtransfer.toolkit.prediction import apply_in_chunks, kernel_batches
from advtransfer.types import Context, EvaluationInputs, Network, Samples
from advtransfer_alignment.linear_algebra import ModelFunction


@dataclass(frozen=True, slots=True)
class AdaptedModel:
    """A network behind an adapter, or as it is where there is none."""

    network: Network
    adapter: nn.Module

    @classmethod
    def of_source(cls, given: EvaluationInputs) -> AdaptedModel:
        """f_S: the source with its own head.

        Raises:
            ValueError: No source was handed over.
            Inapplicable: The adapter is learned: each transfer has its own, and none is handed to an evaluation.
        """
        if given.source is None:
            raise ValueError(
                "found no source; expected one; declare needs=('source',) on the factory"
            )
        adapter = nn.Identity() if given.adapter is None else given.adapter
        if any(parameter.requires_grad for parameter in adapter.parameters()):
            raise Inapplicable(
                "the adapter is learned by each transfer; what is measured here needs a fixed one"
            )
        return cls(given.source, adapter)

    @classmethod
    def of_reference(cls, given: EvaluationInputs) -> AdaptedModel:
        """f_T: the model that was trained on the target.

        Raises:
            ValueError: No reference was handed over.
        """
        if given.reference is None:
            raise ValueError(
                "found no reference; expected one; declare needs=('reference',) on the factory"
            )
        return cls(given.reference, nn.Identity())

    def outputs(self, inputs: Tensor) -> Tensor:
        """``(B, *target)`` to ``(B, m)``."""
        return self.network(self.adapter(inputs)).flatten(1)

    def features(self, inputs: Tensor) -> Tensor:
        """``(B, *target)`` to what the head receives, ``(B, D)``."""
        return self.network.features(self.adapter(inputs)).flatten(1)

    @contextmanager
    def frozen_in_eval(self) -> Iterator[None]:
        """Inside, weights have no gradients and the adapter is in eval mode.

        Raises:
            ValueError: The network, or a module in it, is in training mode.
        """
        module = cast(nn.Module, self.network)
        if any(one.training for one in module.modules()):
            raise ValueError(
                "found a model in training mode; expected eval mode; call model.eval() before measuring"
            )
        with weights_frozen(module), in_eval_mode(self.adapter):
            yield


def outputs_at(
    function: ModelFunction, samples: Samples, delta: Tensor | None, *, context: Context
) -> Tensor:
    """``(N, d)`` on the CPU, for the samples moved by `delta` ``(N, *shape)`` where there is one.

    Raises:
        ValueError: There are no samples, or the model gives numbers that are not finite.
    """
    if not len(samples):
        raise ValueError("found no samples; expected at least one; check the subset or the view")
    parts = []
    with torch.no_grad():
        for positions, inputs, _ in kernel_batches(samples):
            moved = inputs if delta is None else inputs + delta[positions]
            parts.append(apply_in_chunks(function, moved.to(context.device)).cpu())
    found = torch.cat(parts)
    if broken := int((~found.isfinite().all(1)).sum()):
        says = f"outputs that are not finite for {broken} of {len(found)} samples"
        raise ValueError(f"found {says}; expected finite ones; check the model's weights")
    return found
