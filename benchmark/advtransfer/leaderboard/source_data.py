"""The values of a source record that a page and its questions read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from advtransfer.types import Json
from advtransfer.types.in_memory import IN_MEMORY_USE

JsonObject: TypeAlias = Mapping[str, Any]
"""A JSON object as `advtransfer.result` writes it. Any: fields differ by kind of record."""


@dataclass(frozen=True, slots=True)
class SourceData:
    """The values of one source record.

    Attributes:
        card: The source's claims about itself.
        probe: Measurements made when the source was built.
        start: ``own`` if the source has its own initial weights, ``source`` if sources with its
            seed share them, None if no weights are drawn.
        parents: Ids of the sources that it is made from.
        parameters: Number of parameters of its network, None where it was not recorded.
        in_memory: Whether it was a module in the memory of one process, which nobody can build again.
    """

    card: JsonObject
    probe: JsonObject | None
    start: str | None = None
    parents: tuple[str, ...] = ()
    parameters: int | None = None
    in_memory: bool = False


def read_source(record: JsonObject) -> SourceData:
    """Return the values of a source record."""
    asked = record["asked"]
    return SourceData(
        record["card"],
        record.get("probe"),
        _training_start(asked["options"]),
        _source_parents(asked["inputs"]),
        _integer(record.get("facts", {}).get("parameters")),
        asked["use"] == IN_MEMORY_USE,
    )


def _training_start(options: JsonObject) -> str | None:
    # Sources without a seed, such as models loaded from a file, draw no initial weights.
    if "seed" not in options:
        return None
    return str(options.get("start", "source"))


def _integer(value: Json) -> int | None:
    # Facts of a source may be texts, also in a folder from elsewhere.
    return value if isinstance(value, int) else None


def _source_parents(inputs: JsonObject) -> tuple[str, ...]:
    # Inputs are ids without their kind; a source that is made from another has it as `source`.
    parents = inputs.get("source", ())
    return (parents,) if isinstance(parents, str) else tuple(parents)
