"""A source whose weights are read, or drawn, but not trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from advtransfer.errors import AdvTransferError
from advtransfer.toolkit.blocks import ChainedNetwork
from advtransfer.toolkit.streams import generator
from advtransfer.types import Context, SourceCard, Weights
from advtransfer_vision.pretrained.claims import Claims
from advtransfer_vision.pretrained.design import Cut, Design
from advtransfer_vision.pretrained.files import Contents, Layout
from advtransfer_vision.pretrained.fill import fill
from advtransfer_vision.pretrained.normalisation import check_normalisation


@dataclass(frozen=True, slots=True, kw_only=True)
class Pretrained:
    """An architecture with weights from a file, or as they are drawn.

    Args:
        design: The network.
        claims: What is said of the weights.
        read: Gives them for the network; None to draw them.
        options: What the component lets a suite say of the file.
        place: Where they are from, in words.
    """

    design: Design
    claims: Claims
    read: Callable[[Context, Cut], Contents] | None = None
    options: frozenset[str] = Layout().options
    place: str = "a random draw"

    def card(self) -> SourceCard:
        """What it claims to be."""
        return SourceCard(
            architecture=self.design.name,
            data=self.claims.data,
            constraint=self.claims.constraint,
            shape=self.design.shape,
            outputs=self.design.outputs,
            clean_accuracy=self.claims.clean_accuracy,
            tolerance=self.claims.tolerance,
            licence=self.claims.licence,
            citation=self.claims.citation,
            normalisation=self.design.normalisation,
        )

    def network(self) -> Cut:
        """The architecture; the same weights at every call."""
        return self.design.drawn(generator("architecture"))

    def weights(self, context: Context) -> Weights:
        """Read them, or draw them from the context's ``init`` stream; the network is tried out with them.

        Raises:
            AdvTransferError: They do not make this network, or it does not take its inputs.
        """
        network = self.design.drawn(context.generator("init")).eval()
        contents = Contents({}) if self.read is None else self.read(context, network)
        if self.read is not None:
            if contents.normalise and not self.design.clamp:
                check_normalisation(self.design, contents.normalise, place=self.place, options=self.options)
                contents = replace(contents, normalise={})
            fill(network, contents, name=self.design.name, place=self.place, options=self.options)
        self._try(network, torch.rand(2, *self.design.shape, generator=context.generator("try")))
        normalisation = {
            f"{name}_{channel}": value
            for name, values in network.normalise.named_buffers()
            for channel, value in enumerate(values.flatten().tolist())
        }
        return Weights(network.state_dict(), facts={**contents.facts, **normalisation})

    def _try(self, network: Cut, inputs: Tensor) -> None:
        """Run the network once: whether it takes its inputs, and whether its blocks are what it is made of."""
        try:
            with torch.no_grad():
                logits, features = network(inputs), network.features(inputs)
            if isinstance(network, ChainedNetwork) and logits.isfinite().all():
                network.check(inputs)
        except (RuntimeError, ValueError, AssertionError) as error:
            reason = (str(error).splitlines() or [""])[0]
            found = f"a {self.design.name} that fails on inputs of shape {self.design.shape} ({reason})"
            raise AdvTransferError(f"found {found}; expected logits; set `pixels`, or name other `blocks`") from error
        if logits.shape != (2, self.design.outputs) or len(features) != 2:
            found = f"logits of shape {tuple(logits.shape)} from {self.design.name} for 2 inputs"
            raise AdvTransferError(f"found {found}; expected (2, {self.design.outputs}); check `outputs`")
        if not logits.isfinite().all():
            found = f"logits that are not finite from {self.design.name} with the weights of {self.place}"
            next_step = "the weights are of another normalisation or broken: get another file"
            raise AdvTransferError(f"found {found}; expected numbers; {next_step}")
