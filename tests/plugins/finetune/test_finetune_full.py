from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal, cast

import pytest
import torch
from torch import Tensor, nn

from advtransfer.errors import Diverged, Inapplicable
from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.toolkit.adversary import Adversary, Free
from advtransfer.toolkit.datasets import ArraySamples, SampleSubset, all_positions
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.toolkit.prediction import measure_accuracy, predict
from advtransfer.toolkit.training_config import Adam, Ema, Sgd
from advtransfer.types import Fitted, Network, Samples, Task, Transfer
from advtransfer_finetune.components import blocks, full, linear_probe, logit_affine

CPU = torch.device("cpu")
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
PGD = Adversary(eps=0.2, steps=3)


def fit(
    transfer: Transfer,
    source: Network,
    *,
    adapter: nn.Module | None = None,
    train: Samples | None = None,
    validation: Samples | None = None,
) -> tuple[nn.Module, Fitted]:
    train = train or toy().part("train")
    model = transfer.model(source=source, adapter=adapter, target=train.card)
    fitted = transfer.fit(
        model,
        source=source,
        adapter=adapter,
        train=train,
        validation=validation,
        context=InMemoryContext(),
    )
    return model, fitted


def changed_tensors(source: BlockNetwork, model: nn.Module) -> set[str]:
    """Return the names of the source's tensors that differ in the model."""
    state = model.state_dict()
    return {
        name
        for name, tensor in source.state_dict().items()
        if not tensor.equal(state[f"network.{name}"])
    }


def test_every_weight_but_those_of_the_old_head_is_trained(source: BlockNetwork) -> None:
    model, _ = fit(full(epochs=2), source)
    body = {name for name in source.state_dict() if name.startswith("body.")}
    learned = {f"network.{name}" for name, _ in source.named_parameters() if name in body}

    assert body == changed_tensors(source, model)
    assert learned | {"head.weight", "head.bias"} == {
        name for name, parameter in model.named_parameters() if parameter.requires_grad
    }
    assert not any(module.training for module in model.modules())


class Scaled(nn.Module):
    """Network with a weight outside its blocks."""

    def __init__(self, inner: BlockNetwork) -> None:
        super().__init__()
        self.inner, self.head, self.gain = inner, nn.Linear(20, 4), nn.Parameter(torch.ones(()))

    @property
    def blocks(self) -> dict[str, nn.Module]:
        return dict(self.inner.blocks)

    def forward(self, inputs: Tensor) -> Tensor:
        output: Tensor = self.head(self.features(inputs))
        return output

    def features(self, inputs: Tensor, *, upto: str | None = None) -> Tensor:
        return self.gain * self.inner.features(inputs, upto=upto)


def test_weights_outside_the_blocks_are_trained_as_well(source: BlockNetwork) -> None:
    model, _ = fit(full(epochs=2), Scaled(source).eval())

    assert model.get_parameter("network.gain") != 1


def test_training_starts_from_the_source(source: BlockNetwork) -> None:
    still = Sgd(lr=1e-30, weight_decay=0)
    model, _ = fit(full(epochs=1, optimiser=still), source)

    for name, parameter in source.named_parameters():
        torch.testing.assert_close(model.get_parameter(f"network.{name}"), parameter.detach())


def test_a_whole_network_learns_the_task_through_an_adapter(source: BlockNetwork) -> None:
    model, fitted = fit(
        full(epochs=20), source, adapter=nn.AvgPool2d(1), validation=toy().part("test")
    )

    assert measure_accuracy(model, toy().part("test"), device=CPU) == 1.0
    assert fitted.curves[-1]["validation_accuracy"] == 1.0


@pytest.mark.parametrize(
    ("transfer", "adapts", "trained"),
    [
        (linear_probe(), False, ()),
        (linear_probe(solver="sgd", epochs=2), False, ()),
        (logit_affine(), False, ()),
        (blocks(blocks=0, epochs=2), False, ()),
        (blocks(blocks=0, epochs=2, adversary=PGD), False, ()),
        (blocks(blocks=1, epochs=2, adversary=PGD), False, ("body.high.",)),
        (blocks(blocks=1, epochs=2), False, ("body.high.",)),
        (blocks(blocks=1, epochs=2, activations="every_epoch"), False, ("body.high.",)),
        (blocks(blocks=1, epochs=2, augment=("flip",)), False, ("body.high.",)),
        (blocks(blocks=0, epochs=2, batch_norm="adapt"), True, ()),
        (blocks(blocks=1, epochs=2, batch_norm="adapt", adversary=PGD), True, ("body.high.",)),
    ],
)
def test_frozen_parts_keep_their_bits(
    source: BlockNetwork, transfer: Transfer, adapts: bool, trained: tuple[str, ...]
) -> None:
    model, _ = fit(transfer, source)
    frozen = {
        name for name in changed_tensors(source, model) if not name.startswith(trained or ("none",))
    }
    statistics = {name for name in source.state_dict() if name.endswith(STATISTICS)}

    assert frozen == (
        {name for name in statistics if not name.startswith(trained or ("none",))}
        if adapts
        else set()
    )


class Doubling(nn.Module):
    """Adapter with a weight of its own, from 2 x 2 to 4 x 4 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(1.0), requires_grad=False)

    def forward(self, inputs: Tensor) -> Tensor:
        assert not self.training
        return self.gain * inputs.repeat_interleave(2, 2).repeat_interleave(2, 3)


def test_the_fine_tuned_teacher_of_the_papers_trains_a_head_through_an_adapter(
    source: BlockNetwork,
) -> None:
    data, adapter = toy(shape=(1, 2, 2)), Doubling()
    teacher = blocks(blocks=0, epochs=100, batch_norm="freeze", optimiser=Adam(lr=0.1))
    model, _ = fit(teacher, source, adapter=adapter, train=data.part("train"))
    images = data.part("test").inputs(torch.arange(5))
    head = model.get_submodule("head")

    assert set() == changed_tensors(source, model)
    assert measure_accuracy(model, data.part("test"), device=CPU) == 1.0
    assert 1.0 == model.get_parameter("adapter.gain").item()
    torch.testing.assert_close(model(images), head(source.features(adapter.eval()(images))))


@pytest.mark.parametrize(
    "tuned", [full, lambda **recipe: blocks(blocks=2, **recipe)], ids=["full", "blocks"]
)
def test_training_against_an_adversary_makes_a_robust_network(
    source: BlockNetwork,
    tuned: Callable[..., Transfer],
    robust_accuracy: Callable[[nn.Module, Samples, float], float],
) -> None:
    fast = Adam(lr=0.01)
    natural, _ = fit(tuned(epochs=20, optimiser=fast), source)
    robust, _ = fit(tuned(epochs=20, optimiser=fast, adversary=Adversary(eps=0.4, steps=5)), source)
    test = toy().part("test")

    assert robust_accuracy(robust, test, 0.4) > robust_accuracy(natural, test, 0.4) + 0.3


def test_each_replay_of_free_adversarial_training_is_an_epoch(source: BlockNetwork) -> None:
    _, fitted = fit(full(epochs=9, adversary=Free(kind="free", eps=0.1, replays=4)), source)

    assert [1, 2, 3] == [row["epoch"] for row in fitted.curves]


@pytest.mark.parametrize(
    "tuned", [full(epochs=3, adversary=PGD), blocks(blocks=1, epochs=3, augment=("pad_crop_2",))]
)
def test_a_validation_part_is_only_measured(source: BlockNetwork, tuned: Transfer) -> None:
    watched, _ = fit(tuned, source, validation=toy().part("test"))
    alone, _ = fit(tuned, source)

    assert all(
        tensor.equal(watched.state_dict()[name]) for name, tensor in alone.state_dict().items()
    )


@pytest.mark.parametrize(
    "changes", [{"augment": ("flip",)}, {"adversary": PGD}, {"head_init": "normal"}]
)
def test_an_option_changes_what_is_learned(
    source: BlockNetwork, changes: dict[str, object]
) -> None:
    tuned: Callable[..., Transfer] = blocks
    model, _ = fit(tuned(blocks=1, epochs=2, **changes), source)
    plain, _ = fit(tuned(blocks=1, epochs=2), source)

    assert not model.get_parameter("head.weight").equal(plain.get_parameter("head.weight"))


def test_a_head_may_start_from_a_normal_distribution(source: BlockNetwork) -> None:
    model, _ = fit(
        blocks(blocks=0, epochs=1, optimiser=Sgd(lr=1e-30, weight_decay=0), head_init="normal"),
        source,
    )

    assert model.get_parameter("head.weight").std().item() == pytest.approx(1, abs=0.3)
    assert model.get_parameter("head.bias").abs().max() < 1e-20


@pytest.mark.parametrize("name", ["attributes", "values"])
@pytest.mark.parametrize(
    "tuned", [blocks(blocks=1, epochs=40), full(epochs=40, optimiser=Adam(lr=0.01))]
)
def test_attributes_and_values_are_learned_too(
    source: BlockNetwork, tuned: Transfer, name: Literal["attributes", "values"]
) -> None:
    train = samples_of(name)
    model, fitted = fit(tuned, source, train=train)
    outputs, labels = predict(model, train, device=CPU)

    assert fitted.curves[-1]["train_loss"] < fitted.curves[0]["train_loss"] / 2
    if name == "attributes":
        assert ((outputs > 0) == (labels == 1)).double().mean() > 0.9
    else:
        assert (outputs - labels).square().mean() < labels.var()


def samples_of(name: Task) -> Samples:
    images = toy().part("train")
    labels = images.labels(all_positions(images))
    one_hot = torch.nn.functional.one_hot(labels, 3)
    outputs = one_hot if name == "attributes" else one_hot.float() * 2
    card = replace(images.card, task=name)
    return ArraySamples(
        card=card, inputs=images.inputs(all_positions(images)), labels=outputs, keys=images.keys
    )


FAR = Sgd(lr=1e30)


@pytest.mark.parametrize(
    "transfer",
    [
        linear_probe(solver="sgd", optimiser=FAR),
        blocks(blocks=0, epochs=20, optimiser=FAR),
        blocks(blocks=1, epochs=20, optimiser=FAR),
        blocks(blocks=2, epochs=20, optimiser=FAR, batch_norm="adapt"),
        blocks(blocks=1, epochs=20, optimiser=FAR, augment=("flip",)),
        full(epochs=20, optimiser=FAR),
        full(epochs=20, optimiser=FAR, adversary=PGD),
        full(epochs=20, optimiser=FAR, adversary=Free(kind="free", eps=0.1, replays=2)),
    ],
)
def test_divergence_names_the_epoch_and_the_loss(source: BlockNetwork, transfer: Transfer) -> None:
    with pytest.raises(Diverged, match=r"diverged in epoch \d+: loss (nan|inf)"):
        fit(transfer, source)


@pytest.mark.parametrize(
    "transfer", [linear_probe(), logit_affine(), linear_probe(solver="sgd"), blocks(blocks=1)]
)
def test_source_with_nonfinite_outputs_raises_an_error(
    source: BlockNetwork, transfer: Transfer
) -> None:
    with torch.no_grad():
        source.get_parameter("body.low.0.weight").fill_(torch.nan)

    with pytest.raises(
        ValueError, match="found activations that are not finite for 60 of 60 images"
    ):
        fit(transfer, source)


@pytest.mark.parametrize(
    "transfer",
    [
        blocks(blocks=1, epochs=6, checkpoint="best"),
        blocks(blocks=0, epochs=6, checkpoint="best", adversary=PGD),
        full(epochs=6, checkpoint="best", snapshots=(1, 2, 3, 4, 5, 6)),
        full(epochs=6, checkpoint="best", adversary=PGD, averaging=Ema(decay=0.9)),
    ],
)
def test_best_epoch_on_the_validation_part_is_kept_and_recorded(
    source: BlockNetwork, transfer: Transfer
) -> None:
    noisy = toy(noise=0.9, train=90).part("train")
    train = SampleSubset(noisy, torch.arange(60))
    # Of the same part: activations are shared by the images' positions in it.
    validation = SampleSubset(noisy, torch.arange(60, 90))
    model, fitted = fit(transfer, source, train=train, validation=validation)
    rows = {row["epoch"]: row for row in fitted.curves}
    robust = "robust_validation_accuracy" in fitted.curves[0]
    column = "robust_validation_accuracy" if robust else "validation_accuracy"
    best = rows[cast(int, fitted.chosen["epoch"])]

    assert max(row[column] for row in fitted.curves) == best[column]
    accuracy = measure_accuracy(model, validation, device=CPU)
    assert accuracy == pytest.approx(best["validation_accuracy"])
    if fitted.snapshots:
        kept = fitted.snapshots[int(best["epoch"])]
        assert all(tensor.equal(kept[name]) for name, tensor in model.state_dict().items())


def test_best_epoch_without_a_validation_part_is_inapplicable(source: BlockNetwork) -> None:
    with pytest.raises(Inapplicable, match="`checkpoint: best` needs a validation part"):
        fit(full(epochs=2, checkpoint="best"), source)


def test_images_that_are_mixed_are_not_extracted_once(source: BlockNetwork) -> None:
    mixed, _ = fit(blocks(blocks=0, epochs=2, cutmix=1.0), source)
    plain, _ = fit(blocks(blocks=0, epochs=2), source)

    assert not mixed.get_parameter("head.weight").equal(plain.get_parameter("head.weight"))
