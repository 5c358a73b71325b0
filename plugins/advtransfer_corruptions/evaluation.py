"""Evaluation of a model's accuracy on corrupted test images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.datasets import require_unit_bounds
from advtransfer.toolkit.network import load_source
from advtransfer.toolkit.prediction import apply_in_chunks, kernel_batches, require_logits
from advtransfer.types import Context, EvaluationInputs, Folder, Measurement, Samples, Source
from advtransfer_corruptions.corrupt import Corruptor, load_photographs
from advtransfer_corruptions.tables import (
    COLOUR_ONLY,
    SEVERITIES,
    Corruption,
    Table,
    table_for,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CorruptionEvaluation:
    """An evaluation of the accuracy on corrupted test samples.

    Args:
        corruptions: The corruptions.
        table: The table of severities; None for the one of the images' size.
        frost: Folder of photographs of frost.
        baseline: The model that mCE is relative to; None leaves mCE out.
        seed: Seed of the random numbers.
    """

    corruptions: Sequence[Corruption]
    table: Table | None
    frost: Folder | None
    baseline: Source | None
    seed: int

    def measure(self, given: EvaluationInputs, *, context: Context) -> Measurement:
        """Return errors by corruption and severity, and their means.

        Raises:
            ValueError: There is no model, or a model is in training mode; images are outside [0, 1];
                logits are not finite; or a photograph of frost does not do.
            Inapplicable: The inputs are not images of one or three channels, or no corruption is
                left for grey ones.
        """
        model = given.model
        if model is None:
            raise ValueError(
                "found no model; expected the transferred model; "
                "declare needs=('model',) on the factory"
            )
        shape = given.test.card.shape
        if len(shape) != 3 or shape[0] not in (1, 3):
            raise Inapplicable(
                f"corruptions are of images of one or three channels, not of {shape}"
            )
        test = require_unit_bounds(given.test)
        table = table_for(min(shape[1:])) if self.table is None else self.table
        photographs = []
        if self.frost is not None:
            size = (shape[1], shape[2])
            photographs = load_photographs(self.frost, table=table, size=size)
        corruptor = Corruptor(table, self.seed, photographs)
        models = {"model": model}
        if self.baseline is not None:
            models["baseline"] = cast(nn.Module, load_source(self.baseline, context))
        wrong = self._wrong_predictions(models, test, corruptor, context)
        return _describe(wrong["model"], wrong.get("baseline"))

    def _wrong_predictions(
        self,
        models: Mapping[str, nn.Module],
        test: Samples,
        corruptor: Corruptor,
        context: Context,
    ) -> dict[str, dict[Corruption, Tensor]]:
        """Return which predictions are wrong, ``(5, N)`` bool for each model and corruption."""
        is_grey = test.card.shape[0] == 1
        corruptions = [each for each in self.corruptions if not (is_grey and each in COLOUR_ONLY)]
        if not corruptions:
            raise Inapplicable("the corruptions change colours alone, and the images are grey")
        for name, model in models.items():
            if any(module.training for module in model.modules()):
                raise ValueError(
                    f"found the {name} in training mode; expected eval mode; "
                    "call model.eval() before measuring"
                )
        wrong = {
            name: {each: torch.zeros(5, len(test), dtype=torch.bool) for each in corruptions}
            for name in models
        }
        for positions, inputs, labels in kernel_batches(test):
            keys = [test.keys[position] for position in positions.tolist()]
            for corruption in corruptions:
                for severity in SEVERITIES:
                    corrupted = corruptor.corrupt(
                        inputs, keys, corruption=corruption, severity=severity, context=context
                    ).to(context.device)
                    for name, model in models.items():
                        predicted = _predictions(model, corrupted)
                        wrong[name][corruption][severity - 1, positions] = predicted != labels
            context.progress(int(positions[-1]) + 1, len(test))
        return wrong


def _predictions(model: nn.Module, images: Tensor) -> Tensor:
    """Return the predicted classes ``(B,)`` on the CPU."""

    def checked_model(rows: Tensor) -> Tensor:
        return require_logits(model(rows), len(rows))

    with torch.inference_mode():
        logits = apply_in_chunks(checked_model, images)
    if not logits.isfinite().all():
        raise ValueError(
            "found logits that are not finite; expected finite values; check the model's weights"
        )
    return logits.argmax(1).cpu()


def _describe(
    wrong: Mapping[Corruption, Tensor], baseline: Mapping[Corruption, Tensor] | None
) -> Measurement:
    by_severity = torch.stack([values.double() for values in wrong.values()])
    samples = {
        "mean_corruption_error": by_severity.mean((0, 1)),
        **{
            f"accuracy_severity_{severity}": 1 - by_severity[:, severity - 1].mean(0)
            for severity in SEVERITIES
        },
        **{f"error_{name}": values.double().mean(0) for name, values in wrong.items()},
    }
    shares = {name: float(values.mean()) for name, values in samples.items()}
    shares |= {
        f"error_{name}_{severity}": float(values[severity - 1].double().mean())
        for name, values in wrong.items()
        for severity in SEVERITIES
    }
    metrics = dict(shares)
    if baseline is not None:
        # Hendrycks and Dietterich (2019), section 4.1: errors are summed over severities first.
        sums = {name: float(values.sum()) for name, values in baseline.items()}
        if all(sums.values()):
            ratios = [float(values.sum()) / sums[name] for name, values in wrong.items()]
            metrics["mCE"] = sum(ratios) / len(ratios)
    return Measurement(
        metrics=metrics,
        samples={name: values.float() for name, values in samples.items()},
        shares=list(shares),
    )
