"""Adversarial examples in a submission: a stated sample of the images that an evaluation broke.

``examples/sample.json`` states how many images of each robust accuracy were drawn. Which ones follows
from the recorded outcomes (`drawn_positions`), so that nobody can choose them. Each file
``examples/<id of the result>/<metric>.npz`` holds ``keys`` int64 ``(M,)`` and ``inputs`` float32
``(M, *shape)``, as files of challenges do.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from advtransfer.errors import BadInput, Problem
from advtransfer.files import write_atomic
from advtransfer.host import Host
from advtransfer.node import Node, canonical_json
from advtransfer.planning import Plan, Trial
from advtransfer.planning.nodes import SuiteIndex
from advtransfer.publication.manifest import EXAMPLE_FOLDER
from advtransfer.result import Run
from advtransfer.result.battery_index import Ball, BatteryIndex
from advtransfer.result.bounded_reading import read_bytes
from advtransfer.result.evidence import claimed_ball, is_snapshot
from advtransfer.result.outcomes import read_outcomes, sample_positions
from advtransfer.result.run_folder import record_bytes
from advtransfer.runner.environment import refit_settings
from advtransfer.suite import load
from advtransfer.types import Examples, Json, Samples
from advtransfer.types.metric_names import CLAIM_PREFIX
from advtransfer.worker.refit import RefittedModel, refitted_model

if TYPE_CHECKING:
    import torch

RecordJson: TypeAlias = Mapping[str, Any]  # Any: JSON

SAMPLE_FILE = f"{EXAMPLE_FOLDER}/sample.json"
MAX_COUNT = 1000
"""Number of images a robust accuracy, above which a submission is too large anyway."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A robust accuracy whose recorded outcomes name broken images; `drawn` are positions of some."""

    record: RecordJson
    metric: str
    ball: Ball
    drawn: tuple[int, ...]

    @property
    def file(self) -> str:
        """The file of its examples in the bundle."""
        return f"{EXAMPLE_FOLDER}/{self.record['id']}/{self.metric}.npz"


def trial_claims(trial: Trial, records: Mapping[str, RecordJson], count: int) -> list[Claim]:
    """Return a trial's robust accuracies with broken images, each with the images drawn of them."""
    batteries = BatteryIndex(each for each in records.values() if each["kind"] == "battery")
    claims: list[Claim] = []
    for id in dict.fromkeys(trial.record_ids()):
        record = records.get(id, {})
        outcomes = record.get("outcomes") or {}
        for metric in sorted(outcomes):
            ball = claimed_ball(record, metric, batteries)
            if metric.startswith(CLAIM_PREFIX) and ball and not is_snapshot(metric, outcomes):
                drawn = drawn_positions(record, metric, count)
                claims += [Claim(record, metric, ball, drawn)] if drawn else []
    return claims


def drawn_positions(record: RecordJson, metric: str, count: int) -> tuple[int, ...]:
    """Return the positions of at most `count` broken images, ascending.

    They are those with the smallest sha256 of the canonical JSON of ``[id of the result, metric, packed
    outcomes, position]``: other images are drawn only by other outcomes.
    """
    packed = record["outcomes"][metric]
    broken = sample_positions(read_outcomes(packed).broken)

    def order(position: int) -> str:
        value: Json = [str(record["id"]), metric, str(packed["packed"]), position]
        return sha256(canonical_json(value).encode()).hexdigest()

    return tuple(sorted(sorted(broken, key=order)[:count]))


# --- publish ---


def write_examples(
    folder: Path,
    *,
    count: int,
    host: Host,
    cache: Path,
) -> tuple[int, int]:
    """Attack the drawn images of a bundle again, and write the examples that break them.

    Args:
        folder: The bundle, with its records.
        count: Number of images of each robust accuracy.
        host: The installed plugins.
        cache: Folder of the artifact cache, from which models are loaded if it has them.

    Returns:
        The number of examples, and that of the images drawn. An attack may fail to break an image
        that it broke among others.

    Raises:
        BadInput: Names the trials whose model has other weights here than in the record.
    """
    run = Run(folder)
    records: dict[str, RecordJson] = {str(record["id"]): record for record in run.read_records()}
    given = asked = 0
    problems: list[Problem] = []
    plan = Plan.from_json(run.read_plan())
    environments = run.read_environments()
    with suite_index(folder, plan, host) as index:
        for trial in plan.trials:
            claims = trial_claims(trial, records, count)
            if trial.skipped or trial.id not in records or not claims:
                continue
            asked += sum(len(claim.drawn) for claim in claims)
            settings = refit_settings(records[trial.id]["provenance"], environments)
            with trial_model(index, trial, claims, host, cache, settings) as model:
                if model.weights != records[trial.id]["weights"]["digest"]:
                    problems.append(_other_weights(trial))
                    continue
                given += _write_trial(folder, index, trial, claims, model)
    if problems:
        raise BadInput(problems)
    write_atomic(folder / SAMPLE_FILE, record_bytes({"count": count, "format": 1}))
    return given, asked


def _other_weights(trial: Trial) -> Problem:
    return Problem(
        f"other weights of {trial.name} than its record has",
        "the model behind the record",
        "publish on the machine that ran the suite, or without --examples",
    )


def _write_trial(
    folder: Path, index: SuiteIndex, trial: Trial, claims: Iterable[Claim], model: RefittedModel
) -> int:
    """Write the examples of one trial, and return their number."""
    import torch

    nodes = {node.id: node for node in index.trial_results(trial)}
    written = 0
    for claim in claims:
        result = nodes[str(claim.record["id"])]
        test = model.test_part(cast("Node", result.inputs["test"]))
        groups = model.attack(result, torch.tensor(claim.drawn))
        proven: dict[int, torch.Tensor] = {}
        for group in groups:
            if group.metric == claim.metric:
                proven |= _legal_by_position(group, test, model)
        if proven:
            positions = sorted(proven)
            keys = [test.keys[position] for position in positions]
            inputs = torch.stack([proven[position] for position in positions])
            write_atomic(folder / claim.file, _npz_bytes(keys, inputs))
            written += len(keys)
    return written


def _legal_by_position(
    group: Examples, test: Samples, model: RefittedModel
) -> dict[int, torch.Tensor]:
    from advtransfer.worker.verification.examples import legal_examples

    legal = legal_examples(group, test=test, model=model.model, device=model.device)
    inputs = group.inputs.detach().cpu().float()
    return {int(group.positions[at]): inputs[at] for at in legal.nonzero().flatten().tolist()}


def _npz_bytes(keys: list[int], inputs: torch.Tensor) -> bytes:
    import numpy as np

    content = io.BytesIO()
    np.savez_compressed(
        content, keys=np.array(keys, dtype=np.int64), inputs=inputs.numpy().astype(np.float32)
    )
    return content.getvalue()


@contextmanager
def suite_index(folder: Path, plan: Plan, host: Host) -> Iterator[SuiteIndex]:
    """Load the suite of a bundle, from a file that has its name."""
    with tempfile.TemporaryDirectory(prefix="advtransfer-examples-") as scratch:
        path = Path(scratch) / f"{plan.suite}.yaml"
        path.write_bytes(read_bytes(folder / "suite.yaml"))
        yield SuiteIndex(load(str(path), host, may_extend=False))


@contextmanager
def trial_model(
    index: SuiteIndex,
    trial: Trial,
    claims: Iterable[Claim],
    host: Host,
    cache: Path,
    settings: Mapping[str, Any],  # Any: keyword arguments
) -> Iterator[RefittedModel]:
    """Load the fitted model of a trial, or fit it again, with the test part of its first claim.

    Args:
        index: The suite.
        trial: The trial.
        claims: Its robust accuracies.
        host: The installed plugins.
        cache: Folder of the artifact cache.
        settings: What its fit was made with, as `refit_settings` reads it.
    """
    test = test_nodes(index, trial)[str(next(iter(claims)).record["id"])]
    with (
        tempfile.TemporaryDirectory(prefix="advtransfer-examples-") as scratch,
        refitted_model(
            index.trial_fit(trial),
            test,
            host=host,
            folder=Path(scratch),
            cache=cache,
            **settings,
        ) as model,
    ):
        yield model


def test_nodes(index: SuiteIndex, trial: Trial) -> dict[str, Node]:
    """Return the node of the test part by the id of each result of a trial."""
    return {node.id: cast("Node", node.inputs["test"]) for node in index.trial_results(trial)}
