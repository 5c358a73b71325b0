"""LoRA: low-rank updates of the source's weights and a new head are trained (Hu et al., 2022)."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

from torch import nn

from advtransfer.errors import Inapplicable
from advtransfer.types import Context, DataCard, Fitted, Network, Samples
from advtransfer_finetune.low_rank import add_updates, merge_updates, merged_state
from advtransfer_finetune.target_model import as_target_model, trained_parameter_count
from advtransfer_finetune.tuning import BlockTuning


@dataclass(frozen=True, slots=True, kw_only=True)
class LowRankTuning:
    """Transfer that trains low-rank updates of all weights of the source, and a new head.

    The fitted model is a plain one: the updates are merged into the weights.

    Args:
        rank: Rank of each update; 0 trains the head alone.
        alpha: Each update is scaled by alpha / rank.
        tuning: The training of the head alone, which the updates join.
    """

    rank: int
    alpha: float
    tuning: BlockTuning

    def model(
        self, *, source: Network | None, adapter: nn.Module | None, target: DataCard
    ) -> nn.Module:
        """Return the model without updates, whose shapes are those of the merged one."""
        return self.tuning.model(source=source, adapter=adapter, target=target)

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
        """Draw head and updates, train, and merge; the validation part is only measured.

        Raises:
            Diverged: A loss is not finite.
            Inapplicable: The source has no layer that can be updated.
        """
        tuned = as_target_model(model.to(context.device).eval())
        self.tuning.draw_new_layers(tuned, context)
        network = cast(nn.Module, tuned.network)
        if self.rank:
            updates = add_updates(
                network,
                rank=self.rank,
                alpha=self.alpha,
                generator=context.generator("lora"),
                # The source's own head is not used.
                without=set(tuned.network.head.modules()),
            )
            if not updates:
                raise Inapplicable("the source has no convolution, linear layer or attention")
        count = trained_parameter_count(tuned)
        # With updates, the activations before the head change at every step.
        tuning = replace(self.tuning, extract_once=not self.rank)
        fitted = tuning.train(tuned, train=train, validation=validation, context=context)
        merge_updates(network)
        snapshots = {
            epoch: merged_state(state, scale=self.alpha / max(1, self.rank))
            for epoch, state in fitted.snapshots.items()
        }
        return replace(fitted, facts={**fitted.facts, **count}, snapshots=snapshots)
