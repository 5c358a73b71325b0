"""From a file of weights to a network: the tensors it holds, put into an architecture under strict names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from torch import Tensor, nn

from advtransfer.toolkit.safe_load import CheckpointError, read, state_dict
from advtransfer.types import Tensors
from advtransfer_vision.pretrained.design import Cut


@dataclass(frozen=True, slots=True)
class Contents:
    """The tensors of a file by the names of its architecture, and its normalisation where it has one of its own."""

    tensors: Tensors
    normalise: Tensors = field(default_factory=dict)
    facts: Mapping[str, float] = field(default_factory=dict)


def plain(path: Path, *, key: str | None = None, prefix: str = "") -> Contents:
    """A state dict: the whole file, or what is under `key` (by default ``state_dict`` or ``model``, if one is there).

    Args:
        path: A safetensors or torch file.
        key: Where in the file it is.
        prefix: What to strip from the names; tensors without it are not used, and counted.

    Raises:
        CheckpointError: The file cannot be read, or there is nothing under the key or with the prefix.
    """
    content = read(path)
    if key is not None and not (isinstance(content, Mapping) and key in content):
        has = ", ".join(map(repr, content)) if isinstance(content, Mapping) else type(content).__name__
        raise CheckpointError(f"found no {key!r} in {path}, which holds {shortened(has)}; correct `key`")
    tensors = state_dict(content, path=path, keys=("state_dict", "model") if key is None else (key,))
    kept = stripped(tensors, prefix)
    if not kept:
        first = ", ".join(map(repr, list(tensors)[:3]))
        raise CheckpointError(f"found no name that begins with {prefix!r} in {path}, but {first} ...; correct `prefix`")
    return Contents(kept, facts={"unused_tensors": len(tensors) - len(kept)})


def stripped(tensors: Tensors, prefix: str) -> dict[str, Tensor]:
    """Those that begin with the prefix, under their names without it."""
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def fill(network: Cut, contents: Contents, *, name: str, place: str) -> None:
    """Put the tensors into the network; every weight must get one, and every tensor must have a place.

    Args:
        network: Filled in place.
        contents: What the file holds.
        name: The architecture's, for the message of an error.
        place: Where the tensors are from, likewise.

    Raises:
        CheckpointError: They are another architecture's, or for another number of classes, or not finite.
    """
    _check_classes(network, contents.tensors, place=place)
    misfits = _load(network.model, contents.tensors)
    if misfits:
        found = " and ".join(f"{len(names)} names {what} ({_first(names)})" for what, names in misfits.items())
        next_step = "correct `architecture`, or say with `key` and `prefix` where in the file its weights are"
        raise CheckpointError(f"found {found} in {place}; expected exactly the weights of {name}; {next_step}")
    network.normalise.load_state_dict({**network.normalise.state_dict(), **contents.normalise})
    broken = [one for one, value in network.state_dict().items() if not value.isfinite().all()]
    if broken:
        found = f"values that are not finite in {place} ({_first(broken)})"
        raise CheckpointError(f"found {found}; expected numbers; get another file")


def shortened(text: str, most: int = 200) -> str:
    """The text, cut where it gets too long for a message."""
    return text if len(text) <= most else f"{text[:most]} ..."


def _check_classes(network: Cut, tensors: Tensors, *, place: str) -> None:
    """Refuse tensors that would fit, were it not for the head."""
    expected = network.model.state_dict()
    head = {id(parameter) for parameter in network.head.parameters()}
    last = {name for name, parameter in network.model.named_parameters() if id(parameter) in head}
    reshaped = _reshaped(expected, tensors)
    if reshaped and last.issuperset(reshaped):
        given = tuple(tensors[reshaped[0]].shape)
        found = f"{given[0]} classes in {place} ({reshaped[0]} is {given})"
        next_step = f"write `outputs: {given[0]}`, or give `data` of {given[0]} classes"
        raise CheckpointError(f"found {found}; expected {len(expected[reshaped[0]])}; {next_step}")


def _load(model: nn.Module, tensors: Tensors) -> dict[str, list[str]]:
    """Load the tensors; the names that do not fit, by what is wrong with them."""
    reshaped = _reshaped(model.state_dict(), tensors)
    if reshaped:
        return {"of another shape": reshaped}
    result = model.load_state_dict(tensors, strict=False)
    misfits = {"missing": result.missing_keys, "unexpected": result.unexpected_keys}
    return {what: names for what, names in misfits.items() if names}


def _reshaped(expected: Tensors, tensors: Tensors) -> list[str]:
    return [name for name in tensors if name in expected and tensors[name].shape != expected[name].shape]


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
