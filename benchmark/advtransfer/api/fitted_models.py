"""The fitted model of a trial: its kept weights, or the same fit again."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from advtransfer import suite as suites
from advtransfer.api.suite_objects import PlacedObjects
from advtransfer.errors import AdvTransferWarning, BadInput, CacheError, Problem
from advtransfer.files import default_cache_root
from advtransfer.host import Host
from advtransfer.node import Node
from advtransfer.planning import Plan, Trial
from advtransfer.planning.nodes import SuiteIndex, test_node
from advtransfer.result import Run
from advtransfer.result.record_file import load_json_object
from advtransfer.runner.environment import refit_settings
from advtransfer.runner.run_folder import ORIGIN_FILE_NAME
from advtransfer.suite import Suite
from advtransfer.suite.located import did_you_mean, quote_name
from advtransfer.text import error_text
from advtransfer.worker.refit import refitted_model

if TYPE_CHECKING:
    from torch import nn

MIN_ID_DIGITS = 6


def load_fitted_model(run: Run, plan: Plan, name: str, placed: PlacedObjects | None) -> nn.Module:
    """Return the fitted model of a trial, in eval mode and frozen, on the CPU.

    Args:
        run: The run folder.
        plan: Its plan.
        name: The trial's name, or the first digits of its id.
        placed: The suite and the modules in memory of the call that made the run; None for a run
            that was opened.

    Raises:
        BadInput: There is no such trial, or its suite, its data or a module in memory are no longer there.
    """
    host = Host.discover()
    trial = find_trial(plan, name)
    fit, test = trial_nodes(run, trial, placed, host)
    record: Any = run.find_record(trial.id)  # Any: JSON
    settings = refit_settings(record["provenance"], run.read_environments()) if record else {}
    modules = placed.modules if placed is not None else {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="advtransfer-")))
        cache = default_cache_root() if placed is None else placed.settings.cache
        if modules:
            from advtransfer.executors.in_memory import hold_modules

            stack.enter_context(hold_modules(modules))
            cache = folder / "cache"
        model_again = refitted_model(
            fit, test, host=host, folder=folder / "run", cache=cache, **settings
        )
        try:
            refitted = stack.enter_context(model_again)
        except BadInput:
            raise
        except Exception as error:  # A method, or a user's module, raises anything.
            found = f"{trial.name}, whose fit fails ({error_text(error)})"
            next_step = "correct what the reason names, and run the suite again"
            raise BadInput([Problem(found, "a trial that can be fitted", next_step)]) from error
        if record is not None:
            _require_recorded_data(trial, record, Run(folder / "run").read_record(trial.id))
        if record is not None and record["weights"]["digest"] != refitted.weights:
            warnings.warn(
                f"the model of {trial.name} was fitted again, and its weights differ from those of "
                "the record (another machine, device or library rounds otherwise)",
                AdvTransferWarning,
                stacklevel=3,
            )
        return copy.deepcopy(refitted.model).cpu()


def _require_recorded_data(
    trial: Trial,
    record: Mapping[str, Any],
    again: Mapping[str, Any],  # Any: JSON
) -> None:
    """Raise `BadInput` where a fit was made again on other data than its record names."""
    recorded, data = (each["provenance"]["data"] for each in (record, again))
    if names := [name for name in recorded if data.get(name) != recorded[name]]:
        found = (
            f"other data here than the record of {trial.name} names ({', '.join(sorted(names))})"
        )
        raise BadInput([Problem(found, "the data that it was fitted on", "get them")])


def find_trial(plan: Plan, name: str) -> Trial:
    """Return the trial of a name, or of the first digits of an id.

    Raises:
        BadInput: There is none, or several.
    """
    if not isinstance(name, str):
        expected = "the name of a trial, or the first digits of its id"
        raise BadInput([Problem(f"trial={name!r}", expected, "take a name from advtransfer.plan")])
    trials = [trial for trial in plan.trials if name in (trial.name, trial.id)]
    if not trials and len(name) >= MIN_ID_DIGITS:
        trials = [trial for trial in plan.trials if trial.id.startswith(name)]
    if len(trials) == 1:
        return trials[0]
    names = [trial.name for trial in trials or plan.trials]
    problem = Problem(
        f"{len(trials) or 'no'} trials {quote_name(name)}",
        f"one of {', '.join(map(repr, names[:3]))}{' ...' if len(names) > 3 else ''}, or an id",
        did_you_mean(name, names, otherwise="correct it"),
    )
    raise BadInput([problem])


def trial_nodes(
    run: Run, trial: Trial, placed: PlacedObjects | None, host: Host
) -> tuple[Node, Node]:
    """Return the nodes of a trial's fit and test part, from the suite that has this fit.

    Raises:
        BadInput: The suite has changed since, or what it names is no longer there.
    """
    reasons: list[str] = []
    for suite in _suites(run, placed, host, reasons):
        index = SuiteIndex(suite)
        try:
            fit = index.trial_fit(trial)
        except KeyError:
            reasons.append(f"{suite.path} has no such trial")
            continue
        if fit.id == trial.id:
            return fit, test_node(index.targets[trial.target])
        reasons.append(f"{suite.path} asks for another fit")
    found = f"no suite that fits {trial.name} again ({'; '.join(reasons)})"
    next_step = "run the suite again and take the model of its report"
    raise BadInput([Problem(found, "the suite, the files and the versions of the run", next_step)])


def _suites(
    run: Run, placed: PlacedObjects | None, host: Host, reasons: list[str]
) -> Iterator[Suite]:
    """Yield the suites that a run may have been made from; add the reasons why others are not."""
    if placed is not None:
        yield placed.suite
        return
    origin = _origin_name(run)
    text = (run.path / "suite.yaml").read_text(encoding="utf-8")
    name = str(run.read_plan()["suite"])
    # A suite that was a text or a mapping has paths relative to the current folder.
    loaders: list[Callable[[], Suite]] = [partial(suites.load_text, text, name, host)]
    # A published bundle and a merged run do not say where their suite is.
    if origin:
        loaders.insert(0, partial(suites.load, origin, host))
    for load in loaders:
        try:
            yield load()
        except BadInput as error:
            reasons.append(str(error).splitlines()[0])


def _origin_name(run: Run) -> str:
    """Return the file of the suite that a run was made from, or the name of a shipped one."""
    try:
        origin = load_json_object(run.path / ORIGIN_FILE_NAME)
    except CacheError:
        origin = {}
    shipped = str(origin.get("relative", "")).removeprefix("shipped: ")
    return str(origin.get("path", "")) or shipped
