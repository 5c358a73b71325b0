from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from advtransfer.errors import Cancelled
from advtransfer.host import Host
from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.toolkit.adversary import Adversary, Fast, Free, Trades
from advtransfer.toolkit.datasets import ArraySamples, all_positions
from advtransfer.toolkit.pgd import pgd
from advtransfer.toolkit.prediction import measure_accuracy, predict
from advtransfer.toolkit.rng import stream_generator
from advtransfer.toolkit.training_config import Adam, Sgd
from advtransfer.toolkit.views import view_dataset
from advtransfer.types import DataCard, Dataset, Json, Part, Samples, Shape, Source, Task, Tensors
from advtransfer_vision.components import datasets, training
from advtransfer_vision.networks import NetworkName, SizedNetwork

CPU = torch.device("cpu")
TOY = toy(shape=(1, 8, 8))
LINF = Adversary(eps=0.1, steps=5)
CHANGED = (
    "other weights than there were: if that is meant, raise `version` in the factory's component"
)


@cache
def _low() -> Dataset:
    return view_dataset(datasets.digits(), classes=[0, 1, 2, 3, 4])


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
    inputs, labels = test.inputs(all_positions(test)), test.labels(all_positions(test))
    attacked = pgd(
        model,
        inputs,
        labels,
        norm="linf",
        eps=0.1,
        steps=20,
        step_size=0.0125,
        random_start=True,
        generator=stream_generator("test"),
    )
    with torch.no_grad():
        right: Tensor = model(attacked).argmax(1) == labels
    return right.float().mean().item()


def _first_logits(source: Source, data: Dataset) -> list[float]:
    model = _filled(source, source.weights(InMemoryContext()).tensors)
    logits: list[float] = predict(model, data.part("test"), device=CPU)[0][0].tolist()
    return logits


def _same(first: Tensors, second: Tensors) -> bool:
    return first.keys() == second.keys() and all(first[name].equal(second[name]) for name in first)


def test_a_trained_source_knows_its_own_test_part() -> None:
    assert measure_accuracy(_trained(None), _low().part("test"), device=CPU) > 0.95
    assert measure_accuracy(_trained(LINF), _low().part("test"), device=CPU) > 0.95


def test_adversarial_training_makes_it_more_robust() -> None:
    assert _robust_accuracy(_trained(LINF)) > _robust_accuracy(_trained(None)) + 0.1


@pytest.mark.parametrize("adversary", [None, LINF, Adversary(norm="l2", eps=0.5, steps=2)])
def test_the_same_seed_gives_the_same_bits(adversary: Adversary | None) -> None:
    source = training.trained(data=TOY, adversary=adversary, epochs=2, width=4)
    first, again, other = (source.weights(InMemoryContext(seed)) for seed in (0, 0, 1))

    assert _same(first.tensors, again.tensors)
    assert first.curves == again.curves
    assert not _same(first.tensors, other.tensors)


OLD: dict[str, Json] = {
    "network": "small_cnn",
    "width": 16,
    "adversary": {"norm": "linf", "eps": 0.1, "steps": 7, "step_size": None, "random_start": True},
    "epochs": 30,
    "batch_size": 32,
    "optimiser": {
        "kind": "sgd",
        "lr": 0.1,
        "momentum": 0.9,
        "weight_decay": 0.0005,
        "nesterov": False,
    },
    "schedule": {"kind": "cosine", "milestones": [0.5, 0.75], "gamma": 0.1, "warmup": 0.0},
    "seed": 0,
}


def test_options_added_later_are_in_no_id_until_they_are_used() -> None:
    options = Host.discover().component("vision/trained").options
    plain, faults = options.validate({"adversary": {"eps": 0.1}})
    asked: dict[str, Json] = {"augment": ["flip"], "validation": 0.1, "images": 1000}
    later, _ = options.validate({"adversary": {"eps": 0.1, "best": True}, **asked})

    assert [] == faults
    assert OLD == plain
    assert asked == {name: later[name] for name in later.keys() - OLD.keys()}


def _scored(task: Task) -> Dataset:
    """The toy images with two numbers to predict: the mean of the upper and of the lower half."""

    class Halves:
        def card(self) -> DataCard:
            names = () if task == "values" else ("bright above", "bright below")
            return DataCard((1, 8, 8), (0.0, 1.0), task, 2, names, "digest")

        def part(self, name: Part) -> Samples:
            inputs = TOY.part(name).inputs(all_positions(TOY.part(name)))
            halves = torch.stack(
                [inputs[:, 0, :4].mean((1, 2)), inputs[:, 0, 4:].mean((1, 2))], dim=1
            )
            labels = halves if task == "values" else (halves > halves.median(0).values).long()
            return ArraySamples(card=self.card(), inputs=inputs, labels=labels)

    return Halves()


@pytest.mark.parametrize("network", ["small_cnn", "one_hidden"])
@pytest.mark.parametrize("task", ["attributes", "values"])
def test_sources_of_other_tasks_are_trained_on_their_own_loss(
    task: Task, network: NetworkName
) -> None:
    source = training.trained(
        data=_scored(task), network=network, epochs=8, optimiser=Sgd(lr=0.02), validation=0.2
    )
    curves = source.weights(InMemoryContext()).curves
    column = "validation_loss" if task == "values" else "validation_accuracy"

    assert {"epoch", "train_loss", column} | (
        {"train_accuracy"} if task == "attributes" else set()
    ) == set(curves[0])
    assert curves[-1]["train_loss"] < curves[0]["train_loss"]
    assert source.card().data.startswith(
        "2 values, digest" if task == "values" else "2 attributes (bright above, "
    )


@pytest.mark.parametrize(
    "adversary",
    [
        LINF,
        Adversary(eps=0.1, steps=2, best=True),
        Trades(kind="trades", eps=0.1, steps=2),
        Fast(kind="fast", eps=0.1),
        Free(kind="free", eps=0.1, replays=2),
    ],
)
def test_validation_part_gives_clean_and_robust_accuracy(
    adversary: Adversary | Trades | Fast | Free,
) -> None:
    source = training.trained(data=TOY, width=4, adversary=adversary, epochs=3, validation=0.25)
    curves = source.weights(InMemoryContext()).curves

    assert (2 if isinstance(adversary, Free) else 3) == len(curves)
    for row in curves:
        assert 0 <= row["robust_validation_accuracy"] <= row["validation_accuracy"] <= 1


def test_validation_images_are_the_same_for_every_seed_and_not_trained_on() -> None:
    seen: list[list[int]] = []
    for seed in (0, 1):
        augmented: set[int] = set()

        class Watching(InMemoryContext):
            def uniform(
                self,
                stream: str,
                keys: Sequence[int],
                shape: Shape,
                restart: int = 0,
                step: int = 0,
            ) -> torch.Tensor:
                if stream == "augment":
                    augmented.update(keys)  # noqa: B023  # used within this turn of the loop
                return super().uniform(stream, keys, shape, restart, step)

        source = training.trained(data=TOY, width=2, epochs=1, validation=0.25, augment=("flip",))
        source.weights(Watching(seed))
        seen.append(sorted(augmented))

    assert 45 == len(seen[0])
    assert seen[0] == seen[1]


def test_trades_on_another_task_is_refused() -> None:
    source = training.trained(data=_scored("values"), adversary=Trades(kind="trades", eps=0.1))
    with pytest.raises(ValueError, match="found the task 'values' for TRADES"):
        source.weights(InMemoryContext())


@pytest.mark.parametrize("network", ["mnist_2conv", "lenet5", "fcnet", "resnet18", "wide_resnet"])
def test_the_papers_networks_are_trained_and_rebuilt(network: NetworkName) -> None:
    width = {"mnist_2conv": 4, "resnet18": 4, "wide_resnet": 1}.get(network)
    small = SizedNetwork(name=network, width=width, depth=8 if network == "wide_resnet" else None)
    source = training.trained(data=TOY, network=small, epochs=20, optimiser=Adam(lr=3e-3))
    filled = _filled(source, source.weights(InMemoryContext()).tensors)

    assert measure_accuracy(filled, TOY.part("test"), device=CPU) > 0.9
    assert str(small) == source.card().architecture


def test_killed_training_continues_to_the_same_bits() -> None:
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

    assert _same(
        random_init.weights(InMemoryContext(3)).tensors, barely.weights(InMemoryContext(3)).tensors
    )


def test_cards_describe_the_sources() -> None:
    natural = training.trained(data=TOY).card()
    robust = training.trained(data=TOY, adversary=LINF, width=8).card()
    random_init = training.random_init(data=TOY).card()
    described = f"3 classes (pattern 0, pattern 1, pattern 2), digest {TOY.card().digest[:12]}"

    assert ("small_cnn, width 16", described, "none") == (
        natural.architecture,
        natural.data,
        natural.constraint,
    )
    assert ((1, 8, 8), 3, None) == (natural.shape, natural.outputs, natural.clean_accuracy)
    assert ("small_cnn, width 8", "linf eps 0.1") == (robust.architecture, robust.constraint)
    assert ("none: untrained", "none") == (random_init.data, random_init.constraint)


def test_building_a_network_leaves_global_randomness_alone() -> None:
    before = torch.get_rng_state()
    source = training.random_init(data=TOY)
    source.network()
    source.weights(InMemoryContext())

    assert before.equal(torch.get_rng_state())


def test_radius_that_covers_every_image_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"found eps 8\.5; expected 0 to 8 for l2 on inputs of shape \(1, 8, 8\)"
    ):
        training.trained(data=TOY, adversary=Adversary(norm="l2", eps=8.5))


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({"adversary": {"norm": "linf"}}, ("adversary",)),
        ({"adversary": {"eps": 8}}, ("adversary",)),
        ({"network": "resnet5"}, ("network",)),
        ({"network": {"name": "wide_resnet", "depth": 30}}, ("network",)),
        ({"adversary": {"kind": "fast", "eps": 0.1, "steps": 2}}, ("adversary", "steps")),
        ({"augment": ["flop"]}, ("augment", 0)),
        ({"label_noise": 1.5}, ("label_noise",)),
        ({"validation": 1}, ("validation",)),
        ({"images": 0}, ("images",)),
        ({"epochs": 0}, ("epochs",)),
        ({"width": 0}, ("width",)),
        ({"seed": -1}, ("seed",)),
    ],
)
def test_options_that_make_no_sense_are_found_without_torch(
    options: dict[str, Json], path: tuple[str, ...]
) -> None:
    _, faults = Host.discover().component("vision/trained").options.validate(options)

    assert [path] == [fault.path for fault in faults]


@pytest.mark.usefixtures("portable")
@pytest.mark.parametrize(
    ("adversary", "expected"),
    [
        (None, [0.0567, -0.2365, -0.2401]),
        (Adversary(eps=0.1, steps=2), [-0.0238, -0.1887, -0.1766]),
    ],
)
def test_tiny_training_has_not_changed(adversary: Adversary | None, expected: list[float]) -> None:
    data = toy(shape=(1, 8, 8))
    source = training.trained(data=data, adversary=adversary, epochs=10, width=8)

    assert expected == pytest.approx(_first_logits(source, data), abs=1e-4), CHANGED


@pytest.mark.usefixtures("portable")
@pytest.mark.parametrize(
    ("adversary", "expected"),
    [
        (Adversary(eps=0.1, steps=2, best=True), [-0.0960, -0.4808, 0.1526]),
        (Trades(kind="trades", eps=0.1, steps=2), [0.0312, -0.6005, 0.0944]),
        (Fast(kind="fast", eps=0.1), [-0.1107, -0.5170, 0.1673]),
        (Free(kind="free", eps=0.1, replays=2), [-0.0398, -0.6228, 0.3473]),
    ],
)
def test_tiny_trainings_by_the_later_methods_have_not_changed(
    adversary: Adversary | Trades | Fast | Free, expected: list[float]
) -> None:
    data = toy(shape=(1, 8, 8))
    source = training.trained(
        data=data,
        width=8,
        adversary=adversary,
        epochs=10,
        optimiser=Adam(lr=0.01),
        augment=("pad_crop_2", "colour_jitter"),
        label_noise=0.05,
        validation=0.1,
    )

    assert expected == pytest.approx(_first_logits(source, data), abs=1e-4), CHANGED


def test_random_weights_have_not_changed() -> None:
    source = training.random_init(data=TOY, width=8)

    assert [0.0523, 0.0835, 0.0471] == pytest.approx(_first_logits(source, TOY), abs=1e-3), CHANGED
