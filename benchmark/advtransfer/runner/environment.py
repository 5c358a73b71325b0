"""Environment of a run: that of its workers, held against the records of the run folder."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, cast

from advtransfer.cache import environment_key
from advtransfer.errors import BadInput, CacheError, Problem
from advtransfer.jobs import Executor, RemoteExecutor
from advtransfer.node import content_id
from advtransfer.result import Run
from advtransfer.result.record import HALVED_KERNEL_BATCH
from advtransfer.result.record_file import load_json_object
from advtransfer.runner.settings import RunSettings
from advtransfer.text import pluralize
from advtransfer.types import BatterySize, Json
from advtransfer.worker.environment import describe_worker

MAX_THREADS = 1024
"""Threads of a fit that is made again: a record of others may name so many that no process can start them."""


def compute_settings(environment: Mapping[str, Json]) -> dict[str, Json]:
    """Return the parts of an environment that the user chooses; all records of a run folder agree in them."""
    names = ("device", "threads", "precision", "kernel_batch")
    chosen = {name: environment.get(name) for name in names}
    # Compiled or not; the compiler's version follows from the machine.
    return {**chosen, "compiled": "compiler" in environment}


def recorded_settings(
    provenance: Mapping[str, Json], environments: Mapping[str, Mapping[str, Json]]
) -> dict[str, Json]:
    """Return the settings that a record was made with, as `compute_settings` names them.

    Args:
        provenance: The record's provenance, which does not say if models were compiled.
        environments: The environments of its run, by digest.
    """
    environment = environments.get(str(provenance["environment"]), {})
    return {
        **compute_settings(provenance),
        "device": str(provenance["device"]).partition(":")[0],
        "compiled": "compiler" in environment,
    }


def refit_settings(  # Any: keyword arguments
    provenance: Mapping[str, Json], environments: Mapping[str, Mapping[str, Json]]
) -> dict[str, Any]:
    """Return the options of `refitted_model` that a recorded fit was made with; the CPU where its GPU is missing.

    Args:
        provenance: The record's provenance.
        environments: The environments of its run, by digest.
    """
    from advtransfer.worker.device import gpu_problem

    settings: dict[str, Any] = recorded_settings(provenance, environments)
    settings["threads"] = min(settings["threads"], MAX_THREADS)
    if settings["device"] != "cpu" and gpu_problem(str(settings["device"])):
        settings["device"] = "cpu"
    return {**settings, HALVED_KERNEL_BATCH: provenance.get(HALVED_KERNEL_BATCH)}


def requested_settings(settings: RunSettings) -> dict[str, Json]:
    """Return the settings of a run, as `compute_settings` names them."""
    return {
        "device": settings.device.partition(":")[0],
        "threads": settings.threads,
        "precision": settings.precision,
        "kernel_batch": settings.kernel_batch,
        "compiled": settings.compile,
    }


def settings_key(settings: RunSettings) -> str:
    """Return the environment key of the cache for a run with these settings."""
    return environment_key(
        settings.device,
        settings.threads,
        settings.precision,
        settings.kernel_batch,
        settings.compile,
    )


def workers_environment(
    executor: Executor,
    settings: RunSettings,
    devices: Sequence[str],
    plugin_distributions: Iterable[str],
) -> dict[str, Json]:
    """Return the environment of an executor's workers: of this machine, or of the first worker elsewhere.

    Raises:
        BadInput: The worker cannot use the device.
    """
    describe = partial(
        describe_worker,
        device=",".join(devices),
        threads=settings.threads,
        precision=settings.precision,
        kernel_batch=settings.kernel_batch,
        compiled=settings.compile,
        plugin_distributions=sorted(plugin_distributions),
    )
    if isinstance(executor, RemoteExecutor):
        return executor.call_on_worker(describe, gpu=devices != ("cpu",))
    return describe()


def require_same_environment(
    run: Run,
    wanted: Mapping[str, Json],
    *,
    battery: BatterySize,
    recorded_battery: BatterySize | None = None,
) -> None:
    """Refuse to mix two devices, thread counts, precisions or named kernel batches in one folder.

    Runs with and without compiled models, or with and without batteries, are not mixed either.

    All records of a folder agree, so the first one is compared. A folder without records agrees
    with everything. `recorded_battery` is the battery size of the run where the caller knows it.

    Raises:
        BadInput: The records were made with other settings than `wanted` and `battery`, or the file of their
            environment is damaged and it is another one than `wanted`.
    """
    provenances = (record.get("provenance") for record in run.read_records())
    provenance = next((item for item in provenances if isinstance(item, Mapping)), None)
    if provenance is None:
        return
    size = recorded_battery or battery_size_of(run) or battery
    if "none" not in (size, battery):
        # Batteries of the other size are run beside the recorded ones, so both sizes mix.
        size = battery
    # A run without any claim of robustness agrees with every size.
    digest = str(provenance["environment"])
    # The run writes a damaged file of its own environment again, so that one is known by its digest.
    environment = wanted if content_id(wanted) == digest else _recorded_environment(run, digest)
    recorded = recorded_settings(provenance, {digest: environment}) | {"battery": size}
    current = compute_settings(wanted) | {"battery": battery}
    origin = f"in the records of {run.path} (environment {digest[:12]})"
    require_same_settings(current, recorded, origin=origin)


def _recorded_environment(run: Run, digest: str) -> Mapping[str, Json]:
    """Return the environment that records of a run name, which alone says whether they were compiled.

    Raises:
        BadInput: Its file is missing or damaged.
    """
    path = run.path / "environments" / f"{digest}.json"
    try:
        environment = load_json_object(path)
        fault = "it has the content of another environment"
    except CacheError as error:
        environment, fault = {}, str(error)
    if content_id(environment) == digest:
        return environment
    raise BadInput(
        [
            Problem(
                f"a missing or damaged environment of records in {run.path} ({path}: {fault})",
                "the file that the run wrote, which alone says whether models were compiled (--compile)",
                "restore it, run on the machine and with the settings of before, which writes it again, choose "
                "another folder with --runs, or allow a mixture with --mixed",
            )
        ]
    )


def require_same_settings(
    current: Mapping[str, Json], other: Mapping[str, Json], *, origin: str
) -> None:
    """Refuse settings that differ from those of other work in the same run folder.

    Args:
        current: The settings of this run.
        other: The other settings.
        origin: Where the other settings come from, as it continues "threads 1, as ...".

    Raises:
        BadInput: With the settings that differ.
    """
    different = [name for name, value in current.items() if other.get(name) != value]
    if different:
        found = settings_text(current, different)
        expected = settings_text(other, different)
        next_step = (
            "run with the same settings, choose another folder with --runs, "
            "or allow a mixture with --mixed"
        )
        raise BadInput([Problem(found, f"{expected}, as {origin}", next_step)])


def settings_text(settings: Mapping[str, Json], names: Iterable[str]) -> str:
    """Return settings as ``device cpu, threads 1``."""
    return ", ".join(_setting_text(name, settings.get(name)) for name in names)


def _setting_text(name: str, value: Json) -> str:
    if name == "kernel_batch":
        return "a kernel batch by rule" if value is None else f"a kernel batch of {value} rows"
    if name == "compiled":
        return "--compile" if value else "no --compile"
    return f"{name} {value}"


def halved_texts(runs: Sequence[Run]) -> Iterator[str]:
    """Yield a line for each folder with records of kernel batches that were halved."""
    for run in runs:
        provenances = (
            cast("Mapping[str, Json]", each["provenance"]) for each in run.read_records()
        )
        count = sum(HALVED_KERNEL_BATCH in provenance for provenance in provenances)
        if count:
            yield (
                f"{run.path}: memory ran out, so that {pluralize(count, 'record')} had smaller kernel batches; "
                "their environment says which"
            )


def battery_size_of(run: Run) -> str | None:
    """Return the battery size of a run, from its plan or else from its records; None if unknown."""
    if (run.path / "plan.json").is_file():
        # A damaged plan is written again later; the records hold the same size.
        with suppress(CacheError):
            return cast("str | None", run.read_plan().get("battery"))
    for record in run.read_records():
        if record.get("kind") == "battery":
            node = cast("Mapping[str, Mapping[str, Json]]", record.get("asked") or {})
            return cast("str | None", node["options"].get("size"))
        if _claims_without_battery(record):
            return "none"
    return None


def _claims_without_battery(record: Mapping[str, Json]) -> bool:
    """Return whether a record is a result that claims robustness without a battery behind it."""
    if record.get("kind") != "result" or record.get("battery"):
        return False
    outcomes = cast("Mapping[str, Json]", record.get("outcomes") or {})
    return any(metric.startswith("robust_accuracy") for metric in outcomes)
