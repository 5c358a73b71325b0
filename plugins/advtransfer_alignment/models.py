"""A network as a function of the target's inputs: through the adapter, with its own head."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

from torch import Tensor, nn

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.attack import evaluating
from advtransfer.toolkit.freezing import weights_frozen
from advtransfer.types import Given, Network


@dataclass(frozen=True, slots=True)
class Model:
    """A network behind an adapter, or as it is where there is none."""

    network: Network
    adapter: nn.Module

    @classmethod
    def source(cls, given: Given) -> Model:
        """f_S: the source with its own head.

        Raises:
            ValueError: No source was handed over.
            Inapplicable: The adapter is learned: each transfer has its own, and none is handed to an evaluation.
        """
        if given.source is None:
            raise ValueError("found no source; expected one; declare needs=('source',) on the factory")
        adapter = nn.Identity() if given.adapter is None else given.adapter
        if any(parameter.requires_grad for parameter in adapter.parameters()):
            raise Inapplicable("the adapter is learned by each transfer; what is measured here needs a fixed one")
        return cls(given.source, adapter)

    @classmethod
    def reference(cls, given: Given) -> Model:
        """f_T: the model that was trained on the target.

        Raises:
            ValueError: No reference was handed over.
        """
        if given.reference is None:
            raise ValueError("found no reference; expected one; declare needs=('reference',) on the factory")
        return cls(given.reference, nn.Identity())

    def outputs(self, inputs: Tensor) -> Tensor:
        """``(B, *target)`` to ``(B, m)``."""
        return self.network(self.adapter(inputs)).flatten(1)

    def features(self, inputs: Tensor) -> Tensor:
        """``(B, *target)`` to what the head receives, ``(B, D)``."""
        return self.network.features(self.adapter(inputs)).flatten(1)

    @contextmanager
    def still(self) -> Iterator[None]:
        """Inside, weights have no gradients and the adapter is in eval mode.

        Raises:
            ValueError: The network, or a module in it, is in training mode.
        """
        module = cast(nn.Module, self.network)
        if any(one.training for one in module.modules()):
            raise ValueError("found a model in training mode; expected eval mode; call model.eval() before measuring")
        with weights_frozen(module), evaluating(self.adapter):
            yield
