"""A GPU whose memory runs out: the job is done again with half the rows, and its records say so."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from advtransfer.errors import BadInput
from advtransfer.hookspecs import hookimpl
from advtransfer.host import Host
from advtransfer.result import Run
from advtransfer.runner import RunSettings, RunSummary, run_suite
from advtransfer.runner.merge import merge_runs
from advtransfer.suite import load
from advtransfer.testing.pretend_cuda import pretend_cuda
from advtransfer.toolkit.kernel_batch import kernel_rows
from advtransfer.types import (
    Context,
    Evaluation,
    EvaluationInputs,
    Factory,
    Fitted,
    Measurement,
    Transfer,
    component,
)
from advtransfer.worker.out_of_memory import halved_bound

SUITE = """
datasets:
  low: {use: vision/digits, classes: [0, 1, 2]}
sources:
  random: {use: vision/random_init, data: low, network: small_cnn}
targets:
  digits: {data: low, n: [20, 30], seeds: 1, test: 20}
transfers:
  probe: {use: TRANSFER}
evaluations:
"""
LIMITED = "  limited: {use: odd/limited, only: {n: 20}}\n"
CLEAN = "  clean: {use: foolbox/clean_accuracy}\n"
tried_rows: list[int] = []


def use_memory(context: Context, most: int) -> int:
    """Compute one kernel batch, for which there is memory up to `most` rows; return its rows."""
    rows = kernel_rows(context.device, (1, 8, 8), samples=2000)
    tried_rows.append(rows)
    if rows > most:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
    return rows


class Limited:
    """Needs as much memory as its kernel batch has rows; there is enough for `most` of them."""

    def __init__(self, most: int) -> None:
        self.most = most

    def measure(self, given: EvaluationInputs, *, context: Context) -> Measurement:
        return Measurement(metrics={"rows": float(use_memory(context, self.most))})


class LimitedFit:
    """Another transfer that needs memory before it fits."""

    def __init__(self, transfer: Transfer) -> None:
        self.transfer = transfer
        self.model = transfer.model

    def fit(self, model: torch.nn.Module, *, context: Context, **given: object) -> Fitted:
        use_memory(context, most=256)
        return self.transfer.fit(model, context=context, **given)  # type: ignore[arg-type]  # as given


@component(needs=["model"])
def limited(*, most: int = 128) -> Evaluation:
    """Has memory for some rows."""
    return Limited(most)


@component(needs=["source"])
def limited_probe() -> Transfer:
    """A linear probe that has memory for 256 rows."""
    from advtransfer_finetune.components import linear_probe

    return LimitedFit(linear_probe())


@hookimpl
def register_transfers() -> Iterable[Factory[Transfer]]:
    return [limited_probe]


@hookimpl
def register_evaluations() -> Iterable[Factory[Evaluation]]:
    return [limited]


class Bench:
    """Runs of one suite on the pretend GPU, in this process."""

    def __init__(self, folder: Path, host: Host) -> None:
        self.folder, self.host = folder, host
        self.transfer = "finetune/linear_probe"
        self.events: list[Mapping[str, Any]] = []  # Any: events are as varied as what happens

    def run(
        self,
        evaluations: str,
        *,
        name: str = "first",
        device: str = "cuda",
        kernel_batch: int | None = None,
        mixed: bool = False,
    ) -> RunSummary:
        (self.folder / "odd.yaml").write_text(
            SUITE.replace("TRANSFER", self.transfer) + evaluations
        )
        settings = RunSettings(
            runs=self.folder / name,
            cache=self.folder / "cache",
            executor="local/inline",
            device=device,
            kernel_batch=kernel_batch,
            battery="none",
            mixed=mixed,
        )
        tried_rows.clear()
        self.events.clear()
        suite = load(str(self.folder / "odd.yaml"), self.host)
        with pretend_cuda():
            return run_suite(
                suite, settings=settings, host=self.host, listeners=[self.events.append]
            )

    def warnings(self) -> list[str]:
        return [str(event["text"]) for event in self.events if event["event"] == "warning"]


@pytest.fixture
def bench(tmp_path: Path, host: Host) -> Bench:
    return Bench(tmp_path, host)


def bounds_of(run: Run) -> dict[str, list[int | None]]:
    """The bound on the kernel batch of each record, by component; its environment says the same."""
    environments = run.read_environments()
    bounds: dict[str, list[int | None]] = {}
    for record in map(dict[str, Any], run.read_records()):
        provenance = record["provenance"]
        bound = provenance.get("halved_kernel_batch")
        assert bound == environments[provenance["environment"]].get("halved_kernel_batch")
        use = record["asked"]["use"]
        bounds.setdefault(use, []).append(bound)
    return {use: sorted(each, key=str) for use, each in bounds.items()}


def test_a_job_without_memory_is_done_again_with_half_the_rows(bench: Bench) -> None:
    summary = bench.run(LIMITED + CLEAN)
    run = Run(summary.run)

    assert (summary.done, summary.failed) == (2, 0)
    assert [1024, 512, 256, 128] == tried_rows
    assert {
        "vision/random_init": [None],
        "finetune/linear_probe": [None, None],
        "odd/limited": [128],
        "foolbox/clean_accuracy": [128, None],  # All results of one model have one bound.
    } == bounds_of(run)
    assert [
        f"odd/limited: the GPU ran out of memory with kernel batches of {rows} rows; the job is done "
        f"again with at most {rows // 2}, which its records say"
        for rows in (1024, 512, 256)
    ] == bench.warnings()
    assert [] == list(run.path.glob("attempts/*/*"))
    assert "at most 128 rows in a kernel batch" in (run.path / "leaderboard.md").read_text()


def test_its_run_takes_the_records_and_others_do_not_copy_them(bench: Bench) -> None:
    first = Run(bench.run(LIMITED + CLEAN).run)
    before = [path.read_bytes() for path in sorted(first.path.glob("records/*/*.json"))]
    again = bench.run(LIMITED + CLEAN)

    assert [] == tried_rows
    assert before == [path.read_bytes() for path in sorted(first.path.glob("records/*/*.json"))]

    second = Run(bench.run(LIMITED + CLEAN, name="second").run)
    copied = {
        str(record["asked"]["use"])  # type: ignore[index,call-overload]  # JSON
        for record in second.read_records()
        if record["observed"]["copied_from"]  # type: ignore[index,call-overload]  # JSON
    }
    assert 2 == again.done
    assert [1024, 512, 256, 128] == tried_rows
    assert {"vision/random_init", "finetune/linear_probe", "foolbox/clean_accuracy"} == copied


def test_what_a_resume_adds_to_a_halved_model_has_its_bound(bench: Bench) -> None:
    bench.run(LIMITED)
    fgsm = "  fgsm: {use: foolbox/fgsm, norm: linf, eps: 0.1}\n"
    run = Run(bench.run(LIMITED + fgsm).run)

    assert [] == tried_rows
    assert [128, None] == bounds_of(run)["foolbox/fgsm"]


def test_a_halved_fit_is_recorded_so_and_a_resume_begins_with_its_bound(bench: Bench) -> None:
    bench.transfer = "odd/limited_probe"
    run = Run(bench.run(CLEAN.replace("accuracy}", "accuracy, only: {n: 20}}")).run)
    bounds = bounds_of(run)
    rows = list(tried_rows)
    bench.run(CLEAN)

    assert [1024, 512, 256] * 2 == rows
    assert {
        "vision/random_init": [None],
        "odd/limited_probe": [256, 256],
        "foolbox/clean_accuracy": [256],
    } == bounds
    # The weights of the second fit were not kept, and no other bound gives them again.
    assert [256] == tried_rows
    assert [256, 256] == bounds_of(run)["foolbox/clean_accuracy"]


def test_a_job_that_never_has_memory_fails_once_with_the_next_step(bench: Bench) -> None:
    summary = bench.run(LIMITED.replace("limited,", "limited, most: 1,"))
    (attempt,) = Path(summary.run).glob("attempts/*/*.json")
    reason = json.loads(attempt.read_text())["reason"]

    assert (summary.done, summary.failed) == (1, 1)
    assert [1024, 512, 256, 128, 64] == tried_rows
    assert reason.startswith(
        "OutOfMemoryError: CUDA out of memory.; name fewer rows with --kernel-batch"
    )


def test_after_a_result_of_its_model_a_step_fails(bench: Bench) -> None:
    summary = bench.run(CLEAN + LIMITED)

    assert [1024] == tried_rows
    assert 1 == summary.failed
    assert {None} == {bound for bounds in bounds_of(Run(summary.run)).values() for bound in bounds}


def test_on_the_cpu_nothing_is_tried_again(bench: Bench) -> None:
    assert 1 == bench.run(LIMITED, device="cpu").failed
    assert [448] == tried_rows


def test_a_named_batch_is_halved_too_and_stays_the_one_that_was_asked_for(bench: Bench) -> None:
    summary = bench.run(LIMITED.replace("limited,", "limited, most: 3,"), kernel_batch=24)
    provenances = [
        record["provenance"] for record in map(dict[str, Any], Run(summary.run).read_records())
    ]

    assert [24, 12, 6, 3] == tried_rows
    assert {24} == {provenance["kernel_batch"] for provenance in provenances}
    assert [3] == [
        provenance["halved_kernel_batch"]
        for provenance in provenances
        if "halved_kernel_batch" in provenance
    ]
    with pytest.raises(
        BadInput, match="found a kernel batch of 48 rows; expected a kernel batch of 24 rows"
    ):
        bench.run(CLEAN, kernel_batch=48)
    with pytest.raises(BadInput, match="found a kernel batch by rule; expected"):
        bench.run(CLEAN)


@pytest.mark.parametrize(
    ("largest", "option", "bound"),
    [
        (1024, None, 512),
        (128, None, 64),
        (64, None, None),
        (0, None, None),
        (96, 96, 64),
        (64, 64, None),
        (63, 63, 31),
        (2, 63, 1),
        (1, 63, None),
    ],
)
def test_rows_are_halved_down_to_the_least_batch(
    largest: int, option: int | None, bound: int | None
) -> None:
    assert bound == halved_bound(largest, option)


def test_merge_tells_of_halved_batches(bench: Bench, tmp_path: Path) -> None:
    runs = [bench.run(LIMITED, name=name).run for name in ("first", "second")]
    lines: list[str] = []
    merge_runs(runs, tmp_path / "both", warn=lines.append)

    assert [
        f"{run}: memory ran out, so that 1 record had smaller kernel batches; their environment says which"
        for run in runs
    ] == lines
