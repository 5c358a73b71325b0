from __future__ import annotations

from typing import Literal

import pytest
import torch
from torch import nn

from advtransfer.errors import Cancelled
from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.toolkit.adversary import Free
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.toolkit.prediction import measure_accuracy
from advtransfer.toolkit.training_config import Schedule
from advtransfer.types import Context, Fitted, Transfer
from advtransfer_finetune.components import blocks, full

CONSTANT = Schedule(kind="constant")


def fit(
    transfer: Transfer, source: BlockNetwork, *, context: Context | None = None
) -> tuple[nn.Module, Fitted]:
    data = toy(noise=0.9)
    model = transfer.model(source=source, adapter=None, target=data.card())
    fitted = transfer.fit(
        model,
        source=source,
        adapter=None,
        train=data.part("train"),
        validation=data.part("test"),
        context=context or InMemoryContext(),
    )
    return model, fitted


@pytest.mark.parametrize("batch_norm", ["adapt", "freeze"])
def test_snapshot_equals_the_result_of_a_shorter_training(
    source: BlockNetwork, batch_norm: Literal["adapt", "freeze"]
) -> None:
    def tuned(epochs: int, snapshots: tuple[int, ...] = ()) -> tuple[nn.Module, Fitted]:
        # With a schedule that does not depend on its length, the shorter training is the beginning
        # of the longer one.
        transfer = blocks(
            blocks=1,
            epochs=epochs,
            schedule=CONSTANT,
            batch_norm=batch_norm,
            snapshots=snapshots,
        )
        return fit(transfer, source)

    model, fitted = tuned(6, (6, 2, 4))

    assert [2, 4, 6] == list(fitted.snapshots)
    for epoch, weights in fitted.snapshots.items():
        expected = tuned(epoch)[0].state_dict()
        assert set(expected) == set(weights)
        assert all(tensor.equal(weights[name]) for name, tensor in expected.items())
    assert all(
        tensor.equal(fitted.snapshots[6][name]) for name, tensor in model.state_dict().items()
    )


def test_taking_snapshots_changes_nothing_else(source: BlockNetwork) -> None:
    model, fitted = fit(blocks(blocks=1, epochs=4, snapshots=(1, 3)), source)
    plain, expected = fit(blocks(blocks=1, epochs=4), source)

    assert expected.curves == fitted.curves
    assert {} == expected.snapshots
    assert all(
        tensor.equal(model.state_dict()[name]) for name, tensor in plain.state_dict().items()
    )


def test_restored_snapshot_has_the_curves_accuracy(
    source: BlockNetwork,
) -> None:
    transfer, data = full(epochs=5, snapshots=(2,)), toy(noise=0.9)
    _, fitted = fit(transfer, source)
    model = transfer.model(source=source, adapter=None, target=data.card())
    model.load_state_dict(dict(fitted.snapshots[2]))
    accuracy = measure_accuracy(model, data.part("test"), device=torch.device("cpu"))

    assert fitted.curves[1]["validation_accuracy"] == accuracy


@pytest.mark.parametrize("stop", [2, 5])
@pytest.mark.parametrize("adversary", [None, Free(kind="free", eps=0.1, replays=2)])
def test_snapshots_survive_an_interruption(
    source: BlockNetwork, adversary: Free | None, stop: int
) -> None:
    transfer = full(epochs=6 if adversary is None else 12, snapshots=(1, 4, 6), adversary=adversary)
    _, expected = fit(transfer, source)
    stopped = InMemoryContext(cancel_after=stop)
    with pytest.raises(Cancelled):
        fit(transfer, source, context=stopped)
    _, fitted = fit(transfer, source, context=stopped.resumed())

    assert [1, 4, 6] == list(fitted.snapshots)
    for epoch, weights in expected.snapshots.items():
        assert all(tensor.equal(fitted.snapshots[epoch][name]) for name, tensor in weights.items())
