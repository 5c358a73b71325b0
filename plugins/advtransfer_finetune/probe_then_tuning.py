"""LP-FT: full fine-tuning whose head starts from a linear probe (Kumar et al., 2022)."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import nn

from advtransfer.types import Context, DataCard, Fitted, Network, Samples
from advtransfer_finetune.linear_probes import LinearProbe, StandardizedLinear
from advtransfer_finetune.target_model import as_target_model, refuse_learned_adapter
from advtransfer_finetune.tuning import BlockTuning


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeThenTuning:
    """Transfer that fits a linear probe, and then trains all weights from the probe on.

    Args:
        probe: The probe, whose solution is the head's initial weights.
        tuning: The training of all weights.
    """

    probe: LinearProbe
    tuning: BlockTuning

    def model(
        self, *, source: Network | None, adapter: nn.Module | None, target: DataCard
    ) -> nn.Module:
        """Return the model with its trained parameters unfrozen; `fit` solves for the head.

        Raises:
            Inapplicable: The adapter is learned.
        """
        refuse_learned_adapter(adapter, method="the convex solver of its probe")
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
        """Solve for the head, fold the standardization into it, and train.

        The probe draws no random number, so that a resumed fit finds the same one.

        Raises:
            Diverged: A loss is not finite.
            Inapplicable: There are images of one class only.
        """
        tuned = as_target_model(model.to(context.device).eval())
        probed = as_target_model(
            self.probe.model(source=source, adapter=adapter, target=train.card)
        )
        solved = self.probe.fit(
            probed,
            source=source,
            adapter=adapter,
            train=train,
            validation=None,
            context=context,
        )
        tuned.head.load_state_dict(fold_standardization(probed.head).state_dict())
        fitted = self.tuning.train(tuned, train=train, validation=validation, context=context)
        facts = {f"probe_{name}": value for name, value in solved.facts.items()}
        return replace(fitted, facts={**fitted.facts, **facts})


def fold_standardization(probe: nn.Module) -> nn.Linear:
    """Return the linear layer ``(B, D)`` to ``(B, K)`` that equals a `StandardizedLinear`.

    ``W ((x - mean) / scale) + b = (W / scale) x + (b - (W / scale) mean)``, computed in float64.

    Raises:
        TypeError: The module is none.
    """
    if not isinstance(probe, StandardizedLinear):
        found = f"a {type(probe).__name__}"
        raise TypeError(f"found {found}; expected a StandardizedLinear; pass the probe's head")
    weight = probe.weight.detach().double() / probe.scale.double()
    bias = probe.bias.detach().double() - weight @ probe.mean.double()
    outputs, features = weight.shape
    layer: nn.Linear = nn.utils.skip_init(nn.Linear, features, outputs)  # type: ignore[no-untyped-call]  # torch
    layer.load_state_dict({"weight": weight, "bias": bias})
    return layer
