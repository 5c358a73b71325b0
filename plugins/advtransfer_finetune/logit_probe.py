"""Affine probe on the source's logits: least squares in closed form."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import nn

from advtransfer.toolkit.datasets import all_positions
from advtransfer.toolkit.losses import regression_targets
from advtransfer.types import Context, DataCard, Fitted, Network, Samples
from advtransfer_finetune.regression import FloatArray
from advtransfer_finetune.target_model import (
    TargetModel,
    as_target_model,
    draw_head,
    refuse_learned_adapter,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LogitAffine:
    """Transfer that maps the frozen source's logits by the affine map nearest to the labels.

    Args:
        cutoff: Singular values of the centred logits below this share of the largest count as zero.
        cached: Share the logits with other fits.
    """

    cutoff: float
    cached: bool = True

    def model(
        self, *, source: Network | None, adapter: nn.Module | None, target: DataCard
    ) -> nn.Module:
        """Return the untrained model, whose shapes are those of the trained one.

        Raises:
            Inapplicable: The adapter is learned.
        """
        refuse_learned_adapter(adapter, method="a closed form")
        head = partial(draw_head, init="default", source=torch.Generator())
        model = TargetModel(
            source=source, adapter=adapter, target=target, head=head, reads="logits"
        )
        return model.eval()

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
        """Solve for the head.

        The fact ``residual`` is the root mean squared distance that remains (Liang et al., 2020).
        """
        probed = as_target_model(model.to(context.device).eval())
        logits = probed.frozen_extractor(shared=self.cached)(train, context).double().numpy()
        labels = train.labels(all_positions(train))
        targets = regression_targets(labels, train.card).numpy()
        solution = least_squares_map(logits, targets, cutoff=self.cutoff)
        probed.head.load_state_dict(
            {
                "weight": torch.from_numpy(solution.weight),
                "bias": torch.from_numpy(solution.bias),
            }
        )
        return Fitted(facts={"rank": solution.rank, "residual": solution.residual})


@dataclass(frozen=True, slots=True)
class AffineMap:
    """Affine map ``inputs @ weight.T + bias``.

    Attributes:
        weight: ``(K, D)``.
        bias: ``(K,)``.
        rank: Rank of the centred inputs.
        residual: Root mean squared distance from the outputs.
    """

    weight: FloatArray
    bias: FloatArray
    rank: int
    residual: float


def least_squares_map(inputs: FloatArray, outputs: FloatArray, *, cutoff: float) -> AffineMap:
    """Return the least-squares map from ``(N, D)`` to ``(N, K)``.

    W = Cov(y, z) Cov(z, z)^+ and b = E y - W E z. The pseudoinverse is that of the centred inputs
    themselves, which gives the same W without squaring their condition number.
    """
    input_mean = inputs.mean(0)
    output_mean = outputs.mean(0)
    solution, _, rank, _ = np.linalg.lstsq(inputs - input_mean, outputs - output_mean, rcond=cutoff)
    weight: FloatArray = solution.T
    bias: FloatArray = output_mean - weight @ input_mean
    squared_errors = np.square(outputs - inputs @ solution - bias).sum(1)
    residual = float(np.sqrt(squared_errors.mean()))
    return AffineMap(weight, bias, int(rank), residual)
