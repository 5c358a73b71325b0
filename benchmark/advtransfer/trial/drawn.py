"""Untrained sources as options of a transfer: where their weights come from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

from advtransfer.trial.context import WorkerContext
from advtransfer.types import Context, Network, Source, SourceCard, Weights


@dataclass(frozen=True, slots=True)
class DrawnSource:
    """An untrained source that each fit draws for itself: with the subset, the weights it starts from change too."""

    source: Source
    seed: int

    def card(self) -> SourceCard:
        """The source's own card."""
        return self.source.card()

    def network(self) -> Network:
        """The architecture."""
        return self.source.network()

    def weights(self, context: Context) -> Weights:
        """Weights drawn from the fit's stream and the source's seed."""
        fit = cast(WorkerContext, context)
        return self.source.weights(replace(fit, stream=(*fit.stream, "source", self.seed)))
