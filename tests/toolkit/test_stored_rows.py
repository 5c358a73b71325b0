from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from advtransfer.testing.data import toy
from advtransfer.toolkit.datasets import ArraySamples, SampleSubset, all_positions
from advtransfer.toolkit.kernel_batch import KERNEL_BATCH
from advtransfer.toolkit.prediction import InMemoryRows, apply_in_chunks, compute_rows
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.types import Samples

CPU = torch.device("cpu")
IMAGES = toy(noise=0.9, train=300).part("train")


def network() -> nn.Module:
    layers = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(), nn.Linear(128, 5)
    )
    return layers.eval()


MODEL = build_initialized(network, stream_generator("rows"))


class Counted:
    """The model, and how many rows it was given by each call."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def __call__(self, inputs: Tensor) -> Tensor:
        self.calls.append(len(inputs))
        outputs: Tensor = MODEL(inputs)
        return outputs


def some(*positions: int) -> Samples:
    return SampleSubset(IMAGES, torch.tensor(positions))


def test_rows_come_in_the_order_of_the_samples() -> None:
    samples = some(250, 3, 77, 141)

    torch.testing.assert_close(
        MODEL(samples.inputs(all_positions(samples))), compute_rows(samples, MODEL, device=CPU)
    )


def test_rows_equal_those_of_plain_chunks_to_the_bit() -> None:
    with torch.no_grad():
        plain = apply_in_chunks(MODEL, IMAGES.inputs(all_positions(IMAGES)))

    assert plain.equal(compute_rows(IMAGES, MODEL, device=CPU))


def test_a_row_does_not_depend_on_the_other_rows() -> None:
    together = compute_rows(IMAGES, MODEL, device=CPU)

    for positions in ([5], [69, 5], [5, 6, 7, 299], range(3, 200, 2)):
        assert together[list(positions)].equal(compute_rows(some(*positions), MODEL, device=CPU))


def test_every_batch_is_full_and_every_row_is_at_the_slot_of_its_key() -> None:
    seen: list[Tensor] = []

    def watched(inputs: Tensor) -> Tensor:
        seen.append(inputs[:, 0, 0, 0])
        return inputs.flatten(1)

    samples = some(64, 3, 131, 0)
    compute_rows(samples, watched, device=CPU)
    corner = samples.inputs(all_positions(samples))[:, 0, 0, 0]

    # 3 and 131 have the same slot, as do 64 and 0
    assert [KERNEL_BATCH, KERNEL_BATCH] == [len(batch) for batch in seen]
    assert (corner[3], corner[1]) == (seen[0][0], seen[0][3])
    assert (corner[0], corner[2]) == (seen[1][0], seen[1][3])


def test_stored_rows_are_not_computed_again() -> None:
    store, counted = InMemoryRows(), Counted()
    first = compute_rows(some(1, 2, 3), counted, device=CPU, store=store)
    assert [64] == counted.calls

    again = compute_rows(some(3, 1), counted, device=CPU, store=store)
    assert [64] == counted.calls
    assert first[[2, 0]].equal(again)

    compute_rows(some(3, 1, 200), counted, device=CPU, store=store)
    assert [64, 64] == counted.calls
    assert {1, 2, 3, 200} == set(store)


def test_a_sample_given_twice_is_computed_once() -> None:
    store = InMemoryRows()
    rows = compute_rows(some(4, 4, 9, 4), MODEL, device=CPU, store=store)

    assert rows[0].equal(rows[1])
    assert rows[0].equal(rows[3])
    assert {4, 9} == set(store)


def test_few_samples_need_few_batches() -> None:
    counted = Counted()
    compute_rows(some(*range(0, 300, 3)), counted, device=CPU)

    assert len(counted.calls) <= 3


def test_each_image_is_read_once() -> None:
    read_positions: list[int] = []

    class Watched(ArraySamples):
        def inputs(self, positions: Tensor) -> Tensor:
            read_positions.extend(positions.tolist())
            return super().inputs(positions)

    labels, keys = torch.zeros(5, dtype=torch.int64), [3, 67, 1, 900, 0]
    compute_rows(
        Watched(card=IMAGES.card, inputs=torch.rand(5, 1, 4, 4), labels=labels, keys=keys),
        MODEL,
        device=CPU,
    )

    assert [0, 1, 2, 3, 4] == sorted(read_positions)


@pytest.mark.parametrize("positions", [[], ()])
def test_no_samples_are_an_error(positions: Sequence[int]) -> None:
    with pytest.raises(ValueError, match="found no samples"):
        compute_rows(
            SampleSubset(IMAGES, torch.tensor(positions, dtype=torch.int64)), MODEL, device=CPU
        )


def test_rows_carry_no_gradient() -> None:
    assert not compute_rows(some(1), MODEL, device=CPU).requires_grad
