"""Samples kept on the device of a training, and the batches that are read from them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.testing.pretend_cuda import pretend_cuda
from advtransfer.toolkit import resident_samples
from advtransfer.toolkit.augmentation import make_augmentation
from advtransfer.toolkit.datasets import ArraySamples, all_positions
from advtransfer.toolkit.resident_samples import ResidentSamples, keep_on_device
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.toolkit.training import train
from advtransfer.toolkit.training_batches import TrainingBatches
from advtransfer.toolkit.training_config import Schedule, Sgd
from advtransfer.types import DataCard, Samples

CPU = torch.device("cpu")
IMAGES = toy(classes=3, shape=(3, 8, 8), train=50, test=10).part("train")
ORDER = torch.tensor([7, 3, 49, 0, 12, 12])


class Counted:
    """Samples that count how many inputs were read."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples
        self.card = samples.card
        self.keys = samples.keys
        self.read = 0

    def __len__(self) -> int:
        return len(self._samples)

    def inputs(self, positions: Tensor) -> Tensor:
        """Return the inputs and count them."""
        self.read += len(positions)
        return self._samples.inputs(positions)

    def labels(self, positions: Tensor) -> Tensor:
        """Return the labels."""
        return self._samples.labels(positions)


def _bytes_samples() -> ArraySamples:
    inputs = torch.arange(256, dtype=torch.uint8).reshape(4, 1, 8, 8)
    card = DataCard((1, 8, 8), (0.0, 1.0), "classes", 2, ("a", "b"), "digest")
    return ArraySamples(
        card=card, inputs=inputs, labels=torch.tensor([0, 1, 0, 1]), keys=[5, 6, 8, 9]
    )


@pytest.mark.parametrize("samples", [IMAGES, _bytes_samples()])
def test_resident_samples_are_the_same_bits(samples: Samples) -> None:
    resident = keep_on_device(samples, CPU)
    positions = torch.tensor([3, 0, 2])

    assert isinstance(resident, ResidentSamples)
    assert (samples.card, samples.keys, len(samples)) == (
        resident.card,
        resident.keys,
        len(resident),
    )
    assert samples.inputs(positions).equal(resident.inputs(positions))
    assert samples.labels(positions).equal(resident.labels(positions))


def test_samples_that_are_too_many_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    size = 4 * 50 * 3 * 8 * 8
    monkeypatch.setattr(resident_samples, "MAX_RESIDENT_BYTES", {"cpu": size - 1})

    assert keep_on_device(IMAGES, CPU) is IMAGES


def test_a_gpu_keeps_bytes_from_which_the_same_floats_are_made() -> None:
    samples = _bytes_samples()
    positions = all_positions(samples)
    with pretend_cuda():
        resident = ResidentSamples(samples, torch.device("cuda"))
        read = resident.inputs(positions.to("cuda"))

        assert "cuda" == read.device.type
        assert torch.uint8 == resident._inputs.dtype
        assert samples.inputs(positions).equal(read.cpu())


def test_a_gpu_keeps_other_values_as_floats() -> None:
    positions = all_positions(IMAGES)
    with pretend_cuda():
        resident = ResidentSamples(IMAGES, torch.device("cuda"))

        assert IMAGES.inputs(positions).equal(resident.inputs(positions.to("cuda")).cpu())


@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("first", [0, 1, 3])
def test_streamed_and_resident_batches_are_the_same_bits(device: str, first: int) -> None:
    augment = make_augmentation(
        ("pad_crop_2", "flip", "colour_jitter", "rotation"),
        shape=(3, 8, 8),
        context=InMemoryContext(),
    )
    with pretend_cuda():
        target = torch.device(device)
        resident = TrainingBatches(keep_on_device(IMAGES, target), 4, augment, target)
        streamed = TrainingBatches(IMAGES, 4, augment, target)
        kept = list(resident.read(ORDER, 2, first=first))
        anew = list(streamed.read(ORDER, 2, first=first))

        assert [4, 2][first:] == [len(inputs) for inputs, _ in kept]
        for (inputs, labels), (inputs_anew, labels_anew) in zip(kept, anew, strict=True):
            assert device == inputs.device.type == inputs_anew.device.type
            assert inputs.cpu().equal(inputs_anew.cpu())
            assert labels.cpu().equal(labels_anew.cpu())


def test_batches_hold_the_samples_in_their_order() -> None:
    batches = TrainingBatches(IMAGES, 4, None, CPU).read(ORDER, 1)
    inputs, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))

    assert IMAGES.inputs(ORDER).equal(inputs)
    assert IMAGES.labels(ORDER).equal(labels)


def test_an_error_while_reading_ahead_is_raised_by_the_training() -> None:
    class Unreadable(Counted):
        def inputs(self, positions: Tensor) -> Tensor:
            if 49 in positions:
                raise OSError("image 49 is broken")
            return super().inputs(positions)

    with pretend_cuda(), pytest.raises(OSError, match="image 49"):
        list(TrainingBatches(Unreadable(IMAGES), 2, None, torch.device("cuda")).read(ORDER, 1))


def _trained(samples: Samples) -> Tensor:
    model = build_initialized(
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)),
        stream_generator("model"),
    )
    train(
        model,
        samples,
        epochs=3,
        batch_size=16,
        optimiser=Sgd(),
        schedule=Schedule(),
        context=InMemoryContext(),
    )
    return torch.cat([tensor.flatten() for tensor in model.state_dict().values()])


def test_a_training_reads_what_it_keeps_once_and_ends_in_the_same_bits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept, streamed = Counted(IMAGES), Counted(IMAGES)
    weights = _trained(kept)
    monkeypatch.setattr(resident_samples, "MAX_RESIDENT_BYTES", {})
    weights_streamed = _trained(streamed)

    assert (50, 150) == (kept.read, streamed.read)
    assert weights.equal(weights_streamed)
