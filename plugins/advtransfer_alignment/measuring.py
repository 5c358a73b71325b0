"""The alignment of a source with a reference: one pass over the test samples, both ways."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from advtransfer.toolkit.samples import every
from advtransfer.types import Context, DataCard, Given, Json, Measurement, Samples
from advtransfer_alignment.comparison import Comparison, Seen
from advtransfer_alignment.gradients import jacobians
from advtransfer_alignment.linearised import from_grams, from_passes
from advtransfer_alignment.models import Model
from advtransfer_alignment.outputs import outputs_at
from advtransfer_alignment.perturb import check, perturbations, written
from advtransfer_alignment.settings import Attack, Spectrum, TopSingular


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignmentOf:
    """An evaluation: how far source and reference are attacked alike, and how near one is to a map of the other.

    Args:
        attack: What perturbs both.
        spectrum: How the directions of their Jacobians are found.
        seed: Of the attack's random starts.
    """

    attack: Attack
    spectrum: Spectrum
    seed: int

    def measure(self, given: Given, *, context: Context) -> Measurement:
        """Numbers over the samples that the reference has right; arrays over all.

        Raises:
            ValueError: A model in training mode, outputs that are not finite, or of another number than the target's.
            Inapplicable: Fewer than two samples are right and move both models; or the attack does not fit the task.
        """
        source, reference = Model.source(given), Model.reference(given)
        check(self.attack, given.test.card)
        with source.still(), reference.still():
            return self._compared(source, reference, given.test, context).measurement()

    def _compared(self, source: Model, reference: Model, test: Samples, context: Context) -> Comparison:
        seen = [
            self._seen(model, test, what=f"{name} adversarials", of=(*of, "test"), context=context)
            for name, model, of in (("source", source, ("source", "adapter")), ("reference", reference, ("reference",)))
        ]
        labels = test.labels(every(test))
        _check(seen[1].outputs, labels, test.card)
        crossed = [
            outputs_at(model.outputs, test, seen[other].delta, context=context)
            for model, other in ((reference, 0), (source, 1))
        ]
        whole = max(one.outputs.shape[1] for one in seen) <= self.spectrum.most_outputs
        functions = (source.outputs, reference.outputs)
        found = jacobians(*functions, test, device=context.device) if whole else None
        if found is not None:
            linear = from_grams(found.grams)
        else:
            linear = from_passes(*functions, test, spectrum=self.spectrum, context=context)
        return Comparison(
            card=test.card,
            labels=labels,
            source=seen[0],
            reference=seen[1],
            reference_at_source=crossed[0],
            source_at_reference=crossed[1],
            features=tuple(outputs_at(one.features, test, None, context=context) for one in (source, reference)),
            linear=linear,
            jacobians=found,
            exact=isinstance(self.attack, TopSingular),
        )

    def _seen(self, model: Model, test: Samples, *, what: str, of: tuple[str, ...], context: Context) -> Seen:
        """A model at the samples and at its own adversarials: remembered, since it hangs on no other model."""

        def build() -> dict[str, Tensor]:
            delta = perturbations(model.outputs, test, attack=self.attack, context=context)
            outputs, attacked = (outputs_at(model.outputs, test, at, context=context) for at in (None, delta))
            return {"delta": delta, "outputs": outputs, "attacked": attacked}

        # the content too: a data set that is named may have another one in another run
        content = test.card.digest
        key: dict[str, Json] = {"version": 1, "attack": written(self.attack), "seed": self.seed, "content": content}
        found = context.remember(what, key, build, of=of)
        return Seen(found["delta"], found["outputs"].double(), found["attacked"].double())


def _check(outputs: Tensor, labels: Tensor, card: DataCard) -> None:
    if outputs.shape[1] != card.outputs:
        found, expected = f"a reference of {outputs.shape[1]} outputs", f"{card.outputs}, as the target has"
        raise ValueError(f"found {found}; expected {expected}; train the reference on the target's own data entry")
    if card.task == "classes" and not ((labels >= 0) & (labels < card.outputs)).all():
        found = f"labels from {int(labels.min())} to {int(labels.max())}"
        raise ValueError(
            f"found {found}; expected 0 to {card.outputs - 1}, the target's classes; renumber the data set"
        )
