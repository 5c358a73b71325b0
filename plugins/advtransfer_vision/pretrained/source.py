"""A source whose weights are read from a file or drawn, not trained."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from advtransfer.errors import AdvTransferError
from advtransfer.toolkit.rng import stream_generator
from advtransfer.toolkit.wrapped_networks import ChainedNetwork
from advtransfer.types import Context, SourceCard, Weights
from advtransfer_vision.pretrained.checkpoints import CheckpointContents, CheckpointLayout
from advtransfer_vision.pretrained.claims import Claims
from advtransfer_vision.pretrained.network_spec import CutNetwork, SourceSpec
from advtransfer_vision.pretrained.weight_loading import check_normalization, fill_network


@dataclass(frozen=True, slots=True, kw_only=True)
class PretrainedSource:
    """An architecture with weights from a file, or with its initial weights.

    Args:
        spec: The network.
        claims: Claims about the weights.
        read: Reads the weights for the network; None to draw them.
        options: Options of the component, so that error messages suggest no others.
        place: Origin of the weights, for error messages.
        check: Called with a network of its own, which it may change, before each that is returned: raises where the
            code no longer builds the network that it should; None for no check.
    """

    spec: SourceSpec
    claims: Claims
    read: Callable[[Context, CutNetwork], CheckpointContents] | None = None
    options: frozenset[str] = CheckpointLayout().options
    place: str = "a random draw"
    check: Callable[[CutNetwork], None] | None = None

    def card(self) -> SourceCard:
        """Return the card with the claims about the weights."""
        return SourceCard(
            architecture=self.spec.name,
            data=self.claims.data,
            constraint=self.claims.constraint,
            shape=self.spec.shape,
            outputs=self.spec.outputs,
            clean_accuracy=self.claims.clean_accuracy,
            tolerance=self.claims.tolerance,
            licence=self.claims.licence,
            citation=self.claims.citation,
            normalisation=self.spec.normalization_text,
        )

    def network(self) -> CutNetwork:
        """Return the architecture, with the same initial weights at every call.

        Raises:
            AdvTransferError: It is not the network that it should be.
        """
        # At each call: another process may import other code beside a user's file, which no id holds.
        if self.check is not None:
            self.check(self.spec.draw_network(stream_generator("architecture")))
        return self.spec.draw_network(stream_generator("architecture"))

    def weights(self, context: Context) -> Weights:
        """Read the weights, or draw them from the context's ``init`` stream; then run the network once.

        Raises:
            AdvTransferError: The weights do not fit the network, or it fails on its inputs.
        """
        network = self.spec.draw_network(context.generator("init")).eval()
        facts: dict[str, float | str] = {}
        if self.read is not None:
            contents = self.read(context, network)
            facts.update(contents.facts)
            self._load_contents(network, contents)
        inputs = torch.rand(2, *self.spec.shape, generator=context.generator("try"))
        self._try_network(network, inputs)
        for name, values in network.normalise.named_buffers():
            for channel, value in enumerate(values.flatten().tolist()):
                facts[f"{name}_{channel}"] = value
        return Weights(network.state_dict(), facts=facts)

    def _load_contents(self, network: CutNetwork, contents: CheckpointContents) -> None:
        """Load a file's weights into the network, and check or load its normalisation."""
        # With `clamp`, the component takes the normalisation from the file; otherwise the suite
        # gives it, and the file's has to be the same.
        if contents.normalization and not self.spec.clamp:
            check_normalization(
                self.spec, contents.normalization, place=self.place, options=self.options
            )
            contents = replace(contents, normalization={})
        fill_network(network, contents, name=self.spec.name, place=self.place, options=self.options)

    def _try_network(self, network: CutNetwork, inputs: Tensor) -> None:
        """Run the network once, to check its outputs and that its blocks compute the same logits.

        Raises:
            AdvTransferError: The network fails, or does not return finite logits.
        """
        try:
            with torch.no_grad():
                logits = network(inputs)
                # A network whose head is not known has logits alone.
                features = network.features(inputs) if network.blocks else logits
            # NaN is unequal to itself; logits that are not finite are reported below.
            if isinstance(network, ChainedNetwork) and logits.isfinite().all():
                network.check_logits(inputs)
        except (RuntimeError, ValueError, AssertionError) as error:
            reason = (str(error).splitlines() or [""])[0]
            found = f"a {self.spec.name} that fails on inputs of shape {self.spec.shape} ({reason})"
            raise AdvTransferError(
                f"found {found}; expected logits; set `pixels`, or name other `blocks`"
            ) from error
        if logits.shape != (2, self.spec.outputs) or len(features) != 2:
            found = f"logits of shape {tuple(logits.shape)} from {self.spec.name} for 2 inputs"
            raise AdvTransferError(
                f"found {found}; expected (2, {self.spec.outputs}); check `outputs`"
            )
        if not logits.isfinite().all():
            found = (
                f"logits that are not finite from {self.spec.name} with the weights of {self.place}"
            )
            next_step = "the weights are of another normalisation or broken: get another file"
            raise AdvTransferError(f"found {found}; expected numbers; {next_step}")
