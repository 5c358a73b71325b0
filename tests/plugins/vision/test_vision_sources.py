from __future__ import annotations

from functools import cache

import pytest
import torch
from torch import Tensor, nn

from advtransfer.errors import Cancelled
from advtransfer.host import Host
from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.toolkit.attack import pgd
from advtransfer.toolkit.prediction import accuracy, predict
from advtransfer.toolkit.recipe import Adversary, Sgd
from advtransfer.toolkit.samples import every
from advtransfer.toolkit.streams import generator
from advtransfer.toolkit.views import view
from advtransfer.types import Dataset, Json, Source, Tensors
from advtransfer_vision.factories import data, training

CPU = torch.device("cpu")
TOY = toy(shape=(1, 8, 8))
LINF = Adversary(eps=0.1, steps=5)
CHANGED = "other weights than there were: if that is meant, raise `version` in the factory's component"


@cache
def _low() -> Dataset:
    return view(data.digits(), classes=[0, 1, 2, 3, 4])


def _filled(source: Source, tensors: Tensors) -> nn.Module:
    network = source.network()
    assert isinstance(network, nn.Module)
    network.load_state_dict(dict(tensors))
    return network.eval()


@cache
def _trained(adversary: Adversary | None) -> nn.Module:
    source = training.trained(data=_low(), adversary=adversary, epochs=10)
    return _filled(source, source.weights(InMemoryContext()).tensors)


def _robust_accuracy(model: nn.Module) -> float:
    test = _low().part("test")
    inputs, labels = test.inputs(every(test)), test.labels(every(test))
    attacked = pgd(
        model,
        inputs,
        labels,
        norm="linf",
        eps=0.1,
        steps=20,
        step_size=0.0125,
        random_start=True,
        generator=generator("test"),
    )
    with torch.no_grad():
        right: Tensor = model(attacked).argmax(1) == labels
    return right.float().mean().item()


def _first_logits(source: Source) -> list[float]:
    model = _filled(source, source.weights(InMemoryContext()).tensors)
    logits: list[float] = predict(model, TOY.part("test"), device=CPU)[0][0].tolist()
    return logits


def _same(first: Tensors, second: Tensors) -> bool:
    return first.keys() == second.keys() and all(first[name].equal(second[name]) for name in first)


def test_a_trained_source_knows_its_own_test_part() -> None:
    assert accuracy(_trained(None), _low().part("test"), device=CPU) > 0.95
    assert accuracy(_trained(LINF), _low().part("test"), device=CPU) > 0.95


def test_adversarial_training_makes_it_more_robust() -> None:
    assert _robust_accuracy(_trained(LINF)) > _robust_accuracy(_trained(None)) + 0.1


@pytest.mark.parametrize("adversary", [None, LINF, Adversary(norm="l2", eps=0.5, steps=2)])
def test_the_same_seed_gives_the_same_bits(adversary: Adversary | None) -> None:
    source = training.trained(data=TOY, adversary=adversary, epochs=2, width=4)
    first, again, other = (source.weights(InMemoryContext(seed)) for seed in (0, 0, 1))

    assert _same(first.tensors, again.tensors)
    assert first.curves == again.curves
    assert not _same(first.tensors, other.tensors)


def test_a_killed_training_continues_to_the_same_bits() -> None:
    source = training.trained(data=TOY, adversary=LINF, epochs=3, width=4)
    context = InMemoryContext(cancel_after=2)
    with pytest.raises(Cancelled):
        source.weights(context)
    continued = source.weights(context.resumed())

    assert _same(source.weights(InMemoryContext()).tensors, continued.tensors)
    assert 3 == len(continued.curves)


def test_training_starts_from_the_random_source_of_the_same_seed() -> None:
    random_init = training.random_init(data=TOY, width=4)
    barely = training.trained(data=TOY, width=4, epochs=1, optimiser=Sgd(lr=1e-30, weight_decay=0))

    assert _same(random_init.weights(InMemoryContext(3)).tensors, barely.weights(InMemoryContext(3)).tensors)


def test_the_cards_say_what_the_sources_are() -> None:
    natural = training.trained(data=TOY).card()
    robust = training.trained(data=TOY, adversary=LINF, width=8).card()
    random_init = training.random_init(data=TOY).card()
    described = f"3 classes (pattern 0, pattern 1, pattern 2), digest {TOY.card().digest[:12]}"

    assert ("small_cnn, width 16", described, "none") == (natural.architecture, natural.data, natural.constraint)
    assert ((1, 8, 8), 3, None) == (natural.shape, natural.outputs, natural.clean_accuracy)
    assert ("small_cnn, width 8", "linf eps 0.1") == (robust.architecture, robust.constraint)
    assert ("none: untrained", "none") == (random_init.data, random_init.constraint)


def test_building_a_network_leaves_global_randomness_alone() -> None:
    before = torch.get_rng_state()
    source = training.random_init(data=TOY)
    source.network()
    source.weights(InMemoryContext())

    assert before.equal(torch.get_rng_state())


def test_an_l2_ball_that_holds_every_image_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"found l2 eps 8\.5; expected at most 8, the length of an input's longest change"
    ):
        training.trained(data=TOY, adversary=Adversary(norm="l2", eps=8.5))


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({"adversary": {"norm": "linf"}}, ("adversary",)),
        ({"adversary": {"eps": 8}}, ("adversary",)),
        ({"network": "resnet50"}, ("network",)),
        ({"epochs": 0}, ("epochs",)),
        ({"width": 0}, ("width",)),
        ({"seed": -1}, ("seed",)),
    ],
)
def test_options_that_make_no_sense_are_found_without_torch(options: dict[str, Json], path: tuple[str, ...]) -> None:
    _, faults = Host.discover().component("vision/trained").options.validate(options)

    assert [path] == [fault.path for fault in faults]


@pytest.mark.parametrize(
    ("adversary", "expected"),
    [(None, [0.2444, -0.0841, -0.0067]), (Adversary(eps=0.1, steps=2), [0.1382, 0.0014, 0.0189])],
)
def test_a_tiny_training_has_not_changed(adversary: Adversary | None, expected: list[float]) -> None:
    source = training.trained(data=TOY, adversary=adversary, epochs=10, width=8)

    assert expected == pytest.approx(_first_logits(source), abs=1e-3), CHANGED


def test_random_weights_have_not_changed() -> None:
    source = training.random_init(data=TOY, width=8)

    assert [0.0523, 0.0835, 0.0471] == pytest.approx(_first_logits(source), abs=1e-3), CHANGED
