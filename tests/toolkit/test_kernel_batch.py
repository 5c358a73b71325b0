from __future__ import annotations

import pytest
import torch
from torch import nn

from advtransfer.testing.data import toy
from advtransfer.toolkit.kernel_batch import (
    KERNEL_BATCH,
    MAX_KERNEL_BATCH,
    MOST_VALUES,
    default_rows,
    kernel_batch_option,
    kernel_rows,
)
from advtransfer.toolkit.prediction import apply_in_chunks, compute_rows, kernel_batches, predict
from advtransfer.types import Shape

CPU, GPU = torch.device("cpu"), torch.device("cuda", 1)
MANY = 10**6


CONVOLUTIONS = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2, 2))
MATRICES = nn.Sequential(nn.Flatten(), nn.Linear(2, 2), nn.LayerNorm(2))


@pytest.mark.parametrize(
    ("shape", "convolutions", "matrices", "on_gpu"),
    [
        ((3,), 1024, 1024, 1024),
        ((1, 8, 8), 1024, 1024, 1024),
        ((1, 28, 28), 128, 1024, 1024),
        ((3, 32, 32), 64, 256, 512),
        ((3, 224, 224), 64, 64, 64),
        ((), 1024, 1024, 1024),
        ((0,), 1024, 1024, 1024),
    ],
)
def test_the_rule_counts_the_values_of_an_input(
    shape: Shape, convolutions: int, matrices: int, on_gpu: int
) -> None:
    assert convolutions == kernel_rows(CPU, shape, samples=MANY, model=CONVOLUTIONS)
    assert convolutions == kernel_rows(CPU, shape, samples=MANY)
    assert matrices == kernel_rows(CPU, shape, samples=MANY, model=MATRICES)
    assert {on_gpu} == {
        kernel_rows(GPU, shape, samples=MANY, model=model)
        for model in (CONVOLUTIONS, MATRICES, None)
    }


def test_inputs_that_just_fit_are_counted_as_fitting() -> None:
    most = MOST_VALUES["convolutions"]
    assert 128 == kernel_rows(CPU, (most // 128,), samples=MANY)
    assert 64 == kernel_rows(CPU, (most // 128 + 1,), samples=MANY)


@pytest.mark.parametrize(
    ("samples", "on_cpu", "on_gpu"),
    [
        (0, 64, 64),
        (1, 64, 64),
        (64, 64, 64),
        (65, 64, 128),
        (511, 64, 512),
        (512, 128, 512),
        (1000, 192, 1024),
        (10_000, 1024, 1024),
    ],
)
def test_a_small_set_fills_its_batch_or_four_on_a_cpu(
    samples: int, on_cpu: int, on_gpu: int
) -> None:
    assert on_cpu == kernel_rows(CPU, (1, 8, 8), samples=samples)
    assert on_gpu == kernel_rows(GPU, (1, 8, 8), samples=samples)


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


def test_a_bound_holds_for_rule_and_option_and_the_largest_batch_is_known() -> None:
    with kernel_batch_option(None, bound=256) as option:
        assert 0 == option.largest
        assert 64 == default_rows() == option.largest
        assert 256 == kernel_rows(GPU, (3,), samples=MANY) == option.largest
        assert 64 == kernel_rows(GPU, (3, 224, 224), samples=MANY)
        assert 256 == option.largest
    with kernel_batch_option(96, bound=48) as option:
        assert 48 == default_rows() == kernel_rows(CPU, (3,), samples=MANY) == option.largest


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
