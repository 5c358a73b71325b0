from __future__ import annotations

import pytest
import torch

from advtransfer.testing.data import toy
from advtransfer.toolkit.kernel_batch import (
    CPU_VALUES,
    KERNEL_BATCH,
    MAX_KERNEL_BATCH,
    default_rows,
    kernel_batch_option,
    kernel_rows,
)
from advtransfer.toolkit.prediction import apply_in_chunks, compute_rows, kernel_batches, predict
from advtransfer.types import Shape

CPU, GPU = torch.device("cpu"), torch.device("cuda", 1)
MANY = 10**6


@pytest.mark.parametrize(
    ("shape", "on_cpu", "on_gpu"),
    [
        ((3,), 1024, 1024),
        ((1, 8, 8), 1024, 1024),
        ((1, 28, 28), 256, 1024),
        ((3, 32, 32), 64, 512),
        ((3, 224, 224), 64, 64),
        ((), 1024, 1024),
        ((0,), 1024, 1024),
    ],
)
def test_the_rule_counts_the_values_of_an_input(shape: Shape, on_cpu: int, on_gpu: int) -> None:
    assert on_cpu == kernel_rows(CPU, shape, samples=MANY)
    assert on_gpu == kernel_rows(GPU, shape, samples=MANY)


def test_inputs_that_just_fit_are_counted_as_fitting() -> None:
    assert 128 == kernel_rows(CPU, (CPU_VALUES // 128,), samples=MANY)
    assert 64 == kernel_rows(CPU, (CPU_VALUES // 128 + 1,), samples=MANY)


@pytest.mark.parametrize(("samples", "rows"), [(0, 64), (1, 64), (64, 64), (65, 128), (1000, 256)])
def test_a_small_set_has_no_larger_batch_than_it_fills(samples: int, rows: int) -> None:
    assert rows == kernel_rows(CPU, (1, 28, 28), samples=samples)


def test_the_option_of_the_run_holds_for_every_device_and_shape() -> None:
    with kernel_batch_option(96):
        assert {96} == {
            kernel_rows(device, shape, samples=samples)
            for device in (CPU, GPU)
            for shape in ((3,), (3, 224, 224))
            for samples in (1, MANY)
        }
        assert 96 == default_rows()
        with kernel_batch_option(None):
            assert 1024 == kernel_rows(CPU, (3,), samples=MANY) == MAX_KERNEL_BATCH
    assert KERNEL_BATCH == default_rows()


def test_chunks_predictions_and_stored_rows_have_the_rows_of_the_option() -> None:
    seen: set[int] = set()
    samples = toy(test=130, shape=(1, 8, 8)).part("test")

    class Watched(torch.nn.Module):
        def forward(self, inputs: torch.Tensor) -> torch.Tensor:
            seen.add(len(inputs))
            return inputs.flatten(1)

    model = Watched().eval()
    with kernel_batch_option(96):
        logits, _ = predict(model, samples, device=CPU)
        rows = compute_rows(samples, model, device=CPU)
        assert [96, 34] == [len(positions) for positions, _, _ in kernel_batches(samples)]

    assert {96} == seen
    assert logits.equal(rows)


def test_a_caller_may_name_the_rows_of_its_set() -> None:
    seen: list[int] = []

    def watched(rows: torch.Tensor) -> torch.Tensor:
        seen.append(len(rows))
        return 2 * rows

    inputs = torch.arange(300.0)[:, None]

    assert (2 * inputs).equal(apply_in_chunks(watched, inputs, rows=256))
    assert [256, 256] == seen
