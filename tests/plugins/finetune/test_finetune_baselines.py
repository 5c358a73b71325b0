from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor, nn

from advtransfer.errors import Cancelled, Diverged, Inapplicable
from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.toolkit.adversary import TrainingNorm
from advtransfer.toolkit.prediction import measure_accuracy, predict
from advtransfer.toolkit.training_config import Sgd
from advtransfer.types import Context, DataCard, Dataset, Fitted, Samples, Source, Transfer
from advtransfer_finetune.components import adversarial, scratch

CPU = torch.device("cpu")
DATA = toy(classes=4, noise=0.3, train=60)


def fit(
    transfer: Transfer,
    *,
    data: Dataset = DATA,
    context: Context | None = None,
    train: Samples | None = None,
    validation: Samples | None = None,
) -> tuple[nn.Module, Fitted]:
    model = transfer.model(source=None, adapter=None, target=data.card())
    fitted = transfer.fit(
        model,
        source=None,
        adapter=None,
        train=train or data.part("train"),
        validation=validation,
        context=context or InMemoryContext(),
    )
    return model, fitted


def logits(model: nn.Module) -> Tensor:
    return predict(model, DATA.part("test"), device=CPU)[0]


def test_a_network_learns_the_task_from_the_subset_alone(untrained: Source) -> None:
    model, fitted = fit(scratch(network=untrained, epochs=15), validation=DATA.part("test"))

    assert measure_accuracy(model, DATA.part("test"), device=CPU) == 1.0
    assert [*range(1, 16)] == [row["epoch"] for row in fitted.curves]
    assert fitted.curves[-1]["validation_accuracy"] == 1.0
    assert not any(module.training for module in model.modules())


def test_training_starts_from_the_contexts_initial_weights(untrained: Source) -> None:
    still = Sgd(lr=1e-30, weight_decay=0)
    context = InMemoryContext(seed=3)
    model, _ = fit(scratch(network=untrained, epochs=1, optimiser=still), context=context)
    weights = untrained.weights(context).tensors

    for name, _ in model.named_parameters():
        torch.testing.assert_close(model.state_dict()[name], weights[name])


def test_every_weight_is_trained(untrained: Source) -> None:
    model, _ = fit(scratch(network=untrained, epochs=1))
    start = untrained.weights(InMemoryContext()).tensors

    assert all(parameter.requires_grad for parameter in model.parameters())
    assert not any(tensor.equal(start[name]) for name, tensor in model.named_parameters())


def test_training_against_pgd_makes_a_robust_network(
    untrained: Source, robust_accuracy: Callable[[nn.Module, Samples, float], float]
) -> None:
    natural, _ = fit(scratch(network=untrained, epochs=20))
    robust, _ = fit(adversarial(network=untrained, eps=0.3, epochs=20))
    test = DATA.part("test")

    # Beyond the radius of the training, where no natural network of any seed comes near.
    assert robust_accuracy(robust, test, 0.35) > robust_accuracy(natural, test, 0.35) + 0.3
    assert measure_accuracy(robust, test, device=CPU) > 0.9


@dataclass(frozen=True)
class Watched:
    """Samples that record the positions read from them."""

    samples: Samples
    seen: set[int] = field(default_factory=set)

    @property
    def card(self) -> DataCard:
        return self.samples.card

    @property
    def keys(self) -> Sequence[int]:
        return self.samples.keys

    def __len__(self) -> int:
        return len(self.samples)

    def inputs(self, positions: Tensor) -> Tensor:
        self.seen.update(positions.tolist())
        return self.samples.inputs(positions)

    def labels(self, positions: Tensor) -> Tensor:
        return self.samples.labels(positions)


def test_adversarial_training_only_measures_the_validation_part(
    untrained: Source,
) -> None:
    transfer = adversarial(network=untrained, eps=0.2, steps=2, epochs=3)
    train, validation = Watched(DATA.part("train")), Watched(DATA.part("test"))
    watched, _ = fit(transfer, train=train, validation=validation)
    alone, _ = fit(transfer)

    assert set(range(60)) == train.seen
    assert logits(alone).equal(logits(watched))


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_norm_and_the_steps_change_what_is_learned(
    untrained: Source, norm: TrainingNorm
) -> None:
    usual = adversarial(network=untrained, norm=norm, eps=0.2, epochs=2)
    other = adversarial(
        network=untrained,
        norm="linf",
        eps=0.2,
        steps=1,
        step_size=0.1,
        random_start=False,
        epochs=2,
    )

    assert not logits(fit(usual)[0]).equal(logits(fit(other)[0]))


def test_the_same_streams_give_the_same_bits_and_others_do_not(untrained: Source) -> None:
    transfer = adversarial(network=untrained, eps=0.1, steps=2, epochs=2, augment=("pad_crop_2",))
    runs = [logits(fit(transfer, context=InMemoryContext(seed))[0]) for seed in (0, 0, 1)]

    assert runs[0].equal(runs[1])
    assert not runs[0].equal(runs[2])


def test_a_stopped_training_continues_to_the_same_bits(untrained: Source) -> None:
    transfer = adversarial(network=untrained, eps=0.1, steps=2, epochs=8, snapshots=(1, 8))
    whole, expected = fit(transfer)
    stopped = InMemoryContext(cancel_after=5)
    with pytest.raises(Cancelled):
        fit(transfer, context=stopped)
    resumed, fitted = fit(transfer, context=stopped.resumed())

    assert expected.curves == fitted.curves
    assert logits(whole).equal(logits(resumed))
    assert all(
        tensor.equal(fitted.snapshots[1][name]) for name, tensor in expected.snapshots[1].items()
    )


def test_network_for_other_data_is_inapplicable(untrained: Source) -> None:
    with pytest.raises(
        Inapplicable,
        match=r"takes inputs \(1, 4, 4\) and gives 4 outputs.* \(1, 4, 4\) and 3 outputs",
    ):
        fit(scratch(network=untrained), data=toy(classes=3))
    with pytest.raises(Inapplicable, match=r"the target has inputs \(1, 2, 4\)"):
        fit(scratch(network=untrained), data=toy(classes=4, shape=(1, 2, 4)))


def test_nonfinite_loss_raises_diverged(untrained: Source) -> None:
    for transfer in (
        scratch(network=untrained, epochs=20, optimiser=Sgd(lr=1e20)),
        adversarial(network=untrained, eps=0.1, epochs=20, optimiser=Sgd(lr=1e20)),
    ):
        with pytest.raises(Diverged, match=r"diverged in epoch \d+: loss (nan|inf)"):
            fit(transfer)


@pytest.mark.usefixtures("portable")
@pytest.mark.parametrize(
    ("transfer", "expected"),
    [
        ("scratch", [0.2380, 0.0492, -0.3226, -0.2264]),
        ("adversarial", [0.2728, 0.0663, -0.3398, -0.2643]),
    ],
)
def test_the_logits_of_the_first_test_image_are_those_of_this_version(
    untrained: Source, transfer: str, expected: list[float]
) -> None:
    baselines = {
        "scratch": scratch(network=untrained, epochs=3),
        "adversarial": adversarial(network=untrained, eps=0.1, epochs=3),
    }
    model, _ = fit(baselines[transfer])

    assert expected == pytest.approx(logits(model)[0].tolist(), abs=1e-4)
