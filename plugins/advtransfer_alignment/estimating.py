"""The estimators as evaluations: on the training samples a transfer may see, as they are or as an attack moves them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from torch import Tensor

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.bounded import Bounded
from advtransfer.types import Context, DataCard, Given, Json, Measurement, Samples
from advtransfer_alignment.labels import labels_of
from advtransfer_alignment.models import Model
from advtransfer_alignment.outputs import outputs_at
from advtransfer_alignment.perturb import perturbations, written
from advtransfer_alignment.settings import Attack

Estimator: TypeAlias = Callable[[Tensor, Tensor, DataCard], float]
"""From what the source gives ``(N, D)``, the labels and the target's card to the estimate."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """An evaluation: one number from what the source gives for the training samples.

    Args:
        metric: The number's name.
        estimator: How it is computed.
        reads: The source's ``features``, or its own head's ``outputs``.
        attack: What moves the samples first, away from the source's own prediction; None for nothing.
        seed: Of the attack's random starts.
    """

    metric: str
    estimator: Estimator
    reads: Literal["features", "outputs"]
    attack: Attack | None
    seed: int

    def measure(self, given: Given, *, context: Context) -> Measurement:
        """One number.

        Raises:
            ValueError: Labels that are none of the target's, or inputs outside the bounds on the card.
            Inapplicable: The labels are all of one class, or the estimator cannot say anything of this source.
        """
        if given.train is None:
            raise ValueError("found no training samples; expected some; declare needs=('train',) on the factory")
        source, train = Model.source(given), Bounded(given.train)
        labels = labels_of(train)
        if train.card.task == "classes" and not (labels != labels[0]).any():
            raise Inapplicable(f"an estimate of transfer needs two classes; all {len(labels)} samples are of one")
        with source.still():
            found = self._given(source, train, context)
        return Measurement(metrics={self.metric: self.estimator(found, labels, train.card)})

    def _given(self, source: Model, train: Samples, context: Context) -> Tensor:
        """What the source gives, remembered: the estimators share it."""

        def build() -> dict[str, Tensor]:
            delta = None
            if self.attack is not None:
                delta = perturbations(source.outputs, train, attack=self.attack, context=context)
            functions = {"features": source.features, "outputs": source.outputs}
            return {name: outputs_at(one, train, delta, context=context) for name, one in functions.items()}

        attack = None if self.attack is None else written(self.attack)
        # the content too: a data set that is named may have another one in another run
        key: dict[str, Json] = {"version": 1, "attack": attack, "seed": self.seed, "content": train.card.digest}
        return context.remember("source activations", key, build, of=("source", "adapter", "train"))[self.reads]
