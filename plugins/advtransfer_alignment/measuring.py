"""The alignment of a source with a reference: one pass over the test samples, both ways."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from advtransfer.toolkit.bounded import Bounded
from advtransfer.types import Context, Given, Json, Measurement, Samples
from advtransfer_alignment.comparison import Comparison, Seen
from advtransfer_alignment.gradients import jacobians
from advtransfer_alignment.labels import expect_outputs, labels_of
from advtransfer_alignment.linearised import from_grams, from_passes
from advtransfer_alignment.models import Model
from advtransfer_alignment.outputs import outputs_at
from advtransfer_alignment.perturb import perturbations, written
from advtransfer_alignment.settings import Attack, Spectrum, TopSingular


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignmentOf:
    """An evaluation: how far source and reference are attacked alike, and how near one is to a map of the other.

    Args:
        attack: What perturbs both.
        spectrum: How the directions of their Jacobians are found, those that `attack` may go along among them.
        seed: Of the attack's random starts.
    """

    attack: Attack
    spectrum: Spectrum
    seed: int

    def measure(self, given: Given, *, context: Context) -> Measurement:
        """Numbers over the samples that the reference has right; arrays over all.

        Raises:
            ValueError: A model in training mode, outputs that are not finite, or of another number than the target's;
                inputs outside the bounds on the card, labels that are none of the target's, or too large a radius.
            Inapplicable: Fewer than two samples are right; or the attack does not fit the task.
        """
        source, reference, test = Model.source(given), Model.reference(given), Bounded(given.test)
        with source.still(), reference.still():
            return self._compared(source, reference, test, context).measurement()

    def _compared(self, source: Model, reference: Model, test: Samples, context: Context) -> Comparison:
        labels = labels_of(test)
        seen = [
            self._seen(model, test, what=f"{name} adversarials", of=(*of, "test"), context=context)
            for name, model, of in (("source", source, ("source", "adapter")), ("reference", reference, ("reference",)))
        ]
        expect_outputs(seen[1].outputs, test.card, of="reference")
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
            delta = perturbations(model.outputs, test, attack=self.attack, spectrum=self.spectrum, context=context)
            outputs, attacked = (outputs_at(model.outputs, test, at, context=context) for at in (None, delta))
            return {"delta": delta, "outputs": outputs, "attacked": attacked}

        # the content too: a data set that is named may have another one in another run
        content, attack = test.card.digest, written(self.attack, spectrum=self.spectrum)
        key: dict[str, Json] = {"version": 1, "attack": attack, "seed": self.seed, "content": content}
        found = context.remember(what, key, build, of=of)
        return Seen(found["delta"], found["outputs"].double(), found["attacked"].double())
