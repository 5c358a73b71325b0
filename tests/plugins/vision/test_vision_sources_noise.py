"""The controls of a source's quality: label noise, weight noise, and batch normalisation measured again."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.toolkit.datasets import ArraySamples, all_positions
from advtransfer.toolkit.prediction import measure_accuracy
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.types import Samples, Source
from advtransfer.worker.object_builder import CachedSource
from advtransfer_vision.components import training
from advtransfer_vision.data_changes import relabel_samples
from advtransfer_vision.networks import SizedNetwork
from advtransfer_vision.weight_noise import add_weight_noise, remeasure_batch_norm

CPU = torch.device("cpu")
TOY = toy(shape=(1, 8, 8))
MANY = toy(train=3_000, classes=5, shape=(1, 3, 3)).part("train")


def _labels(samples: Samples) -> Tensor:
    return samples.labels(all_positions(samples))


def _noisy(share: float, *, seed: int = 0) -> Tensor:
    return _labels(relabel_samples(MANY, share=share, generator=stream_generator("labels", seed)))


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 1.0])
def test_so_many_labels_are_replaced_each_by_another(share: float) -> None:
    assert round(3_000 * share) == int((_labels(MANY) != _noisy(share)).sum())


def test_every_other_class_is_equally_likely() -> None:
    pairs = Counter(zip(_labels(MANY).tolist(), _noisy(1.0).tolist(), strict=True))

    assert 20 == len(pairs)
    assert 110 < min(pairs.values())
    assert 190 > max(pairs.values())


def test_larger_share_contains_the_labels_of_a_smaller_one() -> None:
    few, more, right = _noisy(0.2), _noisy(0.6), _labels(MANY)
    replaced = few != right

    assert few[replaced].equal(more[replaced])
    assert not few.equal(_noisy(0.2, seed=1))


def test_label_noise_changes_nothing_but_labels() -> None:
    noisy, positions = (
        relabel_samples(MANY, share=0.5, generator=stream_generator("labels")),
        torch.tensor([5, 2]),
    )

    assert 3_000 == len(noisy)
    assert list(MANY.keys) == list(noisy.keys)
    assert MANY.inputs(positions).equal(noisy.inputs(positions))
    assert noisy.card == MANY.card


def test_label_noise_is_refused_for_other_tasks() -> None:
    card = replace(MANY.card, task="values", outputs=1)
    values = ArraySamples(card=card, inputs=torch.zeros(4, 1, 3, 3), labels=torch.zeros(4, 1))
    with pytest.raises(
        ValueError, match=r"found label_noise 0.1 for the task 'values' .* leave label_noise out"
    ):
        relabel_samples(values, share=0.1, generator=stream_generator("labels"))


def test_a_source_learns_less_from_noisier_labels() -> None:
    found = []
    for share in (0.0, 0.9):
        source = training.trained(data=TOY, width=4, epochs=10, label_noise=share)
        found.append(
            measure_accuracy(_filled(source, InMemoryContext()), TOY.part("test"), device=CPU)
        )

    assert found[0] > found[1] + 0.5
    assert "90% of the labels replaced" in source.card().data


def _filled(source: Source, context: InMemoryContext) -> nn.Module:
    network = source.network()
    assert isinstance(network, nn.Module)
    network.load_state_dict(dict(source.weights(context).tensors))
    return network.eval()


def _ready(network: SizedNetwork) -> Source:
    """A trained source as a worker hands it on."""
    source = training.trained(data=TOY, network=network, epochs=3)
    return CachedSource(source, source.weights(InMemoryContext()).tensors)


def test_noise_is_scaled_by_each_parameters_deviation() -> None:
    layer = build_initialized(lambda: nn.Linear(400, 100), stream_generator("layer"))
    with torch.no_grad():
        layer.weight.mul_(3).add_(7)
    before = layer.weight.detach().clone()
    add_weight_noise(layer, scale=0.5, noise=stream_generator("noise"))

    assert 0.5 * before.std().item() == pytest.approx(
        (layer.weight - before).std().item(), rel=0.02
    )
    assert 0.0 == pytest.approx((layer.weight - before).mean().item(), abs=0.02)


def test_uniform_noise_has_one_interval_for_all_parameters() -> None:
    """U[-0.5, 0.5] has the variance 1 / 12, whatever the spread of the parameter."""
    layer = build_initialized(lambda: nn.Linear(400, 100), stream_generator("layer"))
    with torch.no_grad():
        layer.weight.mul_(30)
    before = [parameter.detach().clone() for parameter in layer.parameters()]
    add_weight_noise(layer, scale=2, noise=stream_generator("noise"), distribution="uniform")
    weights, biases = (
        parameter - start for parameter, start in zip(layer.parameters(), before, strict=True)
    )

    assert 2 / 12**0.5 == pytest.approx(weights.std().item(), rel=0.01)
    assert 0.99 < weights.abs().max().item() < 1.0001
    assert 0.9 < biases.abs().max().item() < 1.0001


def test_a_network_of_one_number_moves_by_uniform_noise_alone() -> None:
    moved = []
    for distribution in ("normal", "uniform"):
        layer = nn.Linear(1, 1, bias=False)
        with torch.no_grad():
            layer.weight.fill_(3)
        noise = stream_generator("noise")
        add_weight_noise(layer, scale=1, noise=noise, distribution=distribution)
        moved.append(layer.weight.item() != 3)

    assert [False, True] == moved


@pytest.mark.parametrize("noise", ["normal", "uniform"])
def test_a_larger_scale_goes_further_in_the_same_direction(noise: Any) -> None:  # noqa: ANN401  # Any: one of both
    source = _ready(SizedNetwork(name="small_cnn", width=4))
    there = [
        training.perturbed(source=source, data=TOY, scale=scale, noise=noise)
        .weights(InMemoryContext())
        .tensors
        for scale in (0.0, 0.1, 0.3)
    ]

    assert all(
        there[0][name].equal(source.weights(InMemoryContext()).tensors[name]) for name in there[0]
    )
    for name, start in there[0].items():
        assert (3 * (there[1][name] - start)).allclose(there[2][name] - start, atol=1e-5)


def test_enough_noise_makes_a_source_useless() -> None:
    source = _ready(SizedNetwork(name="resnet18", width=2))
    found = []
    for scale in (0.0, 3.0):
        perturbed = training.perturbed(source=source, data=TOY, scale=scale)
        found.append(
            measure_accuracy(_filled(perturbed, InMemoryContext()), TOY.part("test"), device=CPU)
        )

    assert found[0] > found[1] + 0.2


def test_the_seed_draws_the_noise() -> None:
    source = _ready(SizedNetwork(name="resnet18", width=1))
    perturbed = training.perturbed(source=source, data=TOY, scale=0.5)
    first, again, other = (perturbed.weights(InMemoryContext(seed)).tensors for seed in (0, 0, 1))

    assert all(first[name].equal(again[name]) for name in first)
    assert not first["head.weight"].equal(other["head.weight"])


def test_the_card_of_a_perturbed_source_claims_no_constraint_and_no_accuracy() -> None:
    card = training.perturbed(
        source=_ready(SizedNetwork(name="small_cnn")), data=TOY, scale=0.5
    ).card()

    assert "none: weights perturbed by 0.5 standard deviations (before: none)" == card.constraint
    assert card.clean_accuracy is None
    assert "small_cnn, width 16" == card.architecture


def test_the_card_names_uniform_noise() -> None:
    source = _ready(SizedNetwork(name="small_cnn"))
    card = training.perturbed(source=source, data=TOY, scale=0.5, noise="uniform").card()

    assert "none: weights perturbed by 0.5 * uniform(-0.5, 0.5) (before: none)" == card.constraint


def test_data_of_another_shape_are_refused() -> None:
    with pytest.raises(ValueError, match=r"found data of shape \(1, 4, 4\); expected \(1, 8, 8\)"):
        training.perturbed(source=_ready(SizedNetwork(name="small_cnn")), data=toy(), scale=0.5)


def test_batch_normalisation_measures_the_averages_of_what_comes_in() -> None:
    data = toy(shape=(3, 8, 8), train=256).part("train")
    layer = nn.BatchNorm2d(3, momentum=0.3)
    network = nn.Sequential(layer, nn.Dropout(0.5), nn.BatchNorm2d(3, track_running_stats=False))
    network.load_state_dict(network.state_dict() | {"0.running_mean": torch.full((3,), 9.0)})
    remeasure_batch_norm(network, data, device=CPU, generator=stream_generator("order"))
    pixels = data.inputs(all_positions(data)).transpose(0, 1).flatten(1)

    state = network.state_dict()
    assert pixels.mean(1).allclose(state["0.running_mean"], atol=1e-6)
    assert pixels.var(1).allclose(state["0.running_var"], rtol=0.02)
    assert 0.3 == layer.momentum
    assert not any(module.training for module in network.modules())


def test_network_without_batch_normalisation_is_unchanged() -> None:
    network = nn.Linear(2, 2)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    remeasure_batch_norm(network, MANY, device=CPU, generator=stream_generator("order"))

    assert all(before[name].equal(tensor) for name, tensor in network.state_dict().items())
    assert not network.training
