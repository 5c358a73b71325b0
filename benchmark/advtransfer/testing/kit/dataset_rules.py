"""Rules for data sets."""

from __future__ import annotations

from typing import cast

import torch

from advtransfer.testing.kit.check import presupposed, require
from advtransfer.testing.kit.running import undisturbed
from advtransfer.testing.kit.specimen import Specimen
from advtransfer.toolkit.datasets import all_positions
from advtransfer.types import Dataset, Part, Samples
from advtransfer.worker.plugin_values import ValidatedDataset

PARTS: tuple[Part, ...] = ("train", "test")
MAX_SAMPLES = 200
"""Samples of a part that are read."""


def _dataset(specimen: Specimen) -> Dataset:
    return ValidatedDataset(specimen.component, cast(Dataset, specimen.product()))


def sound_dataset(specimen: Specimen) -> Dataset:
    """Return the data set, for a rule that presupposes parts that can be read."""
    with presupposed("parts_match_card"):
        parts_match_card(specimen)
    return _dataset(specimen)


def _positions(samples: Samples) -> torch.Tensor:
    return all_positions(samples)[:MAX_SAMPLES]


def parts_match_card(specimen: Specimen) -> None:
    """Train and test parts have images and labels as the card says."""
    dataset = _dataset(specimen)
    card = dataset.card()
    for name in PARTS:
        samples = dataset.part(name)
        require(len(samples) > 0, f"an empty {name} part", "at least one sample")
        positions = _positions(samples)
        inputs, labels = samples.inputs(positions), samples.labels(positions)
        expected = (len(positions), *card.shape)
        require(tuple(inputs.shape) == expected, f"inputs {tuple(inputs.shape)}", str(expected))
        require(bool(inputs.isfinite().all()), "inputs that are not finite", "finite ones")
        if card.bounds is not None:
            low, high = card.bounds
            found = f"inputs from {float(inputs.min()):g} to {float(inputs.max()):g}"
            is_inside = bool((inputs >= low).all() and (inputs <= high).all())
            require(is_inside, found, f"the card's bounds, {low:g} to {high:g}")
        if card.task == "classes":
            found = f"labels from {int(labels.min())} to {int(labels.max())}"
            is_known = int(labels.min()) >= 0 and int(labels.max()) < card.outputs
            require(is_known, found, f"0 to {card.outputs - 1}")
        names = f"{len(card.names)} names"
        require(len(card.names) == card.outputs, names, f"one for each of {card.outputs} outputs")


def order_invariant(specimen: Specimen) -> None:
    """A sample is the same whatever is read beside it, and in whatever order."""
    samples = sound_dataset(specimen).part("test")
    positions = _positions(samples)
    inputs, labels = samples.inputs(positions), samples.labels(positions)
    backwards = positions.flip(0)
    is_equal = torch.equal(samples.inputs(backwards).flip(0), inputs) and torch.equal(
        samples.labels(backwards).flip(0), labels
    )
    require(is_equal, "other samples in the reverse order", "equal ones")
    one = positions[-1:]
    require(torch.equal(samples.inputs(one), inputs[-1:]), "another sample alone", "an equal one")


def same_content_twice(specimen: Specimen) -> None:
    """Two builds give the same digest, keys, images and labels."""
    first, second = sound_dataset(specimen), _dataset(specimen)
    require(first.card() == second.card(), "two cards that differ", "equal ones")
    for name in PARTS:
        one, other = first.part(name), second.part(name)
        positions = _positions(one)
        is_equal = torch.equal(one.inputs(positions), other.inputs(positions))
        require(is_equal, f"images of {name} that differ between two builds", "equal ones")
        require(list(one.keys) == list(other.keys), "keys that differ", "equal ones")


def keys_unique(specimen: Specimen) -> None:
    """Each sample of a part has a key of its own."""
    dataset = sound_dataset(specimen)
    for name in PARTS:
        keys = list(dataset.part(name).keys)
        require(len(set(keys)) == len(keys), f"keys of {name} that occur twice", "one for each")


def leaves_process(specimen: Specimen) -> None:
    """Reading leaves random state, settings, threads and torch's functions as they were."""
    sound_dataset(specimen)
    with undisturbed():
        samples = _dataset(specimen).part("test")
        samples.inputs(_positions(samples))


RULES = (parts_match_card, order_invariant, same_content_twice, keys_unique, leaves_process)
