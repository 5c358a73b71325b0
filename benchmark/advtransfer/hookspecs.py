"""The plugin API on one page: the questions the host asks each plugin, and the news it tells.

A plugin is a module named by an entry point of the group ``advtransfer``. It answers a question with factories:
plain functions whose name is their name in YAML (written ``plugin/factory``), whose keyword-only annotated arguments
are their options, whose docstring is their help, and whose heavy imports sit inside.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, get_args

import pluggy

from advtransfer.deprecation import deprecated_names
from advtransfer.jobs import Executor
from advtransfer.types import Adapter, Dataset, Evaluation, Factory, Json, Source, Transfer

GROUP = "advtransfer"
ComponentKind: TypeAlias = Literal[
    "dataset", "source", "adapter", "transfer", "evaluation", "executor"
]
COMPONENT_KINDS: tuple[ComponentKind, ...] = get_args(ComponentKind)

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


class Hooks(Protocol):
    """What a plugin may implement; it implements only what it brings."""

    # Questions: each plugin answers with the factories it brings.

    @hookspec
    def register_datasets(self) -> Iterable[Factory[Dataset]]:
        """Data sets with train and test parts."""

    @hookspec
    def register_sources(self) -> Iterable[Factory[Source]]:
        """Pretrained models f_S, loaded or trained; also the references f_T."""

    @hookspec
    def register_adapters(self) -> Iterable[Factory[Adapter]]:
        """Maps x' = A x + b from target inputs to a source's inputs."""

    @hookspec
    def register_transfers(self) -> Iterable[Factory[Transfer]]:
        """Methods that carry a source to a target."""

    @hookspec
    def register_evaluations(self) -> Iterable[Factory[Evaluation]]:
        """Measurements of what was carried over."""

    @hookspec
    def register_executors(self) -> Iterable[Factory[Executor]]:
        """Engines that carry jobs to workers."""

    # News: told, never asked. A plugin that listens is named with `run --plugin NAME`.

    @hookspec
    def trial_started(self, trial: Mapping[str, Json]) -> None:
        """A worker has begun a trial: its id and its place in the grid (source, target, n, seed, transfer)."""

    @hookspec
    def trial_finished(self, trial: Mapping[str, Json], metrics: Mapping[str, float]) -> None:
        """Every record that a trial can have is on disk; metrics by ``evaluation.metric``."""

    @hookspec
    def trial_skipped(self, trial: Mapping[str, Json], reason: str) -> None:
        """A cell makes no sense, as its plan, its fit or each of its evaluations says."""

    @hookspec
    def trial_failed(self, trial: Mapping[str, Json], reason: str) -> None:
        """A trial failed; its attempt, with the traceback, is on disk."""


QUESTIONS: dict[str, ComponentKind] = {f"register_{kind}s": kind for kind in COMPONENT_KINDS}
HOOKS: tuple[str, ...] = tuple(
    name for name, member in vars(Hooks).items() if hasattr(member, f"{GROUP}_spec")
)
"""The name of everything that a plugin may implement."""


if not TYPE_CHECKING:  # mypy then reports an old name, as it should
    __getattr__ = deprecated_names(
        __name__,
        {
            "KINDS": "advtransfer.hookspecs:COMPONENT_KINDS",
            "Kind": "advtransfer.hookspecs:ComponentKind",
        },
    )
