"""The executor of a run: found by name, and built with the options of ``--engine``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import cast

from advtransfer.errors import BadInput, Location, Problem
from advtransfer.host import Component, Host
from advtransfer.host.component import check_product
from advtransfer.jobs import Executor
from advtransfer.options import Option, OptionFault
from advtransfer.runner.limits import require_enforced_limits
from advtransfer.runner.settings import RunSettings
from advtransfer.suite.located import Problems, did_you_mean, join_names
from advtransfer.suite.yaml_core import read_scalar, tag_of
from advtransfer.types import Json

OPTIONS_OF_RUN = {
    "jobs": "--jobs",
    "threads": "--threads",
    "memory_limit": "--memory",
    "devices": "--device",
}
"""Options of executors that settings of their own set, and the words of these on the command line."""


def build_executor(
    settings: RunSettings, host: Host, *, devices: tuple[str, ...] = ("cpu",)
) -> Executor:
    """Return the executor that the settings name, with their number of jobs and threads, and their limits.

    Raises:
        UnknownName: No executor has this name.
        BadInput: Options of the engine are unknown or of a wrong type, or it does not keep a limit;
            holds every problem.
    """
    component = host.component(settings.executor, "executor")
    require_enforced_limits(settings, component)
    values = _own_options(component, settings.engine) | _options_of_run(
        component, settings, devices
    )
    return cast(Executor, check_product(component, component.build(values, {})))


def split_engine_options(texts: Iterable[str], *, setting: str = "--engine") -> dict[str, Json]:
    """Return the options in texts such as ``address=auto,retries=3`` of a setting; a later value wins.

    A comma belongs to the value unless a name with ``=`` follows it.

    Raises:
        BadInput: A text does not begin with a name and ``=``; holds every such text.
    """
    options: dict[str, Json] = {}
    problems: list[Problem] = []
    for text in texts:
        for part in re.split(r",(?=\s*[A-Za-z_]\w*\s*=)", text):
            name, equals, value = part.partition("=")
            if equals and name.strip():
                options[name.strip()] = value.strip()
            else:
                found = f"{setting} {part!r}"
                problems.append(Problem(found, "name=value", "write for example address=auto"))
    if problems:
        raise BadInput(problems)
    return options


def _options_of_run(
    component: Component, settings: RunSettings, devices: tuple[str, ...]
) -> dict[str, Json]:
    fields = component.options.fields
    values: dict[str, Json] = {"jobs": settings.worker_count(), "threads": settings.threads}
    if settings.jobs is None and _chooses_jobs(component, fields.get("jobs")):
        del values["jobs"]
    if "devices" in fields and devices != ("cpu",):
        values["devices"] = list(devices)
        # One worker a GPU, where no number is asked for.
        values["jobs"] = settings.jobs or len(devices)
    if settings.memory is not None:
        values["memory_limit"] = settings.memory
    return {name: value for name, value in values.items() if name in fields}


def _chooses_jobs(component: Component, jobs: Option | None) -> bool:
    """Return whether an executor says itself how many jobs run at once if nobody else does."""
    # The inline executor has one worker and refuses other numbers. The default None is that of
    # executors that fill what they find, such as a cluster.
    return component.name == "local/inline" or (
        jobs is not None and not jobs.required and jobs.default is None
    )


def _own_options(component: Component, written: Mapping[str, Json]) -> dict[str, Json]:
    """Return the written options of an executor, each of the type that its factory states."""
    problems: list[Problem] = []
    own: dict[str, Json] = {}
    for name, value in written.items():
        if name not in OPTIONS_OF_RUN:
            own[name] = value
            continue
        found = f"--engine {name}={value}"
        expected = f"options of {component.name} alone"
        problems.append(Problem(found, expected, f"use {OPTIONS_OF_RUN[name]}"))
    _, faults = component.options.validate(own)
    # A text for an option that takes no texts is read as the suite's file would be.
    for name in {str(fault.path[0]) for fault in faults if fault.path} & own.keys():
        own[name] = _read_text(own[name])
    _, faults = component.options.validate(own)
    problems += [_option_problem(fault, component) for fault in faults]
    if problems:
        raise BadInput(problems)
    return own


def _read_text(value: Json) -> Json:
    if not isinstance(value, str):
        return value
    start = Location("--engine", 1, 1)
    located = read_scalar(tag_of(value), value, mark=start, problems=Problems("--engine"))
    return located.to_plain()


def _option_problem(fault: OptionFault, component: Component) -> Problem:
    next_step = f"`advtransfer show {component.name}` explains the options"
    path = ".".join(map(str, fault.path))
    if fault.found.startswith("unknown option"):
        names = [name for name in component.options.fields if name not in OPTIONS_OF_RUN]
        expected = f"one of {join_names(names)}" if names else "no options"
        found = f"the {fault.found} in --engine"
        return Problem(found, expected, did_you_mean(path, names, otherwise=next_step))
    if fault.found.startswith("no option"):
        return Problem(f"{fault.found} in --engine", fault.expected, f"add it; {next_step}")
    return Problem(f"--engine {path}={fault.found}", fault.expected, next_step)
