from __future__ import annotations

import gc

import pytest
import torch

from advtransfer.errors import Cancelled
from advtransfer.testing.context import InMemoryContext
from advtransfer.types import Context


def test_the_in_memory_context_is_a_context() -> None:
    context: Context = InMemoryContext(device="cpu", batch_size=7)

    assert (torch.device("cpu"), 7, None) == (context.device, context.batch_size, context.saved())


def test_streams_depend_on_seed_name_and_keys_alone() -> None:
    def drawn(seed: int, stream: str, *keys: int) -> tuple[float, float]:
        context = InMemoryContext(seed)
        return torch.rand(1, generator=context.generator(stream, *keys)).item(), context.numpy(
            stream, *keys
        ).random()

    places = [(0, "a", 1), (1, "a", 1), (0, "b", 1), (0, "a", 2)]

    assert drawn(0, "a", 1) == drawn(0, "a", 1)
    assert (
        4
        == len({drawn(*place)[0] for place in places})
        == len({drawn(*place)[1] for place in places})
    )


def test_remembered_values_are_built_once_for_each_key() -> None:
    context, calls = InMemoryContext(), []

    def build() -> dict[str, torch.Tensor]:
        calls.append(1)
        return {"x": torch.ones(1)}

    first = context.remember("features", {"upto": "block1"}, build)

    assert first is context.remember("features", {"upto": "block1"}, build)
    assert [1] == calls

    context.remember("features", {"upto": "block2"}, build)

    assert [1, 1] == calls


def test_saved_states_are_copies() -> None:
    context, weights = InMemoryContext(), torch.ones(2)
    context.save({"weights": weights})
    weights.zero_()
    saved = context.resumed().saved()

    assert saved is not None
    assert [1.0, 1.0] == saved["weights"].tolist()


def test_progress_is_recorded_and_cancels_at_the_given_call() -> None:
    context = InMemoryContext(cancel_after=2)
    context.progress(1, 3, loss=0.5)
    with pytest.raises(Cancelled, match="stopped by the test at 2 of 3"):
        context.progress(2, 3)
    resumed = context.resumed()
    resumed.progress(3, 3)

    assert [{"done": 1, "total": 3, "loss": 0.5}, {"done": 2, "total": 3}] == context.told
    assert context.seed == resumed.seed


def test_the_scratch_folder_goes_with_the_context() -> None:
    context = InMemoryContext()
    folder = context.scratch
    (folder / "file").write_text("x")

    assert folder == context.scratch

    del context
    gc.collect()

    assert not folder.exists()
