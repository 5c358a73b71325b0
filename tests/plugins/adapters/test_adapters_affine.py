from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn

from advtransfer.errors import Cancelled, Diverged, Inapplicable
from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.toolkit import checkpoint
from advtransfer.toolkit.datasets import all_positions
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.toolkit.prediction import measure_accuracy, predict
from advtransfer.toolkit.training_config import Adam, Sgd
from advtransfer.types import Context, Fitted, Network, Transfer
from advtransfer_adapters.components import affine, pad, random_pad, transposed_convolution
from advtransfer_adapters.options import Form, Full, LowRank, PerChannel, Spatial

CPU = torch.device("cpu")
FORMS: list[Form] = [
    LowRank(rank=2),
    Full(),
    PerChannel(),
    Spatial(),
    Spatial(scale=False, where="margin", bound=0.5),
]
SMALL, LARGE = (1, 4, 4), (1, 6, 6)


def padding() -> nn.Module:
    return pad(value=0.5).module(target=SMALL, source=LARGE)


def fit(
    transfer: Transfer,
    source: Network,
    *,
    adapter: nn.Module | None = None,
    context: Context | None = None,
) -> tuple[nn.Module, Fitted]:
    data, base = toy(), adapter or padding()
    model = transfer.model(source=source, adapter=base, target=data.card())
    fitted = transfer.fit(
        model,
        source=source,
        adapter=base,
        train=data.part("train"),
        validation=data.part("test"),
        context=context or InMemoryContext(),
    )
    return model, fitted


def logits(model: nn.Module) -> Tensor:
    return predict(model, toy().part("test"), device=CPU)[0]


def state_of(module: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def assert_same(expected: dict[str, Tensor], module: nn.Module) -> None:
    state = module.state_dict()
    assert expected.keys() == state.keys()
    assert all(tensor.equal(state[name]) for name, tensor in expected.items())


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_only_the_map_and_the_new_layer_are_trained(source: BlockNetwork, form: Form) -> None:
    before = state_of(source)
    model, fitted = fit(affine(form=form, epochs=3), source)
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    adapter = model.get_submodule("adapter")

    assert_same(before, source)
    assert_same(before, model.get_submodule("network"))
    assert all(
        parameter.requires_grad and parameter.grad is None for parameter in source.parameters()
    )
    assert {f"adapter.{name}" for name, _ in adapter.named_parameters()} | {
        "head.weight",
        "head.bias",
    } == trained
    assert sum(one.numel() for one in adapter.parameters()) == fitted.facts["adapter_parameters"]
    assert any(parameter.any() for parameter in adapter.parameters())
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("form", FORMS, ids=str)
def test_every_form_learns_the_task_with_a_new_layer(source: BlockNetwork, form: Form) -> None:
    model, fitted = fit(affine(form=form, epochs=60, optimiser=Adam(lr=0.02)), source)

    assert measure_accuracy(model, toy().part("test"), device=CPU) == 1.0
    assert [*range(1, 61)] == [row["epoch"] for row in fitted.curves]
    assert fitted.curves[-1]["train_loss"] < fitted.curves[0]["train_loss"]
    assert fitted.curves[-1]["validation_accuracy"] == 1.0


def test_label_map_trains_only_the_affine_map(source: BlockNetwork) -> None:
    model, _ = fit(
        affine(form=Full(), labels=(4, 0, 2), epochs=60, optimiser=Adam(lr=0.02)), source
    )
    untrained, _ = fit(affine(labels=(4, 0, 2), epochs=1, optimiser=Adam(lr=1e-9)), source)

    assert {"adapter.change", "adapter.offset"} == {
        name for name, parameter in model.named_parameters() if parameter.requires_grad
    }
    assert measure_accuracy(untrained, toy().part("test"), device=CPU) < 0.5
    assert measure_accuracy(model, toy().part("test"), device=CPU) == 1.0


@pytest.mark.parametrize(("labels", "read"), [("map", [0, 1, 2]), ((4, 0, 2), [4, 0, 2])])
def test_target_class_is_read_from_its_source_class(
    source: BlockNetwork, labels: tuple[int, ...], read: list[int]
) -> None:
    model = affine(labels=labels).model(source=source, adapter=padding(), target=toy().card())
    images = toy().part("test").inputs(torch.arange(8))

    assert model(images).equal(source(padding()(images))[:, read])


@pytest.mark.parametrize(
    ("labels", "classes", "reason"),
    [
        ("map", 6, "labels reads output 5 of the source, which has 5, numbered from 0"),
        ((0, 1, 5), 3, "labels reads output 5 of the source, which has 5"),
        ((0, 1), 3, "labels names 2 outputs of the source, the target has 3; name as many"),
    ],
)
def test_labels_beyond_the_sources_outputs_are_inapplicable(
    source: BlockNetwork, labels: tuple[int, ...], classes: int, reason: str
) -> None:
    with pytest.raises(Inapplicable, match=reason):
        affine(labels=labels).model(
            source=source, adapter=padding(), target=toy(classes=classes).card()
        )


def test_two_classes_cannot_be_read_from_one() -> None:
    with pytest.raises(
        ValueError,
        match=r"found labels \[1, 2, 1\]; expected each output of the source at most once",
    ):
        affine(labels=(1, 2, 1))


def test_gradients_reach_the_image_through_a_fitted_model(source: BlockNetwork) -> None:
    model, _ = fit(affine(epochs=2), source)
    images = toy().part("test").inputs(torch.arange(4)).requires_grad_()
    (gradient,) = torch.autograd.grad(model(images).sum(), images)

    assert gradient.ne(0).any(1).all()


def test_adapted_inputs_are_not_clamped(source: BlockNetwork) -> None:
    transfer = affine(form=Spatial(scale=False), labels="map")
    model = transfer.model(source=source, adapter=padding(), target=toy().card())
    images = toy().part("test").inputs(torch.arange(4))
    model.get_parameter("adapter.raw").data.fill_(3.0)

    torch.testing.assert_close(model(images), source(padding()(images) + 3.0)[:, :3])


def test_learned_adapter_is_trained_with_the_map_and_a_fixed_one_is_not(
    source: BlockNetwork,
) -> None:
    upsampling = transposed_convolution().module(target=(1, 3, 3), source=LARGE)
    before, data = state_of(upsampling), toy(shape=(1, 3, 3))
    transfer = affine(form=PerChannel(), epochs=60, optimiser=Adam(lr=0.02))
    model = transfer.model(source=source, adapter=upsampling, target=data.card())
    context = InMemoryContext(cancel_after=None)
    transfer.fit(
        model,
        source=source,
        adapter=upsampling,
        train=data.part("train"),
        validation=None,
        context=context,
    )

    assert_same(before, upsampling)
    assert not before["convolution.weight"].equal(
        model.get_parameter("adapter.base.convolution.weight")
    )
    assert model.get_parameter("adapter.base.convolution.weight").requires_grad
    assert measure_accuracy(model, data.part("test"), device=CPU) == 1.0


class Watched(nn.Module):
    """Adapter that records its mode in each call."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.modes = padding(), list[bool]()

    def forward(self, images: Tensor) -> Tensor:
        self.modes.append(self.training)
        padded: Tensor = self.inner(images)
        return padded


def test_adapter_trains_while_the_source_stays_in_eval_mode(
    source: BlockNetwork,
) -> None:
    transfer, data = affine(epochs=2, batch_size=60), toy()
    model = transfer.model(source=source, adapter=Watched(), target=data.card())
    base, modes = model.get_submodule("adapter.base"), list[bool]()
    assert isinstance(base, Watched)
    model.get_submodule("network.body.low").register_forward_pre_hook(
        lambda module, _: modes.append(module.training)
    )
    base.modes.clear()
    transfer.fit(
        model,
        source=source,
        adapter=None,
        train=data.part("train"),
        validation=None,
        context=InMemoryContext(),
    )

    assert [True, True] == base.modes
    assert [False, False] == modes


def test_a_random_pad_is_random_in_training_and_fixed_in_evaluation(source: BlockNetwork) -> None:
    scattered = random_pad(value=0.5).module(target=SMALL, source=LARGE)
    random, fixed = (
        fit(affine(epochs=3), source, adapter=one)[0] for one in (scattered, padding())
    )
    images = toy().part("test").inputs(all_positions(toy().part("test")))
    fixed.load_state_dict(random.state_dict())

    assert random(images).equal(random(images))
    assert random(images).equal(fixed(images))
    assert not logits(random).equal(logits(fit(affine(epochs=3), source)[0]))


def test_the_same_streams_give_the_same_bits_and_others_do_not(source: BlockNetwork) -> None:
    runs = [
        logits(fit(affine(epochs=2), source, context=InMemoryContext(seed))[0])
        for seed in (0, 0, 1)
    ]

    assert runs[0].equal(runs[1])
    assert not runs[0].equal(runs[2])


@pytest.mark.parametrize("form", [LowRank(), Spatial()], ids=str)
def test_a_stopped_fit_continues_to_the_same_bits(
    monkeypatch: pytest.MonkeyPatch, source: BlockNetwork, form: Form
) -> None:
    monkeypatch.setattr(checkpoint, "MAX_CHECKPOINT_OVERHEAD", 1e9)
    transfer = affine(form=form, epochs=12)
    scattered = random_pad().module(target=SMALL, source=LARGE)
    whole, expected = fit(transfer, source, adapter=scattered)
    stopped = InMemoryContext(cancel_after=7)
    with pytest.raises(Cancelled):
        fit(transfer, source, adapter=scattered, context=stopped)
    resumed, fitted = fit(transfer, source, adapter=scattered, context=stopped.resumed())

    assert stopped.saved()
    assert expected.curves == fitted.curves
    assert_same(state_of(whole), resumed)


def test_building_a_model_changes_neither_random_state_nor_source_nor_adapter(
    source: BlockNetwork,
) -> None:
    before, state, adapter = copy.deepcopy(source), torch.get_rng_state(), padding()
    for form in FORMS:
        affine(form=form).model(source=source, adapter=adapter, target=toy().card())

    assert state.equal(torch.get_rng_state())
    assert_same(state_of(before), source)
    assert adapter.training


def test_a_loss_that_is_not_finite_is_divergence_with_its_epoch(source: BlockNetwork) -> None:
    with pytest.raises(Diverged) as caught:
        fit(affine(epochs=20, optimiser=Sgd(lr=1e20)), source)

    assert 1 <= caught.value.epoch <= 20
    assert not math.isfinite(caught.value.loss)
    assert f"epoch {caught.value.epoch}" in str(caught.value)


def test_foreign_model_and_missing_source_raise_errors(source: BlockNetwork) -> None:
    data = toy()

    with pytest.raises(TypeError, match="found a BlockNetwork; expected the transfer's own model"):
        affine().fit(
            source,
            source=source,
            adapter=None,
            train=data.part("train"),
            validation=None,
            context=InMemoryContext(),
        )
    with pytest.raises(ValueError, match="found no source"):
        affine().model(source=None, adapter=None, target=data.card())
