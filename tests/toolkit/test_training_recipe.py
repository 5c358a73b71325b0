"""Averaged weights, the best epoch and CutMix: known answers, and trainings stopped in the middle."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from advtransfer.errors import Cancelled
from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.toolkit import checkpoint
from advtransfer.toolkit.adversarial_training import training_objective
from advtransfer.toolkit.adversary import Adversary, Free, Trades
from advtransfer.toolkit.augmentation import cut_and_mix
from advtransfer.toolkit.losses import MeanLoss
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.toolkit.training import best_epoch, train
from advtransfer.toolkit.training_config import Averaging, Ema, KeptEpoch, Schedule, Sgd, Swa
from advtransfer.types import Samples, Tensors

DATA = toy()
CONSTANT = Schedule(kind="constant")


def network() -> nn.Module:
    """A model with batch normalisation and dropout."""

    def build() -> nn.Module:
        features = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3), nn.Flatten()]
        return nn.Sequential(*features, nn.Linear(16, 3))

    return build_initialized(build, stream_generator("model"))


class Recorded:
    """The mean loss, which keeps the weights after each step."""

    def __init__(self) -> None:
        self.loss = MeanLoss()
        self.state: dict[str, Tensor] = {}
        self.weights: list[dict[str, Tensor]] = []

    def __call__(
        self, model: nn.Module, inputs: Tensor, labels: Tensor, noise: torch.Generator
    ) -> Iterator[tuple[Tensor, Tensor]]:
        yield from self.loss(model, inputs, labels, noise)
        self.weights.append(
            {name: weight.detach().double().clone() for name, weight in model.named_parameters()}
        )


def fit(
    model: nn.Module,
    *,
    epochs: int = 4,
    averaging: Averaging | None = None,
    kept_epoch: KeptEpoch = "last",
    cutmix: float | None = None,
    objective: Recorded | MeanLoss | None = None,
    adversary: Adversary | Trades | Free | None = None,
    validation: Samples | None = None,
    watch: Mapping[int, float] | None = None,
    context: InMemoryContext | None = None,
) -> list[dict[str, float]]:
    seen = iter(range(1, epochs + 1))
    return train(
        model,
        DATA.part("train"),
        epochs=epochs,
        batch_size=16,
        optimiser=Sgd(lr=0.05),
        schedule=CONSTANT,
        context=context or InMemoryContext(),
        objective=objective or training_objective(adversary),
        validation=validation,
        watch=None
        if watch is None
        else lambda _: {"robust_validation_accuracy": watch[next(seen)]},
        averaging=averaging,
        kept_epoch=kept_epoch,
        cutmix=cutmix,
    )


def assert_weights(model: nn.Module, expected: Mapping[str, Tensor]) -> None:
    for name, weight in model.named_parameters():
        torch.testing.assert_close(weight.double(), expected[name], atol=1e-6, rtol=1e-5)


def test_exponential_average_is_the_sum_over_all_steps() -> None:
    model, recorded = network(), Recorded()
    fit(model, averaging=Ema(decay=0.8), objective=recorded)
    count = len(recorded.weights)
    decays = [min(0.8, (1 + step) / (10 + step)) for step in range(count)]
    # The closed form: each state times its own share and all later decays.
    shares = [
        (1 - decays[step] if step else 1.0) * math.prod(decays[step + 1 :]) for step in range(count)
    ]

    assert sum(shares) == pytest.approx(1)
    assert_weights(
        model,
        {
            name: torch.stack(
                [
                    share * weights[name]
                    for share, weights in zip(shares, recorded.weights, strict=True)
                ]
            ).sum(0)
            for name in recorded.weights[0]
        },
    )


def test_stochastic_weight_averaging_is_the_mean_after_the_last_epochs() -> None:
    model, recorded = network(), Recorded()
    fit(model, averaging=Swa(kind="swa", start=0.5), objective=recorded)
    steps = len(recorded.weights) // 4
    last = [recorded.weights[4 * steps - 1], recorded.weights[3 * steps - 1]]

    assert_weights(model, {name: (last[0][name] + last[1][name]) / 2 for name in last[0]})


def test_batch_normalisation_has_statistics_of_the_averaged_weights() -> None:
    model = network()
    fit(model, averaging=Ema(decay=0.5))
    images = DATA.part("train").inputs(torch.arange(len(DATA.part("train"))))
    with torch.no_grad():
        outputs = model.get_submodule("0")(images)
    means = torch.stack([batch.mean((0, 2, 3)) for batch in outputs.split(16)]).mean(0)
    variances = torch.stack([batch.var((0, 2, 3)) for batch in outputs.split(16)]).mean(0)

    torch.testing.assert_close(model.get_buffer("1.running_mean"), means)
    torch.testing.assert_close(model.get_buffer("1.running_var"), variances)
    assert model.get_submodule("1").momentum == 0.1
    assert not model.training


def test_averaging_does_not_change_the_training_itself() -> None:
    plain, averaged = Recorded(), Recorded()
    fit(network(), objective=plain, validation=DATA.part("test"))
    fit(
        network(),
        objective=averaged,
        averaging=Swa(kind="swa", start=0.0),
        validation=DATA.part("test"),
    )

    for first, second in zip(plain.weights, averaged.weights, strict=True):
        assert all(first[name].equal(second[name]) for name in first)


def test_weights_of_the_best_epoch_are_kept() -> None:
    # At a constant rate the first epochs of a longer training are those of a shorter one.
    best, shorter, last = network(), network(), network()
    accuracies = {1: 0.3, 2: 0.7, 3: 0.7, 4: 0.5}
    curves = fit(best, kept_epoch="best", validation=DATA.part("test"), watch=accuracies)
    fit(shorter, epochs=2)
    fit(last)

    assert best_epoch(curves) == 2
    assert all(
        tensor.equal(best.state_dict()[name]) for name, tensor in shorter.state_dict().items()
    )
    assert not last.get_parameter("0.weight").equal(best.get_parameter("0.weight"))


def test_best_epoch_is_by_robust_accuracy_then_accuracy_then_loss() -> None:
    rows = [
        {"epoch": 1, "validation_accuracy": 0.9, "robust_validation_accuracy": 0.1},
        {"epoch": 2, "validation_accuracy": 0.5, "robust_validation_accuracy": 0.4},
    ]

    assert best_epoch(rows) == 2
    assert best_epoch([{k: v for k, v in row.items() if k[0] != "r"} for row in rows]) == 1
    losses = [{"epoch": n, "validation_loss": loss} for n, loss in ((1, 3.0), (2, 1.0), (3, 2.0))]
    assert best_epoch(losses) == 2


def test_best_epoch_without_a_validation_part_is_an_error() -> None:
    with pytest.raises(ValueError, match="found no validation part to choose the best epoch by"):
        fit(network(), kept_epoch="best")


@pytest.mark.parametrize("alpha", [0.3, 1.0])
def test_mixed_labels_are_the_shares_of_the_pixels(alpha: float) -> None:
    # Each image is its class in every pixel, so that the pixels of a mixed one tell its parts.
    labels = torch.arange(12) % 3
    images = labels.float().view(-1, 1, 1, 1).expand(-1, 2, 5, 7)
    ratios = []
    for seed in range(40):
        mixed, shares = cut_and_mix(
            images, labels, classes=3, alpha=alpha, source=np.random.default_rng(seed)
        )
        for label in range(3):
            counted = (mixed == label).float().mean((1, 2, 3))
            torch.testing.assert_close(shares[:, label], counted)
        ratios.append(shares[torch.arange(12), labels].min().item())

    assert min(ratios) < 0.3
    assert max(ratios) > 0.7


def test_mixed_part_is_a_box() -> None:
    images = torch.zeros(2, 1, 9, 9)
    images[1] = 1
    changed = []
    for seed in range(30):
        source = np.random.default_rng(seed)
        mixed, _ = cut_and_mix(images, torch.tensor([0, 1]), classes=2, alpha=1.0, source=source)
        rows, columns = (mixed[0, 0] == 1).nonzero(as_tuple=True)
        changed.append(len(rows))
        if len(rows):
            box = mixed[0, 0, rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
            assert box.all()

    assert 0 in changed
    assert max(changed) > 20


@pytest.mark.parametrize(
    "adversary",
    [
        None,
        Adversary(eps=0.1, steps=2),
        Trades(kind="trades", eps=0.1, steps=2),
        Free(kind="free", eps=0.1, replays=2),
    ],
)
def test_every_objective_trains_on_mixed_images(
    adversary: Adversary | Trades | Free | None,
) -> None:
    model = network()
    curves = fit(model, adversary=adversary, cutmix=1.0, epochs=15, validation=DATA.part("test"))

    assert curves[-1]["train_loss"] > 0.05  # mixed labels cannot be fitted to a loss of 0
    assert curves[-1]["validation_accuracy"] > 0.5


class Stopping(InMemoryContext):
    """Stops, as a kill would, when it has saved so many states."""

    def __init__(self, *, saves: int) -> None:
        super().__init__()
        self.left = saves

    def save(self, state: Tensors) -> None:
        """Keep the state; the last one is the end."""
        super().save(state)
        self.left -= 1
        if not self.left:
            raise Cancelled("killed by the test")


@pytest.mark.parametrize("averaging", [None, Ema(decay=0.9), Swa(kind="swa", start=0.4)])
@pytest.mark.parametrize("kept_epoch", ["last", "best"])
@pytest.mark.parametrize("saves", [2, 5, 8, 13, 19])
def test_a_training_that_was_stopped_continues_to_the_same_bits(
    monkeypatch: pytest.MonkeyPatch,
    averaging: Averaging | None,
    kept_epoch: KeptEpoch,
    saves: int,
) -> None:
    monkeypatch.setattr(checkpoint, "CHECKPOINT_INTERVAL_SECONDS", 0.0)
    monkeypatch.setattr(checkpoint, "MAX_CHECKPOINT_OVERHEAD", 1e9)

    def go(model: nn.Module, context: InMemoryContext) -> list[dict[str, float]]:
        return fit(
            model,
            averaging=averaging,
            kept_epoch=kept_epoch,
            cutmix=1.0,
            validation=DATA.part("test"),
            context=context,
        )

    whole, resumed, context = network(), network(), Stopping(saves=saves)
    curves = go(whole, InMemoryContext())
    with pytest.raises(Cancelled):
        go(network(), context)

    assert curves == go(resumed, context.resumed())
    assert all(
        tensor.equal(resumed.state_dict()[name]) for name, tensor in whole.state_dict().items()
    )
