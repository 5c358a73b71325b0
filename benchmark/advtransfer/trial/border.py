"""The host's border: values of torch's kind that plugins give, looked at before anything of them is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn

from advtransfer.host import Component
from advtransfer.printable import article, type_text
from advtransfer.returned import refused, returned
from advtransfer.types import (
    Check,
    DataCard,
    Dataset,
    Examples,
    Fitted,
    Measurement,
    Network,
    Part,
    Samples,
    SourceCard,
    Tensors,
    Weights,
)

NETWORK = ("blocks", "head", "features")
SAMPLES = ("card", "keys", "inputs", "labels", "__len__")


@dataclass(frozen=True, slots=True)
class HeldDataset:
    """A plugin's data set whose card and parts are looked at."""

    component: Component
    dataset: Dataset

    def card(self) -> DataCard:
        """Its card."""
        card = returned(self.component, "card", self.dataset.card(), DataCard)
        _fields(self.component, "card", card, {"shape": tuple, "outputs": int, "names": tuple, "digest": str})
        return card

    def part(self, name: Part) -> Samples:
        """One of its parts; its first sample is looked at too."""
        call, samples = f"part({name!r})", self.dataset.part(name)
        if lacking := [one for one in SAMPLES if not hasattr(samples, one)]:
            found = f"{type_text(samples)} without {', '.join(lacking)}"
            raise refused(self.component, call, found, f"samples, which have {', '.join(SAMPLES)}")
        returned(self.component, f"{call}.card", samples.card, DataCard)
        if len(samples):
            self._first(call, samples)
        return samples

    def _first(self, call: str, samples: Samples) -> None:
        position = torch.arange(1)
        inputs, shape = samples.inputs(position), (1, *samples.card.shape)
        _tensor(self.component, f"{call}.inputs of one sample", inputs, torch.float32, shape)
        labels, classes = samples.labels(position), samples.card.task == "classes"
        _tensor(self.component, f"{call}.labels of one sample", labels, torch.int64 if classes else None, None)


def module(component: Component, call: str, value: object) -> nn.Module:
    """A module that a plugin made."""
    return returned(component, call, value, nn.Module)


def network(component: Component, value: object) -> Network:
    """A source's network."""
    made = module(component, "network", value)
    if lacking := [name for name in NETWORK if not hasattr(made, name)]:
        expected = f"a Network, which has {', '.join(NETWORK)}"
        raise refused(component, "network", f"{type_text(made)} without {', '.join(lacking)}", expected)
    return cast(Network, made)


def load(component: Component, module: nn.Module, tensors: Tensors) -> None:
    """Load a source's weights into its network.

    Raises:
        PluginError: They do not fit it.
    """
    try:
        module.load_state_dict(dict(tensors))
    except RuntimeError as error:
        raise refused(component, "weights", "others than its network has", f"those of `network` ({error})") from error


def source_card(component: Component, value: object) -> SourceCard:
    """A source's card."""
    card = returned(component, "card", value, SourceCard)
    _fields(component, "card", card, {"architecture": str, "shape": tuple, "outputs": int})
    return card


def weights(component: Component, value: object) -> Weights:
    """A source's weights."""
    made = returned(component, "weights", value, Weights)
    _tensors(component, "weights", "tensors", made.tensors)
    _rows(component, "weights", made.curves)
    words = {
        name for name, fact in _mapping(component, "weights", "facts", made.facts).items() if isinstance(fact, str)
    }
    _numbers(component, "weights", "facts", {name: made.facts[name] for name in made.facts.keys() - words})
    return made


def fitted(component: Component, value: object) -> Fitted:
    """What a fit gave."""
    made = returned(component, "fit", value, Fitted)
    _rows(component, "fit", made.curves)
    _numbers(component, "fit", "facts", made.facts)
    _mapping(component, "fit", "chosen", made.chosen)
    for epoch, state in _mapping(component, "fit", "snapshots", made.snapshots).items():
        if isinstance(epoch, bool) or not isinstance(epoch, int) or epoch < 0:
            raise refused(component, "fit", f"a snapshot of the epoch {epoch!r}", "an int, 0 or more")
        _tensors(component, "fit", f"snapshots[{epoch}]", state)
    return made


def measurement(component: Component, value: object) -> Measurement:
    """What an evaluation gave: all of its fields of the types that they state."""
    made = returned(component, "measure", value, Measurement)
    _tensors(component, "measure", "outcomes", made.outcomes)
    _tensors(component, "measure", "samples", made.samples)
    _numbers(component, "measure", "metrics", made.metrics)
    for name, kind in (("examples", Examples), ("checks", Check)):
        for one in _sequence(component, "measure", name, getattr(made, name)):
            if not isinstance(one, kind):
                expected = f"{name} of the type {kind.__name__}"
                raise refused(component, "measure", f"{type_text(one)} among its {name}", expected)
    for one in made.examples:
        _tensors(component, "measure", "examples", {"positions": one.positions, "inputs": one.inputs})
    _files(component, _mapping(component, "measure", "files", made.files))
    return made


def _files(component: Component, files: Mapping[str, object]) -> None:
    names: dict[str, str] = {}
    for name, path in files.items():
        if not isinstance(path, Path):
            raise refused(component, "measure", f"{type_text(path)} as the file {name!r}", "a Path")
        if path.is_symlink() or not path.is_file():
            raise refused(component, "measure", f"{str(path)!r} as {name!r} of its files", "a file that is there")
        if path.name in names:
            found = f"two files of the name {path.name!r} ({names[path.name]!r} and {name!r})"
            raise refused(component, "measure", found, "names that differ, since they are kept in one folder")
        names[path.name] = name


def _fields(component: Component, call: str, value: object, kinds: Mapping[str, type]) -> None:
    for name, kind in kinds.items():
        if not isinstance(one := getattr(value, name), kind) or isinstance(one, bool):
            raise refused(component, call, f"{type_text(one)} as its {name}", article(kind.__name__))


def _tensor(
    component: Component, call: str, value: object, dtype: torch.dtype | None, shape: tuple[int, ...] | None
) -> None:
    wanted = f"{str(dtype or 'a tensor').removeprefix('torch.')}{f' of shape {shape}' if shape else ''}"
    if not isinstance(value, Tensor):
        raise refused(component, call, type_text(value), wanted)
    if (dtype and value.dtype != dtype) or (shape and tuple(value.shape) != shape):
        found = f"{str(value.dtype).removeprefix('torch.')} of shape {tuple(value.shape)}"
        raise refused(component, call, found, wanted)


def _mapping(component: Component, call: str, field: str, value: object) -> Mapping[str, object]:
    if not isinstance(value, Mapping):
        raise refused(component, call, f"{type_text(value)} as its {field}", "a mapping")
    return value


def _sequence(component: Component, call: str, field: str, value: object) -> Sequence[object]:
    if not isinstance(value, Sequence) or isinstance(value, str):
        raise refused(component, call, f"{type_text(value)} as its {field}", "a sequence")
    return value


def _tensors(component: Component, call: str, field: str, value: Tensors) -> None:
    for name, one in _mapping(component, call, field, value).items():
        _named(component, call, field, name)
        if not isinstance(one, Tensor):
            raise refused(component, call, f"{type_text(one)} as {name!r} of its {field}", "a tensor")


def _rows(component: Component, call: str, rows: object) -> None:
    for row in _sequence(component, call, "curves", rows):
        _numbers(component, call, "curves", row)


def _numbers(component: Component, call: str, field: str, value: object) -> None:
    for name, number in _mapping(component, call, field, value).items():
        _named(component, call, field, name)
        if not isinstance(number, int | float) or isinstance(number, bool):
            found = f"{type_text(number)} as {name!r} of its {field}"
            raise refused(component, call, found, "a float; convert it with float(...)")


def _named(component: Component, call: str, field: str, name: object) -> None:
    if not isinstance(name, str):
        raise refused(component, call, f"the name {name!r} in its {field}", "a str")
