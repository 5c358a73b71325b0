"""A fit that was stopped continues to the same bits, whatever it starts from or adds to the source."""

from __future__ import annotations

import pytest

from advtransfer.errors import Cancelled
from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.toolkit import checkpoint
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.toolkit.training_config import Ema, Sgd
from advtransfer.types import Context, Fitted, Tensors, Transfer
from advtransfer_finetune.components import bitfit, l2_sp, lora, lp_ft, lwf

PLAIN = Sgd(lr=0.05, weight_decay=0.0)
TRANSFERS = {
    "lp_ft": lp_ft(epochs=4),
    "l2_sp": l2_sp(epochs=4, alpha=2.0, optimiser=PLAIN),
    "lwf": lwf(epochs=4, warm_start=0.4),
    "bitfit": bitfit(epochs=4),
    "lora": lora(epochs=4, averaging=Ema(decay=0.9), snapshots=(2,)),
}


def fit(
    transfer: Transfer, source: BlockNetwork, context: Context
) -> tuple[dict[str, Tensors], Fitted]:
    train = toy(noise=0.9).part("train")
    model = transfer.model(source=source, adapter=None, target=train.card)
    fitted = transfer.fit(
        model, source=source, adapter=None, train=train, validation=None, context=context
    )
    states = {str(epoch): state for epoch, state in fitted.snapshots.items()}
    return {"end": model.state_dict(), **states}, fitted


@pytest.mark.parametrize("stop", [1, 3])
@pytest.mark.parametrize("name", TRANSFERS)
def test_a_stopped_fit_continues_to_the_same_bits(
    source: BlockNetwork, name: str, stop: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    # States are saved after every epoch, however long saving takes.
    monkeypatch.setattr(checkpoint, "MAX_CHECKPOINT_OVERHEAD", 1e9)
    expected, whole = fit(TRANSFERS[name], source, InMemoryContext())
    stopped = InMemoryContext(cancel_after=stop)
    with pytest.raises(Cancelled):
        fit(TRANSFERS[name], source, stopped)
    states, resumed = fit(TRANSFERS[name], source, stopped.resumed())

    assert (whole.curves, whole.facts) == (resumed.curves, resumed.facts)
    for label, state in expected.items():
        assert set(state) == set(states[label])
        assert [] == [key for key, tensor in state.items() if not tensor.equal(states[label][key])]
