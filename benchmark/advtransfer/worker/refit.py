"""The fitted model of a trial outside a run: loaded from the cache, or fitted again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from advtransfer.cache import Cache, environment_key
from advtransfer.host import Host
from advtransfer.jobs import Job
from advtransfer.node import Node
from advtransfer.result import Run
from advtransfer.types import Examples, Json, Precision, Samples
from advtransfer.worker.process import deterministic_algorithms, limited_threads, scratch_folder

if TYPE_CHECKING:
    import torch
    from torch import nn


@dataclass(frozen=True, slots=True)
class RefittedModel:
    """A fitted model in eval mode and frozen, the digest of its weights, and its test images.

    `test_part` reads another test part, on which results of the same model are measured. `attack` runs
    an evaluation of it again on the test images at some positions ``(M,)``, and returns the examples,
    not verified.
    """

    model: nn.Module
    weights: str
    test: Samples
    device: torch.device
    test_part: Callable[[Node], Samples]
    attack: Callable[[Node, torch.Tensor], list[Examples]]


@contextmanager
def refitted_model(
    fit: Node,
    test: Node,
    *,
    host: Host,
    folder: Path,
    cache: Path,
    device: str = "cpu",
    threads: int = 1,
    precision: Precision = "float32",
    kernel_batch: int | None = None,
    halved_kernel_batch: int | None = None,
    compiled: bool = False,
) -> Iterator[RefittedModel]:
    """Fit a trial's model, or load it from the cache, by the steps of a run.

    Args:
        fit: The fit.
        test: The test part that its results are measured on.
        host: The installed plugins.
        folder: An empty folder for the records of the fit and its source.
        cache: The folder of the artifact cache.
        device: As torch names it.
        threads: CPU threads; other counts give other weights.
        precision: The precision of training.
        kernel_batch: The rows that the run named for a kernel; None for the rule of device and shapes.
        halved_kernel_batch: The largest kernel batch that fitted into the memory of the run's GPU; None where the
            rule's did.
        compiled: Whether the run trained through torch's compiler.
    """
    import torch

    from advtransfer.toolkit.compilation import compile_option
    from advtransfer.toolkit.kernel_batch import kernel_batch_option
    from advtransfer.worker.fit import FitJob
    from advtransfer.worker.measure import attack_images
    from advtransfer.worker.object_builder import ObjectBuilder
    from advtransfer.worker.recording import JobRecorder

    run = Run(folder)
    job = Job(
        id=fit.id,
        asked={"node": fit.to_json(), "results": []},
        run=folder,
        cache=cache,
        environment=run.write_environment({"device": device, "threads": threads}),
        asked_by={"name": fit.use},
        device=device,
        threads=threads,
        precision=precision,
        battery="none",
        kernel_batch=kernel_batch,
        compiled=compiled,
    )
    line = environment_key(device, threads, precision, kernel_batch, compiled, halved_kernel_batch)
    with (
        limited_threads(threads),
        scratch_folder() as scratch,
        deterministic_algorithms(),
        kernel_batch_option(kernel_batch, bound=halved_kernel_batch),
        compile_option(compiled),
    ):
        objects = ObjectBuilder(
            job, run, Cache(cache, line=line), torch.device(device), scratch, _ignore_event, host
        )
        recorder = JobRecorder(job, run, objects)
        fit_job = FitJob(recorder, fit)
        fit_job.fit_or_load()
        model = cast("nn.Module", fit_job.model)

        def attack(node: Node, positions: torch.Tensor) -> list[Examples]:
            return attack_images(recorder, node, fit_job, positions)

        yield RefittedModel(
            model,
            fit_job.digest,
            objects.test_part(test),
            objects.device,
            objects.test_part,
            attack,
        )


def _ignore_event(event: Mapping[str, Json]) -> None:
    """Drop an event: nobody watches."""
