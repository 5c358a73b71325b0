from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from advtransfer.testing.data import toy
from advtransfer.toolkit.datasets import SampleSubset, all_positions
from advtransfer.toolkit.kernel_batch import KERNEL_BATCH
from advtransfer.toolkit.prediction import (
    apply_in_chunks,
    fill_batch,
    kernel_batches,
    measure_accuracy,
    predict,
)
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.types import Samples

CPU = torch.device("cpu")


def _model() -> nn.Module:
    def build() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 8, 3),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(288, 40),
            nn.ReLU(),
            nn.Linear(40, 3),
        )

    return build_initialized(build, stream_generator("model")).eval()


def _samples(count: int) -> Samples:
    return toy(test=count, shape=(1, 8, 8)).part("test")


def test_chunks_are_all_samples_in_order() -> None:
    samples = _samples(2 * KERNEL_BATCH + 3)
    found = list(kernel_batches(samples))
    positions, inputs, labels = (torch.cat(column) for column in zip(*found, strict=True))

    assert [KERNEL_BATCH, KERNEL_BATCH, 3] == [len(part[0]) for part in found]
    assert all_positions(samples).equal(positions)
    assert samples.inputs(positions).equal(inputs)
    assert samples.labels(positions).equal(labels)


def test_no_samples_are_no_chunks() -> None:
    assert [] == list(kernel_batches(_samples(0)))


def test_every_kernel_sees_the_same_number_of_rows() -> None:
    seen: list[tuple[int, ...]] = []

    def watched(rows: Tensor) -> Tensor:
        seen.append(tuple(rows.shape))
        return 2 * rows

    inputs = torch.arange(140.0).reshape(70, 2)

    assert (2 * inputs).equal(apply_in_chunks(watched, inputs))
    assert [(KERNEL_BATCH, 2)] * 2 == seen


def test_missing_rows_are_copies_of_the_first() -> None:
    rows = torch.arange(1.0, 4.0).reshape(3, 1)
    total = apply_in_chunks(lambda filled: filled.sum().expand(KERNEL_BATCH), rows)

    assert [6.0 + (KERNEL_BATCH - 3)] * 3 == total.tolist()


def test_several_tensors_are_chunked_side_by_side() -> None:
    ones, twos = torch.ones(70, 2), torch.full((70,), 2)

    assert torch.full((70,), 4).equal(apply_in_chunks(lambda a, b: a.sum(1) + b, ones, twos))


def test_chunked_functions_can_be_differentiated() -> None:
    inputs = torch.ones(70, 2, requires_grad=True)
    total = apply_in_chunks(lambda rows: rows**2, inputs).sum()
    (gradient,) = torch.autograd.grad(total, inputs)

    assert torch.full((70, 2), 2.0).equal(gradient)


def test_no_rows_are_an_error() -> None:
    with pytest.raises(ValueError, match="found no rows"):
        apply_in_chunks(lambda rows: rows, torch.empty(0, 2))


@pytest.mark.parametrize("count", [1, 7, 63, 64, 65])
def test_a_sample_has_the_same_bits_however_many_others_are_predicted(count: int) -> None:
    model, samples = _model(), _samples(130)
    whole, _ = predict(model, samples, device=CPU)
    some = torch.randperm(130, generator=stream_generator("some"))[:count]
    picked, labels = predict(model, SampleSubset(samples, some), device=CPU)

    assert whole[some].equal(picked)
    assert samples.labels(some).equal(labels)


def test_predictions_are_ordinary_tensors_on_the_cpu() -> None:
    logits, _ = predict(_model(), _samples(5), device=CPU)

    assert (torch.float32, CPU, False) == (logits.dtype, logits.device, logits.is_inference())


def test_a_model_with_a_part_in_training_mode_is_refused() -> None:
    model = _model()
    next(model.children()).train()
    with pytest.raises(ValueError, match="found a model in training mode"):
        predict(model, _samples(5), device=CPU)


def test_no_samples_are_an_error() -> None:
    with pytest.raises(ValueError, match="found no samples"):
        predict(_model(), _samples(0), device=CPU)


def test_accuracy_is_the_share_of_correct_predictions() -> None:
    samples = _samples(9)

    class Two(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return torch.tensor([0.0, 0.0, 1.0]).expand(len(inputs), 3)

    assert 1 / 3 == pytest.approx(measure_accuracy(Two().eval(), samples, device=CPU))


@pytest.mark.parametrize("count", [1, 3, KERNEL_BATCH, KERNEL_BATCH + 1])
def test_filled_batch_repeats_its_first_row(count: int) -> None:
    rows = torch.arange(2.0 * count).reshape(count, 2)

    filled = fill_batch(rows)

    assert len(filled) == max(count, KERNEL_BATCH)
    assert filled[:count].equal(rows)
    assert filled[count:].equal(rows[:1].expand(len(filled) - count, 2))
