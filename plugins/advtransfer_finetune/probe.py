"""The linear probe: logistic regression on frozen features, as one differentiable model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.samples import every
from advtransfer.types import Context, DataCard, Fitted, Network, Samples
from advtransfer_finetune.activations import activations
from advtransfer_finetune.model import TargetModel, target_model
from advtransfer_finetune.regression import Array, Labels, Regression, Scaling, regress


class StandardisedLinear(nn.Module):
    """``weight @ ((features - mean) / scale) + bias``, from ``(B, D)`` to ``(B, K)``; all zero until it is fitted."""

    mean: Tensor
    scale: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, features: int, classes: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(features))
        self.register_buffer("scale", torch.ones(features))
        self.weight = nn.Parameter(torch.zeros(classes, features))
        self.bias = nn.Parameter(torch.zeros(classes))

    def forward(self, features: Tensor) -> Tensor:
        """``(B, D)`` to ``(B, K)``."""
        return nn.functional.linear((features - self.mean) / self.scale, self.weight, self.bias)


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearProbe:
    """A transfer: the source's features stay, a linear classifier on them is fitted.

    Args:
        strengths: Values of C, ascending; more than one needs a validation part.
        max_iterations: The most steps of the solver.
        tolerance: The largest entry of the gradient at which it stops.
    """

    strengths: tuple[float, ...]
    max_iterations: int
    tolerance: float

    def model(self, *, source: Network | None, adapter: nn.Module | None, target: DataCard) -> nn.Module:
        """The untrained model; its shapes are those of the trained one."""
        return TargetModel(source=source, adapter=adapter, target=target, head=StandardisedLinear).eval()

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
        """Solve for the head, for each C if there are several.

        Raises:
            Inapplicable: Several C without a validation part, or training images of one class only.
        """
        if len(self.strengths) > 1 and not validation:
            raise Inapplicable(f"choosing C among {list(self.strengths)} needs a validation part; give it a share of n")
        probed = target_model(model.to(context.device).eval())
        features, labels = _table(probed, train, context)
        scaling = Scaling.of(features)
        found = {}
        for done, C in enumerate(self.strengths, 1):
            found[C] = self._solve(scaling(features), labels, C=C, classes=train.card.outputs)
            context.progress(done, len(self.strengths))
        C, facts = self.strengths[0], dict[str, float]()
        if validation and len(found) > 1:
            held_out, truth = _table(probed, validation, context)
            accuracies = {C: one.accuracy(scaling(held_out), truth) for C, one in found.items()}
            C = max(accuracies, key=accuracies.__getitem__)
            facts["validation_accuracy"] = accuracies[C]
        probed.head.load_state_dict(_state(scaling, found[C]))
        facts |= {"iterations": found[C].iterations, "converged": float(found[C].converged)}
        return Fitted(chosen={"C": C}, facts=facts)

    def _solve(self, features: Array, labels: Labels, *, C: float, classes: int) -> Regression:
        return regress(
            features, labels, classes=classes, C=C, max_iterations=self.max_iterations, tolerance=self.tolerance
        )


def _table(model: TargetModel, samples: Samples, context: Context) -> tuple[Array, Labels]:
    """Features ``(N, D)`` in float64 and labels ``(N,)``."""
    features = activations(model.features, samples, device=context.device)
    return features.double().numpy(), samples.labels(every(samples)).numpy()


def _state(scaling: Scaling, regression: Regression) -> dict[str, Tensor]:
    """What a `StandardisedLinear` holds; loading rounds it to float32."""
    arrays = {"mean": scaling.mean, "scale": scaling.scale, "weight": regression.weight, "bias": regression.bias}
    return {name: torch.from_numpy(array) for name, array in arrays.items()}
