from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

import pytest
import torch
from torch import Tensor, nn

from advtransfer.precheck import CellOutline, Outline
from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.datasets import ArraySamples
from advtransfer.toolkit.highest_loss import highest_loss_examples, log_odds_loss
from advtransfer.toolkit.loss_attack import LossAttack
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.toolkit.rng import stream_generator
from advtransfer.types import (
    Context,
    EvaluationInputs,
    Measurement,
    Outcome,
    Source,
    SourceCard,
    Weights,
)
from advtransfer_alignment import options
from advtransfer_alignment.surrogate_attacks import (
    CellModel,
    EntryModels,
    Surrogates,
    TransferredEvaluation,
)

ATTACK = LossAttack(eps=0.1, steps=10)
IMAGES = torch.rand((90, 1, 4, 4), generator=stream_generator("transferred"))


@pytest.fixture
def spread(network: Callable[..., BlockNetwork]) -> Callable[[str], BlockNetwork]:
    """A network by its name whose logits have the mean 0 over the images: all classes are predicted."""

    def make(name: str) -> BlockNetwork:
        model = network(name)
        with torch.no_grad():
            cast(nn.Linear, model.head).bias.sub_(model(IMAGES).mean(0))
        return model

    return make


@dataclass(frozen=True)
class Entry:
    """A source whose weights are those of a network."""

    trained: BlockNetwork
    build: Callable[[], BlockNetwork]
    shape: tuple[int, ...] = (1, 4, 4)

    def card(self) -> SourceCard:
        return SourceCard("tiny", "images", "none", self.shape, 3)

    def network(self) -> BlockNetwork:
        return self.build()

    def weights(self, context: Context) -> Weights:
        return Weights(self.trained.state_dict())


@pytest.fixture
def entry(spread: Callable[[str], BlockNetwork]) -> Callable[[str], Source]:
    def make(name: str) -> Source:
        return Entry(spread(name), lambda: spread("untrained"))

    return make


@pytest.fixture
def given(
    network: Callable[..., BlockNetwork],
    spread: Callable[[str], BlockNetwork],
    labelled: Callable[..., ArraySamples],
) -> EvaluationInputs:
    """The network ``model``, which is right on the first 60 of 90 images, and a source of 5 outputs."""
    model = spread("model")
    predicted = model(IMAGES).argmax(1).detach()
    labels = torch.where(torch.arange(90) < 60, predicted, (predicted + 1) % 3)
    test = ArraySamples(card=labelled(labels).card, inputs=IMAGES, labels=labels)
    return EvaluationInputs(test=test, model=model, source=network("source", outputs=5))


def measure(
    given: EvaluationInputs, surrogates: Surrogates, attack: LossAttack = ATTACK
) -> Measurement:
    evaluation = TransferredEvaluation(surrogates=surrogates, attack=attack, seed=0)
    return evaluation.measure(given, context=InMemoryContext())


def test_examples_made_on_the_model_itself_are_the_white_box_ones(
    given: EvaluationInputs, entry: Callable[[str], Source]
) -> None:
    measured = measure(given, EntryModels([entry("model")], "target"))
    model = given.model
    assert model is not None
    labels = given.test.labels(torch.arange(90))
    model.requires_grad_(False)
    points = highest_loss_examples(
        lambda rows, classes: log_odds_loss(model(rows), classes),
        given.test,
        labels,
        attack=ATTACK,
        seed=0,
        context=InMemoryContext(),
    )
    is_right = model(points).argmax(1) == labels
    outcomes = measured.outcomes["accuracy@0.1"]

    assert torch.equal(outcomes[:60] == Outcome.ROBUST, is_right[:60])
    assert (outcomes[60:] == Outcome.WRONG).all()
    assert measured.metrics["transfer_rate@0.1"] == measured.metrics["surrogate_rate@0.1"]
    assert measured.metrics["transfer_rate@0.1"] == pytest.approx(
        float((~is_right[:60]).float().mean())
    )
    assert measured.metrics["jointly_correct"] == pytest.approx(60 / 90)
    assert 0 < measured.metrics["transfer_rate@0.1"] < 1


def test_rates_are_over_the_jointly_correct_images_alone(
    given: EvaluationInputs, entry: Callable[[str], Source], spread: Callable[[str], BlockNetwork]
) -> None:
    measured = measure(given, EntryModels([entry("other")], "target"))
    inputs = given.test.inputs(torch.arange(90))
    labels = given.test.labels(torch.arange(90))
    joint = (spread("other")(inputs).argmax(1) == labels) & (torch.arange(90) < 60)

    assert torch.equal(~measured.samples["transfer_rate@0.1"].isnan(), joint)
    assert measured.metrics["jointly_correct"] == pytest.approx(float(joint.float().mean()))
    broken = measured.outcomes["accuracy@0.1"] == Outcome.BROKEN
    assert measured.metrics["transfer_rate@0.1"] == pytest.approx(
        float(broken[joint].float().mean())
    )


def test_the_white_box_attack_breaks_no_less_than_another_models_examples(
    given: EvaluationInputs, entry: Callable[[str], Source]
) -> None:
    own = measure(given, EntryModels([entry("model")], "target")).metrics
    other = measure(given, EntryModels([entry("other")], "target")).metrics

    assert own["surrogate_rate@0.1"] > other["transfer_rate@0.1"]


class Linear(nn.Module):
    """Logits of 3 classes; the second is moved by the pixel of a number, the others stand still."""

    def __init__(self, pixel: int) -> None:
        super().__init__()
        self.pixel = pixel

    def forward(self, inputs: Tensor) -> Tensor:
        moved = inputs.flatten(1)[:, self.pixel]
        return torch.stack([0.55 * torch.ones_like(moved), moved, 0 * moved], 1)


def linear_entry(pixel: int) -> Source:
    def build() -> BlockNetwork:
        return BlockNetwork({"logits": Linear(pixel)}, nn.Identity()).eval()

    return Entry(build(), build)


def test_several_surrogates_are_attacked_at_once_by_the_sum_of_their_losses(
    labelled: Callable[..., ArraySamples],
) -> None:
    """Each surrogate sees one pixel, and the model both: only examples of both move it far enough."""

    class Both(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            pixels = inputs.flatten(1)
            moved = (pixels[:, 0] + pixels[:, 1]) / 2
            return torch.stack([0.55 * torch.ones_like(moved), moved, 0 * moved], 1)

    count = 8
    test = ArraySamples(
        card=labelled(torch.zeros(count, dtype=torch.int64)).card,
        inputs=torch.full((count, 1, 4, 4), 0.5),
        labels=torch.zeros(count, dtype=torch.int64),
    )
    given = EvaluationInputs(test=test, model=Both().eval())
    attack = LossAttack(eps=0.09, steps=10, random_start=False)
    rates = [
        measure(
            given, EntryModels([linear_entry(pixel) for pixel in pixels], "target"), attack
        ).metrics["transfer_rate@0.09"]
        for pixels in ((0,), (1,), (0, 1))
    ]

    # One pixel at .59 and one at .5 have a mean of .545, below the .55 of the first class.
    assert [0, 0, 1] == rates


def test_the_source_is_left_by_its_own_prediction(given: EvaluationInputs) -> None:
    measured = measure(given, CellModel("source"))

    assert measured.metrics["jointly_correct"] == pytest.approx(60 / 90)
    assert measured.metrics["surrogate_rate@0.1"] > 0


def test_the_reference_is_an_entry_of_the_targets_classes(
    given: EvaluationInputs, entry: Callable[[str], Source], spread: Callable[[str], BlockNetwork]
) -> None:
    named = measure(given, EntryModels([entry("other")], "target"))
    with_reference = replace(given, reference=spread("other"))
    own = measure(with_reference, CellModel("reference"))

    assert named.metrics == own.metrics


def test_an_example_is_made_once_for_all_models(
    given: EvaluationInputs, entry: Callable[[str], Source], spread: Callable[[str], BlockNetwork]
) -> None:
    context = InMemoryContext()
    evaluation = TransferredEvaluation(
        surrogates=EntryModels([entry("other")], "target"), attack=ATTACK, seed=0
    )
    evaluation.measure(given, context=context)
    evaluation.measure(replace(given, model=spread("third")), context=context)

    assert 1 == len(context.built)


def test_momentum_and_input_diversity_change_the_examples(
    given: EvaluationInputs, entry: Callable[[str], Source]
) -> None:
    surrogates = EntryModels([entry("other")], "target")
    contexts = {}
    for changed in ({}, {"momentum": 1.0}, {"input_diversity": 1.0}):
        evaluation = TransferredEvaluation(
            surrogates=surrogates,
            attack=replace(ATTACK, **changed),  # type: ignore[arg-type]  # fields by name
            seed=0,
        )
        context = InMemoryContext()
        rate = evaluation.measure(given, context=context).metrics["surrogate_rate@0.1"]
        (arrays,) = context.built.values()
        contexts[rate, float(arrays["points"].double().sum())] = changed

    assert 3 == len(contexts)
    assert all(0 < rate < 1 for rate, _ in contexts)


def test_a_surrogate_of_another_shape_is_refused(
    given: EvaluationInputs, network: Callable[..., BlockNetwork]
) -> None:
    large = Entry(network("other"), lambda: network("other"), shape=(1, 8, 8))

    with pytest.raises(ValueError, match=r"surrogate for inputs \(1, 8, 8\)"):
        measure(given, EntryModels([large], "target"))


def test_a_surrogate_whose_outputs_are_not_finite_is_refused(
    given: EvaluationInputs, network: Callable[..., BlockNetwork]
) -> None:
    """Its decisions would be those of a NaN, and its rates numbers like any other."""
    broken = network("other")
    with torch.no_grad():
        cast(nn.Linear, broken.head).bias.fill_(torch.nan)

    with pytest.raises(ValueError, match="not finite for 90 of 90 samples"):
        measure(given, EntryModels([Entry(broken, lambda: network("other"))], "predicted"))


def test_the_plan_tells_surrogates_that_do_not_fit() -> None:
    around = CellOutline(target=Outline(shape=(1, 4, 4), outputs=3, bounds=(0.0, 1.0)))
    surrogates = (Outline(shape=(1, 8, 8), outputs=3), Outline(shape=(1, 4, 4), outputs=5))
    chosen = {"attack": LossAttack(eps=255), "surrogates": surrogates, "labels": "target"}
    paths = [each.path for each in options.transferred_misfits(chosen, around)]
    own = [
        each.path for each in options.transferred_misfits(chosen | {"labels": "predicted"}, around)
    ]

    assert [("attack", "eps"), ("surrogates", 0), ("surrogates", 1)] == paths
    assert [("attack", "eps"), ("surrogates", 0)] == own
