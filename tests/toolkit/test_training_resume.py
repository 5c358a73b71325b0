"""Trainings stopped in the middle of an epoch, and when states are saved at all."""

from __future__ import annotations

import time

import pytest
import torch
from torch import Tensor, nn

from advtransfer.errors import Cancelled
from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.toolkit import checkpoint
from advtransfer.toolkit.adversarial_training import training_objective
from advtransfer.toolkit.adversary import Adversary, Free, Trades
from advtransfer.toolkit.augmentation import make_augmentation
from advtransfer.toolkit.checkpoint import CheckpointTimer, ProgressThrottle
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.toolkit.training import train
from advtransfer.toolkit.training_config import Adam, OptimizerConfig, Schedule, Sgd
from advtransfer.types import Tensors

DATA = toy()
METHODS: list[Adversary | Trades | Free] = [
    Adversary(eps=0.1, steps=2, best=True),
    Trades(kind="trades", eps=0.1, steps=2),
    Free(kind="free", eps=0.1, replays=2),
]


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


def _noisy() -> nn.Module:
    """A model with dropout, and batch normalisation with running averages."""

    def build() -> nn.Module:
        features = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.3), nn.Flatten()]
        return nn.Sequential(*features, nn.Linear(16, 3))

    return build_initialized(build, stream_generator("model"))


def _train(
    model: nn.Module,
    context: InMemoryContext,
    *,
    adversary: Adversary | Trades | Free | None = None,
    optimiser: OptimizerConfig = Sgd(lr=0.05),  # noqa: B008  # frozen: sharing the default is safe
) -> list[dict[str, float]]:
    return train(
        model,
        DATA.part("train"),
        epochs=2,
        batch_size=16,
        optimiser=optimiser,
        schedule=Schedule(),
        context=context,
        objective=training_objective(adversary),
        augment=make_augmentation(("flip", "pad_crop_2"), shape=(1, 4, 4), context=context),
        validation=DATA.part("test"),
    )


def _weights(model: nn.Module) -> Tensor:
    return torch.cat([tensor.flatten().double() for tensor in model.state_dict().values()])


@pytest.fixture
def at_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """States are saved after every batch."""
    monkeypatch.setattr(checkpoint, "CHECKPOINT_INTERVAL_SECONDS", 0.0)
    monkeypatch.setattr(checkpoint, "MAX_CHECKPOINT_OVERHEAD", 1e9)


@pytest.mark.usefixtures("at_every_step")
@pytest.mark.parametrize("adversary", [None, *METHODS])
@pytest.mark.parametrize("optimiser", [Sgd(lr=0.05), Adam(weight_decay=0.1)])
@pytest.mark.parametrize("saves", [1, 3, 4, 5, 7, 9])  # four batches and an end an epoch
def test_a_training_stopped_within_an_epoch_continues_to_the_same_bits(
    adversary: Adversary | Trades | Free | None, optimiser: OptimizerConfig, saves: int
) -> None:
    whole, resumed, context = _noisy(), _noisy(), Stopping(saves=saves)
    curves = _train(whole, InMemoryContext(), adversary=adversary, optimiser=optimiser)
    with pytest.raises(Cancelled):
        _train(_noisy(), context, adversary=adversary, optimiser=optimiser)

    assert curves == _train(resumed, context.resumed(), adversary=adversary, optimiser=optimiser)
    assert _weights(whole).equal(_weights(resumed))


@pytest.mark.usefixtures("at_every_step")
def test_a_training_stopped_again_and_again_ends_in_the_same_bits() -> None:
    whole = _noisy()
    _train(whole, InMemoryContext(), adversary=METHODS[2])
    state: Tensors | None = None
    for _ in range(10):
        context, model = Stopping(saves=1), _noisy()
        context._saved = state
        try:
            _train(model, context, adversary=METHODS[2])
        except Cancelled:
            state = context.saved()

    assert _weights(whole).equal(_weights(model))


def test_when_states_are_saved_changes_no_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    seldom, often = _noisy(), _noisy()
    _train(seldom, InMemoryContext())
    monkeypatch.setattr(checkpoint, "CHECKPOINT_INTERVAL_SECONDS", 0.0)
    monkeypatch.setattr(checkpoint, "MAX_CHECKPOINT_OVERHEAD", 1e9)
    _train(often, InMemoryContext())

    assert _weights(seldom).equal(_weights(often))


def test_progress_is_reported_within_a_long_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoint, "PROGRESS_INTERVAL_SECONDS", 0.0)
    context = InMemoryContext()
    _train(_noisy(), context)

    assert [0, 0, 0, 0, 1, 1, 1, 1, 1, 2] == [told["done"] for told in context.told]
    assert [0.25, 0.5, 0.75, 1.0] == [told["of_epoch"] for told in context.told[:4]]


class Clock:
    """A clock that a test sets."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(time, "monotonic", lambda: self.now)

    def save(self, state: Tensors) -> None:
        """Take two seconds."""
        self.now += 2.0


def test_states_are_saved_every_half_minute_within_an_epoch(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock(monkeypatch)
    saver, due = CheckpointTimer(lambda state: None), []
    for clock.now in (0.0, 29.0, 30.0):
        due.append(saver.is_due())
    saver.save(dict)
    for clock.now in (59.0, 60.0):
        due.append(saver.is_due())

    assert [False, False, True, False, True] == due


def test_checkpoints_take_at_most_a_twentieth_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    saver = CheckpointTimer(clock.save)

    early = []
    for clock.now in (0.0, 0.9, 1.0):
        early.append(saver.is_affordable())
    assert [False, False, True] == early
    clock.now = 0.0
    saver.save(dict)
    cheap = []
    for clock.now in (3.0, 32.0, 41.9, 42.0):
        cheap.append((saver.is_affordable(), saver.is_due()))
    assert [(False, False), (False, False), (False, False), (True, True)] == cheap


def test_progress_is_due_once_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    pulse, due = ProgressThrottle(), []
    for clock.now in (0.5, 1.0, 1.5, 2.1, 2.2):
        due.append(pulse.is_due())

    assert [False, True, False, True, False] == due
