"""Adversarial examples in a submission: a stated sample of the images that an evaluation broke.

``examples/sample.json`` states how many images of each robust accuracy were drawn. Which ones follows
from the recorded outcomes (`drawn_positions`), so that nobody can choose them. Each file
``examples/<id of the result>/<metric>.npz`` holds ``keys`` int64 ``(M,)`` and ``inputs`` float32
``(M, *shape)``, as files of challenges do.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from advtransfer.errors import AdvTransferError, BadInput, CacheError, Problem
from advtransfer.files import write_atomic
from advtransfer.host import Host
from advtransfer.node import Node, canonical_json
from advtransfer.planning import Plan, Trial
from advtransfer.planning.nodes import SuiteIndex
from advtransfer.publication.bundle_files import MAX_BUNDLE_FILE_BYTES, without_folder
from advtransfer.publication.cells import Fault
from advtransfer.publication.challenge import EXAMPLE_KINDS, array_problems
from advtransfer.publication.manifest import EXAMPLE_FOLDER
from advtransfer.publication.trusted_plugins import require_trusted
from advtransfer.result import Run
from advtransfer.result.bounded_reading import read_bytes, read_json, read_npz
from advtransfer.result.evidence import (
    Ball,
    BatteryIndex,
    claimed_ball,
    is_snapshot,
    unpack_array,
)
from advtransfer.result.run_folder import record_bytes
from advtransfer.suite import load
from advtransfer.types import Examples, Json, Outcome, Samples
from advtransfer.types.metric_names import CLAIM_PREFIX
from advtransfer.worker.refit import RefittedModel, refitted_model

if TYPE_CHECKING:
    import numpy.typing as npt
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


@dataclass(slots=True)
class ExampleCheck:
    """What was found in the examples of a bundle.

    Attributes:
        faults: All that is wrong, by file.
        notes: What could not be checked here.
        files: Number of files that were checked.
        given: Number of examples in them.
        drawn: Number of images that the sample asks for.
    """

    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    files: int = 0
    given: int = 0
    drawn: int = 0

    def lines(self) -> list[str]:
        """Return the report."""
        checked = (
            f"examples: {self.given:,} of {self.drawn:,} drawn images in {self.files:,} files are in "
            "test part, ball and box (float64)"
        )
        lines = [checked] if self.files and not self.faults else []
        lines += [f"note: {note}" for note in self.notes]
        if self.faults:
            lines.append(f"{len(self.faults):,} faults of examples")
        return lines


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
    broken = (unpack_array(packed) == Outcome.BROKEN).nonzero()[0].tolist()

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
    device: str = "cpu",
) -> tuple[int, int]:
    """Attack the drawn images of a bundle again, and write the examples that break them.

    Args:
        folder: The bundle, with its records.
        count: Number of images of each robust accuracy.
        host: The installed plugins.
        cache: Folder of the artifact cache, from which models are loaded if it has them.
        device: As torch names it.

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
    with _suite_index(folder, plan, host) as index:
        for trial in plan.trials:
            claims = trial_claims(trial, records, count)
            if trial.skipped or trial.id not in records or not claims:
                continue
            asked += sum(len(claim.drawn) for claim in claims)
            with _trial_model(index, trial, claims, host, cache, device) as model:
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
        groups = model.attack(nodes[str(claim.record["id"])], torch.tensor(claim.drawn))
        proven: dict[int, torch.Tensor] = {}
        for group in groups:
            if group.metric == claim.metric:
                proven |= _legal_by_position(group, model)
        if proven:
            positions = sorted(proven)
            keys = [model.test.keys[position] for position in positions]
            inputs = torch.stack([proven[position] for position in positions])
            write_atomic(folder / claim.file, _npz_bytes(keys, inputs))
            written += len(keys)
    return written


def _legal_by_position(group: Examples, model: RefittedModel) -> dict[int, torch.Tensor]:
    from advtransfer.worker.verification.examples import legal_examples

    legal = legal_examples(group, test=model.test, model=model.model, device=model.device)
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
def _suite_index(folder: Path, plan: Plan, host: Host) -> Iterator[SuiteIndex]:
    """Load the suite of a bundle, from a file that has its name."""
    with tempfile.TemporaryDirectory(prefix="advtransfer-examples-") as scratch:
        path = Path(scratch) / f"{plan.suite}.yaml"
        path.write_bytes(read_bytes(folder / "suite.yaml"))
        yield SuiteIndex(load(str(path), host))


@contextmanager
def _trial_model(
    index: SuiteIndex,
    trial: Trial,
    claims: Iterable[Claim],
    host: Host,
    cache: Path,
    device: str = "cpu",
) -> Iterator[RefittedModel]:
    test = _test_nodes(index, trial)[str(next(iter(claims)).record["id"])]
    with (
        tempfile.TemporaryDirectory(prefix="advtransfer-examples-") as scratch,
        refitted_model(
            index.trial_fit(trial),
            test,
            host=host,
            folder=Path(scratch),
            cache=cache,
            device=device,
        ) as model,
    ):
        yield model


def _test_nodes(index: SuiteIndex, trial: Trial) -> dict[str, Node]:
    """Return the node of the test part by the id of each result of a trial."""
    return {node.id: cast("Node", node.inputs["test"]) for node in index.trial_results(trial)}


# --- verify ---


def check_examples(folder: Path, *, host: Host, trusted: Collection[str] = ()) -> ExampleCheck:
    """Hold the examples of a verified bundle against test part, ball and box, in float64.

    Only a model can tell whether they are misclassified (`check_classes`).
    """
    found = ExampleCheck()
    run = Run(folder)
    plan = Plan.from_json(run.read_plan())
    try:
        claims = _read_claims(run, plan, found)
        with _suite_index(folder, plan, host) as index:
            require_trusted(index, [trial for trial, own in claims if own], trusted, host)
            _check_trials(folder, index, claims, host, found)
    except AdvTransferError as error:
        text = without_folder(error, folder).splitlines()[0]
        found.notes.append(f"examples not checked: {text}")
    return found


def _read_claims(run: Run, plan: Plan, found: ExampleCheck) -> list[tuple[Trial, list[Claim]]]:
    """Return the claims that the stated sample covers; add files that belong to none of them."""
    try:
        count = read_json(run.path / SAMPLE_FILE, limit=1 << 10).get("count")
    except (CacheError, AttributeError, OSError) as error:
        found.faults.append(Fault(SAMPLE_FILE, "", without_folder(error, run.path)))
        return []
    if type(count) is not int or not 0 < count <= MAX_COUNT:
        text = f"found the count {str(count)[:40]}; expected 1 to {MAX_COUNT}"
        found.faults.append(Fault(SAMPLE_FILE, "", text))
        return []
    records: dict[str, RecordJson] = {str(record["id"]): record for record in run.read_records()}
    claims = [(trial, trial_claims(trial, records, count)) for trial in plan.trials]
    known = {claim.file for _, own in claims for claim in own} | {SAMPLE_FILE}
    for path in sorted((run.path / EXAMPLE_FOLDER).rglob("*")):
        name = path.relative_to(run.path).as_posix()
        if path.is_file() and name not in known:
            text = "found examples of no robust accuracy with broken images; expected none"
            found.faults.append(Fault(name, "", text))
    return claims


def _check_trials(
    folder: Path,
    index: SuiteIndex,
    claims: Iterable[tuple[Trial, list[Claim]]],
    host: Host,
    found: ExampleCheck,
) -> None:
    from advtransfer.worker.object_builder import dataset_of, drawn_test_part, samples_digest

    for trial, own in claims:
        nodes = _test_nodes(index, trial) if own else {}
        for claim in own:
            found.drawn += len(claim.drawn)
            if not (folder / claim.file).exists():
                continue
            node = nodes[str(claim.record["id"])]
            try:
                dataset = dataset_of(host, cast("Node", node.inputs["data"]))
                test = drawn_test_part(dataset, node)
            except (AdvTransferError, OSError) as error:
                reason = str(error).splitlines()[0][:300]
                found.notes.append(f"examples not checked: data not at hand ({reason})")
                return
            if samples_digest(test) != claim.record["provenance"]["data"].get("test"):
                found.notes.append(f"examples not checked: other data here for {trial.target}")
                return
            found.files += 1
            read, faults = _read_examples(folder, claim, test)
            found.faults += [Fault(claim.file, trial.name, text) for text in faults]
            found.given += len(read.positions) if read else 0


def _read_examples(folder: Path, claim: Claim, test: Samples) -> tuple[Examples | None, list[str]]:
    """Return the examples of one file, None if it cannot be used, and everything wrong in it."""
    from advtransfer.worker.verification.examples import allowed_examples

    try:
        arrays = read_npz(folder / claim.file, EXAMPLE_KINDS, limit=32 * MAX_BUNDLE_FILE_BYTES)
    except CacheError as error:
        return None, [without_folder(error, folder)]
    problems = [
        f"found {each.found}; expected {each.expected}" for each in array_problems(arrays, test)
    ]
    if problems:
        return None, problems
    examples = _examples_of(arrays, claim, test)
    allowed = allowed_examples(examples, test=test)
    illegal = arrays["keys"][(~allowed).numpy()].tolist()
    faults: list[str] = []
    if illegal:
        faults.append(
            f"found {len(illegal)} examples outside of ball ({claim.ball.norm} {claim.ball.eps:g}) or "
            f"box, or not finite, such as of key {illegal[0]}; expected none"
        )
    others = sorted(set(examples.positions.tolist()) - set(claim.drawn))
    if others:
        faults.append(
            f"found the key {test.keys[others[0]]}; expected only keys of the drawn images"
        )
    return examples, faults


def _examples_of(
    arrays: Mapping[str, npt.NDArray[Any]],  # Any: the dtypes of `EXAMPLE_KINDS`
    claim: Claim,
    test: Samples,
) -> Examples:
    import torch

    position_by_key = {key: position for position, key in enumerate(test.keys)}
    positions = torch.tensor([position_by_key[int(key)] for key in arrays["keys"]]).long()
    norm = cast('Literal["linf", "l2", "l1"]', claim.ball.norm)
    # A copy, since the array is a view of bytes that cannot be written.
    return Examples(
        claim.metric, norm, claim.ball.eps, positions, torch.from_numpy(arrays["inputs"].copy())
    )


def check_classes(
    folder: Path, trials: Iterable[Trial], *, index: SuiteIndex, host: Host, cache: Path
) -> ExampleCheck:
    """Hold the examples of some trials against their models, fitted again: each must be misclassified."""
    from advtransfer.worker.verification.examples import legal_examples

    found = ExampleCheck()
    run = Run(folder)
    plan = Plan.from_json(run.read_plan())
    claims = {trial.id: own for trial, own in _read_claims(run, plan, found)}
    weights = {
        str(record["id"]): cast("RecordJson", record["weights"])["digest"]
        for record in run.read_records()
        if record["kind"] == "fit"
    }
    for trial in trials:
        own = [each for each in claims.get(trial.id, []) if (folder / each.file).exists()]
        if not own:
            continue
        with _trial_model(index, trial, own, host, cache) as model:
            if model.weights != weights[trial.id]:
                found.notes.append(f"examples of {trial.name} not replayed: other weights here")
                continue
            for claim in own:
                examples, faults = _read_examples(folder, claim, model.test)
                if examples is not None:
                    legal = legal_examples(
                        examples, test=model.test, model=model.model, device=model.device
                    )
                    found.given += int(legal.sum())
                    if wrong := int((~legal).sum()):
                        faults.append(
                            f"found {wrong} examples that the model, fitted again, does not "
                            "misclassify, or outside of ball or box; expected none"
                        )
                found.faults += [Fault(claim.file, trial.name, text) for text in faults]
    return found
