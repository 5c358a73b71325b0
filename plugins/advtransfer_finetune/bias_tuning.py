"""BitFit: only the source's biases are trained, with a new head (Ben Zaken et al., 2022)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import cast

from torch import nn

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.model_modes import freeze_weights
from advtransfer.types import Context, DataCard, Fitted, Network, Samples
from advtransfer_finetune.target_model import as_target_model, trained_parameter_count
from advtransfer_finetune.tuning import BlockTuning


@dataclass(frozen=True, slots=True, kw_only=True)
class BiasTuning:
    """Transfer that trains the source's biases and a new head.

    Args:
        tuning: The training of a model whose trained weights are unfrozen.
    """

    tuning: BlockTuning

    def model(
        self, *, source: Network | None, adapter: nn.Module | None, target: DataCard
    ) -> nn.Module:
        """Return the model with its biases unfrozen; `fit` draws the head's weights.

        Raises:
            Inapplicable: The source has no biases.
        """
        model = as_target_model(self.tuning.model(source=source, adapter=adapter, target=target))
        network = cast(nn.Module, model.network)
        # Those of the source's own head are frozen already, since it is not used.
        biases = [bias for bias in bias_parameters(network) if bias.requires_grad]
        if not biases:
            raise Inapplicable("the source has no biases to train; take finetune/blocks")
        freeze_weights(network)
        for bias in biases:
            bias.requires_grad_(True)
        return model

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
        """Draw the head and train; the validation part is only measured.

        Raises:
            Diverged: A loss is not finite.
        """
        fitted = self.tuning.fit(
            model,
            source=source,
            adapter=adapter,
            train=train,
            validation=validation,
            context=context,
        )
        return replace(fitted, facts={**fitted.facts, **trained_parameter_count(model)})


def bias_parameters(module: nn.Module) -> Iterator[nn.Parameter]:
    """Yield the biases of convolutions, linear layers, normalisations and attention.

    They are called ``bias``, or end with ``_bias`` as in attention; beta of a batch normalisation
    is its ``bias``.
    """
    for path, parameter in module.named_parameters():
        name = path.rpartition(".")[2]
        if name == "bias" or name.endswith("_bias"):
            yield parameter
