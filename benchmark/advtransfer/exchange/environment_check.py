"""Whether a worker may make records of a run: its versions, its processor and its GPU against the run's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import lru_cache

from advtransfer.types import Json
from advtransfer.worker.environment import describe_worker


@lru_cache(maxsize=8)
def own_environment(
    device: str,
    threads: int,
    precision: str,
    kernel_batch: int | None,
    compiled: bool,
    distributions: tuple[str, ...],
) -> dict[str, Json]:
    """Return the environment of this process; it is read once."""
    return describe_worker(
        device=device,
        threads=threads,
        precision=precision,
        kernel_batch=kernel_batch,
        compiled=compiled,
        plugin_distributions=distributions,
    )


def differences(found: Mapping[str, Json], expected: Mapping[str, Json]) -> list[str]:
    """Return where two environments differ, as texts such as ``libraries.torch 2.4 and not 2.5``."""
    own, theirs = dict(_leaves(found)), dict(_leaves(expected))
    names = sorted(own.keys() | theirs.keys())
    return [
        f"{name} {own.get(name)} and not {theirs.get(name)}"
        for name in names
        if own.get(name) != theirs.get(name)
    ]


def _leaves(value: Mapping[str, Json], before: str = "") -> Iterator[tuple[str, Json]]:
    for name, item in value.items():
        if isinstance(item, Mapping):
            yield from _leaves(item, f"{before}{name}.")
        else:
            yield f"{before}{name}", item
