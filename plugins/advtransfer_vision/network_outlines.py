"""What is known of networks and trainings before they are made: shapes, blocks, wrong options. Light: no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from advtransfer.precheck import Chosen, Misfit, Outline, Surroundings
from advtransfer.toolkit.training_misfits import adversary_misfits, augment_misfits
from advtransfer_vision.networks import DEPTH, WIDTHS, Known, Sized

BLOCKS: Mapping[str, int] = {
    "small_cnn": 3,
    "mnist_2conv": 3,
    "lenet5": 4,
    "fcnet": 4,
    "resnet18": 9,
    "resnet50": 17,
    "one_hidden": 1,
}
"""Blocks of the networks of one depth."""

SMALLEST: Mapping[str, int] = {
    "small_cnn": 8,
    "mnist_2conv": 4,
    "lenet5": 1,
    "resnet18": 8,
    "resnet50": 8,
    "wide_resnet": 4,
}
"""The pixels that a side of their images must have; networks that are not here flatten inputs of any shape."""


def network(chosen: Chosen) -> Outline:
    """A network for a data set."""
    data: Outline = chosen["data"]
    return replace(_parts_unknown(data), blocks=_blocks(chosen["network"]))


def perturbed(chosen: Chosen) -> Outline:
    """The source that is perturbed."""
    source: Outline = chosen["source"]
    return source


def check_network(chosen: Chosen, _: Surroundings) -> Iterator[Misfit]:
    """The network takes inputs of the data's shape, and a width is given where it is used."""
    network, shape = chosen["network"], chosen["data"].shape
    name = _name(network)
    if chosen["width"] != WIDTHS["small_cnn"] and network != "small_cnn":
        expected = f"it beside small_cnn alone; {name} takes it in `network: {{name: {name}, width: ...}}`"
        yield Misfit(("width",), expected, "move it there, or remove it")
    if isinstance(network, Known) and shape is not None and (len(shape) != 3 or shape[0] != 3 or shape[1] != shape[2]):
        found = f"inputs of shape {shape} for {name}"
        yield Misfit(("network",), "(3, H, H)", "give the data set `channels: 3` and a `size`", found)
    smallest = SMALLEST.get(name)
    if smallest is not None and shape is not None and (len(shape) != 3 or min(shape[1:]) < smallest):
        found = f"inputs of shape {shape} for {name}"
        expected = f"images (C, H, W) of at least {smallest} x {smallest} pixels"
        yield Misfit(("network",), expected, "give the data set a `size`, or name another network", found)


def check_trained(chosen: Chosen, around: Surroundings) -> Iterator[Misfit]:
    """The network, its adversary and its images suit the data."""
    yield from check_network(chosen, around)
    data: Outline = chosen["data"]
    yield from adversary_misfits(chosen["adversary"], data)
    yield from augment_misfits(chosen["augment"], data)
    images, classes = chosen["images"], None if data.train_counts is None else len(data.train_counts)
    if images is not None and data.train is not None and images > data.train:
        expected = f"at most the {data.train:,} images of the train part"
        yield Misfit(("images",), expected, "lower it, or leave it out")
    elif images is not None and classes is not None and images < classes:
        yield Misfit(("images",), f"at least one image of each of {classes} classes", "raise it")
    count = images or data.train
    if count is not None and classes is not None and count >= classes > count - round(chosen["validation"] * count):
        expected = f"a share that leaves at least one image of each of {classes} classes to train on"
        yield Misfit(("validation",), expected, "lower it")
    if chosen["label_noise"] > 0 and (data.task not in (None, "classes") or data.outputs == 1):
        expected = "0, since labels are replaced by other classes, and the data has none"
        yield Misfit(("label_noise",), expected, "leave it out")


def check_perturbed(chosen: Chosen, _: Surroundings) -> Iterator[Misfit]:
    """The data have the shape that the source takes."""
    takes, gives = chosen["source"].shape, chosen["data"].shape
    if None not in (takes, gives) and takes != gives:
        found = f"data of shape {gives}"
        yield Misfit(("data",), f"inputs {takes}, which the source takes", "name data of that shape", found)


def _parts_unknown(data: Outline) -> Outline:
    """Of the data what a network for it has, too."""
    return replace(data, train=None, test=None, train_counts=None, test_counts=None)


def _name(network: str | Sized | Known) -> str:
    match network:
        case Sized():
            return network.name
        case Known():
            return network.architecture
        case _:
            return network


def _blocks(network: str | Sized | Known) -> int | None:
    """How many blocks a network has; None for those of libraries, which are counted when they are built."""
    if isinstance(network, Known):
        return None
    depth = network.depth if isinstance(network, Sized) else None
    name = _name(network)
    return (depth or DEPTH) // 2 if name == "wide_resnet" else BLOCKS.get(name)
