"""A component with the options and parts that the kit builds it with, and toy parts for it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar, cast

import torch
from torch import nn

from advtransfer.errors import Inapplicable
from advtransfer.host import Component
from advtransfer.host.component import check_product
from advtransfer.options import Option
from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.testing.kit.check import CheckFailed, NotChecked, presupposed
from advtransfer.toolkit.datasets import ArrayDataset, all_positions
from advtransfer.toolkit.file_digests import content_sha256
from advtransfer.toolkit.model_modes import freeze_weights
from advtransfer.toolkit.network import BlockNetwork, Normalize
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.toolkit.training import train
from advtransfer.toolkit.training_config import Adam, Schedule
from advtransfer.types import (
    Adapter,
    Context,
    Dataset,
    File,
    Folder,
    Json,
    Part,
    Shape,
    Source,
    SourceCard,
    Weights,
)

TOY_CLASSES = 3
TOY_SHAPE: Shape = (1, 8, 8)
TOY_WIDTH = 8
TOY_EPOCHS = 12

T = TypeVar("T")


@dataclass(frozen=True)
class Specimen:
    """A component, and the options that the kit builds it with.

    Args:
        component: The component.
        options: Options as a suite states them; a file or folder by its path.
        test_labels: The seed of the test labels of data sets that are options; None for the true ones.
    """

    component: Component
    options: Mapping[str, Json] = field(default_factory=dict)
    test_labels: int | None = None
    memo: dict[str, object] = field(default_factory=dict, compare=False, repr=False)
    """Results that several rules look at."""

    def recall(self, name: str, compute: Callable[[], T]) -> T:
        """Return a result, computed at the first call for its name."""
        if name not in self.memo:
            self.memo[name] = compute()
        return cast(T, self.memo[name])

    def product(self) -> object:
        """Return what the factory builds, for a rule that presupposes that it does.

        Raises:
            NotChecked: It breaks the rule ``builds``.
        """
        with presupposed("builds"):
            return self.build()

    def build(self) -> object:
        """Call the factory.

        Raises:
            CheckFailed: An option is required and there is no example, or an option is refused.
            NotChecked: A file or folder is required and not given.
        """
        fields = self.component.options.fields
        missing = [
            name for name, option in fields.items() if option.required and self._lacks(option)
        ]
        self._require_options(missing)
        plain = {name: value for name, value in self.options.items() if fields[name].is_plain}
        completed, faults = self.component.options.validate(plain)
        if faults:
            texts = "; ".join(
                f"{'.'.join(map(str, fault.path))}: found {fault.found}, expected {fault.expected}"
                for fault in faults
            )
            raise CheckFailed(f"the example's options are refused: {texts}")
        return check_product(self.component, self.component.build(completed, self._parts()))

    def _lacks(self, option: Option) -> bool:
        return option.kind is None and option.name not in self.options

    def _require_options(self, missing: list[str]) -> None:
        fields = self.component.options.fields
        if any(fields[name].file for name in missing):
            files = ", ".join(name for name in missing if fields[name].file)
            raise NotChecked(f"it needs a file: name one for {files} in the options of the check")
        if missing:
            names = ", ".join(missing)
            raise CheckFailed(
                f"found no value for {names}, which have no default; expected an example: "
                f"@component(example={{{missing[0]!r}: ...}}), or options of the check"
            )

    def _parts(self) -> dict[str, object]:
        """Return the data sets, sources, adapters and files that the options name."""
        parts: dict[str, object] = {}
        for name, option in self.component.options.fields.items():
            if option.kind is not None and option.required:
                part = toy_part(option, test_labels=self.test_labels)
                parts[name] = (part,) if option.many else part
            elif option.file is not None and name in self.options:
                parts[name] = _content(option, self.options[name])
        return parts


def toy_part(option: Option, *, test_labels: int | None) -> object:
    """Return the toy data set, source or adapter for an option that names an entry."""
    match option.kind:
        case "dataset":
            return toy_dataset(test_labels=test_labels)
        case "source":
            return ToySource()
        case _:
            return ToyAdapter()


def _content(option: Option, value: Json) -> object:
    kind = Folder if option.file == "folder" else File
    values = value if isinstance(value, list | tuple) else (value,)
    contents = tuple(kind(path := Path(str(item)), content_sha256(path)) for item in values)
    return contents if option.many else contents[0]


def toy_dataset(*, seed: int = 0, test_labels: int | None = None) -> Dataset:
    """Return separable images ``(1, 8, 8)`` of three classes.

    Args:
        seed: The seed of the images.
        test_labels: The seed of an order of the test labels, with which they fit to no image; None for the
            true labels.
    """
    dataset = toy(classes=TOY_CLASSES, train=48, test=24, shape=TOY_SHAPE, seed=seed)
    if test_labels is None:
        return dataset
    parts: dict[Part, tuple[torch.Tensor, torch.Tensor]] = {}
    for name in ("train", "test"):
        samples = dataset.part(name)
        positions = all_positions(samples)
        parts[name] = (samples.inputs(positions), samples.labels(positions))
    inputs, labels = parts["test"]
    order = torch.randperm(len(labels), generator=stream_generator("kit labels", test_labels))
    parts["test"] = (inputs, labels[order])
    return ArrayDataset(parts, names=dataset.card().names)


def attacked_dataset(*, seed: int = 0) -> Dataset:
    """Return toy images whose distances to other classes spread from about .005 to .4 in linf.

    Their contrast falls from 1 to .02, and two test labels are wrong. So at each eps between .02 and .3
    an attack breaks some images and leaves others, and some are wrong without it.

    Args:
        seed: The seed of the images; another one also gives other positions to contrasts and labels.
    """
    dataset = toy(classes=TOY_CLASSES, train=48, test=24, shape=TOY_SHAPE, seed=seed)
    parts: dict[Part, tuple[torch.Tensor, torch.Tensor]] = {}
    for name in ("train", "test"):
        samples = dataset.part(name)
        positions = all_positions(samples)
        count = len(positions)
        contrasts = torch.cat([torch.ones(count // 3), torch.logspace(0, -1.7, count - count // 3)])
        contrasts = contrasts.roll(4 * seed)[:, None, None, None]
        inputs = 0.5 + contrasts * (samples.inputs(positions) - 0.5)
        parts[name] = (inputs, samples.labels(positions).clone())
    labels = parts["test"][1]
    wrong = [1 + seed, 5 + seed]
    labels[wrong] = (labels[wrong] + 1) % TOY_CLASSES
    return ArrayDataset(parts, names=dataset.card().names)


def toy_network(
    generator: torch.Generator | None = None,
    *,
    outputs: int = TOY_CLASSES,
    batch_norm: bool = False,
) -> BlockNetwork:
    """Return an untrained convolutional network of two blocks.

    Args:
        generator: Draws the weights; by default always the same ones.
        outputs: The number of its logits.
        batch_norm: Whether the first block has a batch normalisation, whose statistics change in train mode.
    """

    def build() -> BlockNetwork:
        norm = [nn.BatchNorm2d(TOY_WIDTH)] if batch_norm else []
        blocks: dict[str, nn.Module] = {
            "block1": nn.Sequential(nn.Conv2d(1, TOY_WIDTH, 3, padding=1), *norm, nn.ReLU()),
            "block2": nn.Sequential(
                nn.Conv2d(TOY_WIDTH, TOY_WIDTH, 3, stride=2, padding=1),
                nn.ReLU(),
                nn.AvgPool2d(2),
                nn.Flatten(),
            ),
        }
        return BlockNetwork(blocks, nn.Linear(4 * TOY_WIDTH, outputs), Normalize([0.5], [0.5]))

    return build_initialized(build, generator or stream_generator("kit network"))


def frozen_network(seed: int = 0) -> BlockNetwork:
    """Return a toy network of a seed as the host gives it to components: in eval mode and frozen."""
    network = toy_network(stream_generator("kit network", seed))
    freeze_weights(network.eval())
    return network


def trained_network(seed: int = 0) -> BlockNetwork:
    """Return a toy network that has learned `attacked_dataset`, in eval mode and frozen."""
    network = toy_network(stream_generator("kit network", seed), batch_norm=True)
    train(
        network,
        attacked_dataset(seed=seed).part("train"),
        epochs=TOY_EPOCHS,
        batch_size=16,
        optimiser=Adam(lr=0.01),
        schedule=Schedule(),
        context=InMemoryContext(0),
    )
    freeze_weights(network.eval())
    return network


class ToySource:
    """A `Source` of the toy network, untrained."""

    def card(self) -> SourceCard:
        """Return the claims of the source."""
        return SourceCard("toy", "toy", "none", TOY_SHAPE, TOY_CLASSES)

    def network(self) -> BlockNetwork:
        """Return the architecture."""
        return toy_network()

    def weights(self, context: Context) -> Weights:
        """Return the weights, drawn from the context."""
        return Weights(dict(toy_network(context.generator("toy weights")).state_dict()))


class ToyAdapter:
    """An `Adapter` that changes nothing, between equal shapes."""

    learned = False

    def module(self, *, target: Shape, source: Shape) -> nn.Module:
        """Return the identity; raise Inapplicable where the shapes differ."""
        if target != source:
            raise Inapplicable(f"the shapes {target} and {source} differ")
        return nn.Identity()


_PROTOCOLS: tuple[type[Source], type[Adapter]] = (ToySource, ToyAdapter)
# A statement, so that mypy holds both to their protocols.
