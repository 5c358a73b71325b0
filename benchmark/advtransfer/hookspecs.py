"""Hook specifications of plugins: registration of components, and events of a run.

A plugin is a module named by an entry point of the group ``advtransfer``. Its registration hooks return
factories: plain functions whose name is their name in YAML (written ``plugin/factory``), whose keyword-only
annotated arguments are their options, whose docstring is their help, and whose heavy imports are inside.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, get_args

import pluggy

from advtransfer.deprecation import deprecated_names
from advtransfer.jobs import Executor
from advtransfer.types import (
    Adapter,
    Dataset,
    Evaluation,
    Factory,
    FigureKind,
    Json,
    Source,
    Transfer,
)

GROUP = "advtransfer"
ComponentKind: TypeAlias = Literal[
    "dataset", "source", "adapter", "transfer", "evaluation", "executor"
]
COMPONENT_KINDS: tuple[ComponentKind, ...] = get_args(ComponentKind)

hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


class Hooks(Protocol):
    """The hooks that a plugin may implement; all of them are optional."""

    # Registration hooks, called when the plugin is loaded. Each returns the plugin's factories.

    @hookspec
    def register_datasets(self) -> Iterable[Factory[Dataset]]:
        """Return factories of data sets with train and test parts."""

    @hookspec
    def register_sources(self) -> Iterable[Factory[Source]]:
        """Return factories of pretrained models f_S, loaded or trained; also of references f_T."""

    @hookspec
    def register_adapters(self) -> Iterable[Factory[Adapter]]:
        """Return factories of maps x' = A x + b from target inputs to a source's inputs."""

    @hookspec
    def register_transfers(self) -> Iterable[Factory[Transfer]]:
        """Return factories of methods that transfer a source to a target."""

    @hookspec
    def register_evaluations(self) -> Iterable[Factory[Evaluation]]:
        """Return factories of measurements of the transferred model."""

    @hookspec
    def register_executors(self) -> Iterable[Factory[Executor]]:
        """Return factories of executors, which pass jobs to workers."""

    @hookspec
    def register_figures(self) -> Iterable[FigureKind]:
        """Return kinds of figures for pages; a suite names one ``kind: plugin/name`` (see `FigureKind`)."""

    # Event hooks, called by the runner in its own process, never by a worker, one at a time and in the
    # order of the events. Arguments are plain data as in JSON, to be read and not changed; a hook takes
    # those that it names. Return values are ignored, but for `run_started`. A hook that raises is
    # warned of once, with its plugin's name, and the run goes on. A plugin that has only event hooks is
    # loaded with `run --plugin NAME` or by the user's configuration, since no suite names it.

    @hookspec
    def run_started(self, run: Mapping[str, Json], plan: Mapping[str, Json]) -> str | None:
        """Called before the first trial; may return one line for the user, such as where it writes.

        Args:
            run: ``id`` (the same when the run is continued), ``suite``, ``title``, ``folder`` (absolute),
                ``device``, ``threads``, ``precision``, and the number of planned ``trials``.
            plan: The content of the run's ``plan.json``: ``sources`` (names by id) and ``trials``, each
                with its ``id``, axes, and the ids of its results by evaluation (``evaluations``).
        """

    @hookspec
    def record_written(self, record: Mapping[str, Json]) -> None:
        """Called once for each record that this call of the run added to the folder, measured or copied.

        `record` is the content of its file: ``kind`` (source, fit, result or battery), ``id`` (that of a
        fit is its trial's), ``asked``; ``curves`` of sources and fits, one mapping per epoch; ``metrics``
        and ``files`` of results. Records of earlier calls are not repeated.
        """

    @hookspec
    def run_finished(
        self,
        run: Mapping[str, Json],
        summary: Mapping[str, Json],
        files: Sequence[Mapping[str, Json]],
    ) -> None:
        """Called when the page is written, also after an interruption; not when the run is refused.

        Args:
            run: As in `run_started`.
            summary: ``done``, ``failed``, ``skipped``, ``todo``, ``seconds``, ``interrupted``, ``stopped``.
            files: The page (``kind`` "page"), its figures as SVG and as PNG ("figure"), and the files of
                evaluations ("file", with the ids ``trial`` and ``record``, and the ``evaluation``), each
                with its ``name`` and absolute ``path``.
        """

    @hookspec
    def trial_started(self, trial: Mapping[str, Json]) -> None:
        """Called when a worker begins a trial: its id and axes (source, target, n, seed, transfer)."""

    @hookspec
    def trial_finished(
        self,
        trial: Mapping[str, Json],
        metrics: Mapping[str, float],
        upper_bounds: Sequence[str],
        intervals: Mapping[str, Sequence[float]],
    ) -> None:
        """Called when every record of a trial is on disk; `metrics` by ``evaluation.metric``.

        Robust accuracies are folded with what the host's batteries broke, as on the page. Those in
        `upper_bounds` are such only, since the host attacked a part of the images, or none.
        `intervals` has the two ends of the 95 % Wilson interval of each metric that is a share of images.
        """

    @hookspec
    def trial_skipped(self, trial: Mapping[str, Json], reason: str) -> None:
        """Called when a trial is not applicable, by its plan, its fit or all its evaluations."""

    @hookspec
    def trial_failed(self, trial: Mapping[str, Json], reason: str) -> None:
        """Called when a trial failed and its attempt, with the traceback, is on disk."""


QUESTIONS: dict[str, ComponentKind] = {f"register_{kind}s": kind for kind in COMPONENT_KINDS}
HOOKS: tuple[str, ...] = tuple(
    name for name, member in vars(Hooks).items() if hasattr(member, f"{GROUP}_spec")
)
"""The names of all hooks."""


if not TYPE_CHECKING:  # Hidden from mypy, so that it reports uses of the old names.
    __getattr__ = deprecated_names(
        __name__,
        {
            "KINDS": "advtransfer.hookspecs:COMPONENT_KINDS",
            "Kind": "advtransfer.hookspecs:ComponentKind",
        },
    )
