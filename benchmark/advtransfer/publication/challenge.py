"""A challenge to a published robust accuracy: adversarial examples of others, held by the host.

An example counts only if the model is the one behind the result (the digest of its weights), and if
the host finds the example in ball and box, in float64, and misclassified, in its own kernel batch. What
falls is written beside the records (`advtransfer.result.challenges`), and folded in wherever they are read.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

from advtransfer.errors import BadInput, Problem
from advtransfer.files import file_sha256, write_atomic
from advtransfer.host import Host
from advtransfer.node import Node
from advtransfer.planning import Plan, Trial
from advtransfer.planning.nodes import SuiteIndex
from advtransfer.publication.bundle_files import MAX_BUNDLE_FILE_BYTES
from advtransfer.publication.example_files import (
    ExampleArrays,
    MissingTestPart,
    local_test_part,
    read_examples,
    unknown_keys,
)
from advtransfer.publication.trusted_plugins import require_trusted
from advtransfer.result import Run
from advtransfer.result.battery_index import Ball, BatteryIndex
from advtransfer.result.bounded_reading import read_bytes
from advtransfer.result.challenges import (
    MAX_NAME_LENGTH,
    Challenge,
    challenge_examples,
    challenge_path,
    fold_challenges,
    read_challenges,
)
from advtransfer.result.evidence import claimed_ball, fold_result
from advtransfer.result.outcomes import sample_positions
from advtransfer.result.run_folder import record_bytes
from advtransfer.runner.environment import refit_settings
from advtransfer.suite import load
from advtransfer.suite.outlines import Outlines
from advtransfer.types import Examples, Samples
from advtransfer.types.metric_names import CLAIM_PREFIX
from advtransfer.worker.refit import RefittedModel, refitted_model

RecordJson: TypeAlias = Mapping[str, Any]  # Any: JSON


@dataclass(frozen=True, slots=True)
class ChallengeResult:
    """What a challenge found.

    Attributes:
        metric: The challenged number, as ``evaluation.metric``.
        given: Number of examples.
        fell: Number of samples that an example breaks.
        before: The robust accuracy as published before, unknown outcomes as broken.
        after: The same with the challenge.
        recorded_weights: Digest of the weights behind the result.
        weights: Digest of the weights of the model that was loaded or fitted here.
        path: The file of the challenge, None where nothing is lowered.
    """

    metric: str
    given: int
    fell: int
    before: float
    after: float
    recorded_weights: str
    weights: str
    path: Path | None = None

    @property
    def is_reproduced(self) -> bool:
        """Whether the model of this machine is the one behind the result."""
        return self.weights == self.recorded_weights

    def lines(self) -> list[str]:
        """Return the report."""
        if not self.is_reproduced:
            return [
                f"not reproduced here: the fit gave weights {self.weights[:12]}..., and the record has "
                f"{self.recorded_weights[:12]}...; nothing is lowered. Try the machine type and the versions "
                "that the record's environment names"
            ]
        found = f"{self.fell} of {self.given} examples break a sample of {self.metric}"
        if self.path is None:
            return [f"{found} that stood before; nothing is lowered"]
        examples = self.path.with_suffix(".npz")
        about_examples = f"written: {examples}, the examples"
        if not examples.exists():
            about_examples = (
                f"the examples stay outside, since a bundle holds files of at most {MAX_BUNDLE_FILE_BYTES:,} "
                "bytes: leave out those that break nothing and compress them (numpy.savez_compressed), or "
                "publish the file elsewhere, for `advtransfer verify --examples FILE`"
            )
        fell = f"{found}: {self.before:.4f} -> {self.after:.4f}"
        return [fell, f"written: {self.path}", about_examples]


def challenge_result(
    folder: Path,
    *,
    trial: str,
    metric: str,
    examples: Path,
    who: str,
    host: Host,
    cache: Path,
    trusted: Collection[str] = (),
    device: str = "cpu",
) -> ChallengeResult:
    """Check examples against the model of a trial, and write down the samples that fall.

    Args:
        folder: A run folder or a published bundle.
        trial: Name or id of the trial (the beginning of the id is enough).
        metric: The robust accuracy, as ``evaluation.metric@eps``.
        examples: An ``.npz`` with ``keys`` int64 ``(M,)``, the keys of test samples, and ``inputs`` float32
            ``(M, *shape)`` in the bounds of the data set.
        who: Name of the challenger.
        host: The installed plugins.
        cache: Folder of the artifact cache.
        trusted: Plugins of others that may be run, as ``name==version``.
        device: As torch names it.

    Raises:
        BadInput: Names everything in the arguments or the file that cannot be used.
        CacheError: The file of examples is refused before it is parsed.
    """
    if not 0 < len(who.strip()) <= MAX_NAME_LENGTH:
        expected = f"a name of 1 to {MAX_NAME_LENGTH} characters"
        raise BadInput([Problem(f"--who {who[:40]!r}", expected, "say who challenges")])
    run = Run.open(folder)
    plan = Plan.from_json(run.read_plan())
    records: dict[str, RecordJson] = {str(record["id"]): record for record in run.read_records()}
    planned = find_trial(plan, trial)
    label, name, record = _find_metric(planned, metric, records)
    batteries = BatteryIndex(each for each in records.values() if each["kind"] == "battery")
    ball = claimed_ball(record, name, batteries)
    if ball is None:
        found = f"{label}.{name}, whose ball no record names"
        raise BadInput([Problem(found, "a robust accuracy in a ball", "choose another metric")])
    weights = {planned.id: str(records[planned.id]["weights"]["digest"])}
    fold_challenges(read_challenges(folder)[0], batteries, weights=weights)
    before = fold_result(record, batteries).outcomes[name]
    with tempfile.TemporaryDirectory(prefix="advtransfer-challenge-") as scratch:
        path = Path(scratch) / f"{plan.suite}.yaml"
        path.write_bytes(read_bytes(folder / "suite.yaml"))
        suite = load(str(path), host, may_extend=False)
        index = SuiteIndex(suite)
        require_trusted(index, [planned], trusted, host)
        fit, test = index.trial_fit(planned), _test_node(index, planned, str(record["id"]))
        arrays = _checked_arrays(examples, test, record, count=before.of, host=host)
        settings = refit_settings(records[planned.id]["provenance"], run.read_environments())
        settings["device"] = device
        with refitted_model(
            fit, test, host=host, folder=Path(scratch) / "run", cache=cache, **settings
        ) as model:
            result = ChallengeResult(
                f"{label}.{name}",
                given=len(arrays["keys"]),
                fell=0,
                before=before.share.low,
                after=before.share.low,
                recorded_weights=weights[planned.id],
                weights=model.weights,
            )
            if not result.is_reproduced:
                return result
            positions = broken_positions(arrays, ball, model.test, metric=name, model=model)
    standing = set(sample_positions(before.robust | before.unknown))
    fallen = [at for at in positions if at in standing]
    if not fallen:
        return result
    challenge = Challenge(
        result=str(record["id"]),
        metric=name,
        model=planned.id,
        test=str(record["asked"]["inputs"]["test"]),
        weights=weights[planned.id],
        norm=ball.norm,
        eps=ball.eps,
        of=before.of,
        positions=fallen,
        examples=file_sha256(examples),
        who=who.strip(),
        date=datetime.now(UTC).date().isoformat(),
    )
    path = write_challenge(folder, challenge, examples)
    fold_challenges([challenge], batteries, weights=weights)
    after = fold_result(record, batteries).outcomes[name]
    return ChallengeResult(
        result.metric,
        given=result.given,
        fell=len(fallen),
        before=result.before,
        after=after.share.low,
        recorded_weights=result.recorded_weights,
        weights=result.weights,
        path=path,
    )


def write_challenge(folder: Path, challenge: Challenge, examples: Path) -> Path:
    """Write a challenge beside the records, with its examples if a bundle can hold them; return its file."""
    path = challenge_path(folder, challenge.id)
    if examples.stat().st_size <= MAX_BUNDLE_FILE_BYTES:
        write_atomic(challenge_examples(folder, challenge.id), examples.read_bytes())
    write_atomic(path, record_bytes(challenge.to_json()))
    return path


def find_trial(plan: Plan, text: str) -> Trial:
    """Return the trial of this name, or whose id begins so.

    Raises:
        BadInput: No trial, or several.
    """
    matching = [trial for trial in plan.trials if trial.name == text]
    if not matching and len(text) >= 6:
        matching = [trial for trial in plan.trials if trial.id.startswith(text)]
    if len(matching) == 1:
        return matching[0]
    found = f"{len(matching)} trials for {text[:200]!r}"
    command = "advtransfer export RUN --table metrics --format csv --out metrics.csv"
    next_step = f"take a name or an id from the table that `{command}` writes"
    raise BadInput([Problem(found, "the name of one trial, or the beginning of its id", next_step)])


def _find_metric(
    trial: Trial, text: str, records: Mapping[str, RecordJson]
) -> tuple[str, str, RecordJson]:
    """Return evaluation, metric and record of a trial's robust accuracy."""
    claims = [
        (label, name, records[id])
        for label, ids in trial.evaluations.items()
        for id in ids
        if id in records
        for name in records[id].get("outcomes", {})
        if name.startswith(CLAIM_PREFIX)
    ]
    matching = [
        (label, name, record)
        for label, name, record in claims
        if text in (f"{label}.{name}", f"{label}.{name.partition('@')[0]}")
    ]
    if len(matching) == 1 and trial.id in records:
        return matching[0]
    choices = (
        ", ".join(f"{label}.{name}" for label, name, _ in claims)
        or "none: it has no robust accuracy"
    )
    found = f"--metric {text[:100]!r}, of which {trial.name} has {len(matching)}"
    raise BadInput([Problem(found, f"one of {choices}", "name one of them")])


def _test_node(index: SuiteIndex, trial: Trial, result: str) -> Node:
    nodes = [node for node in index.trial_results(trial) if node.id == result]
    if not nodes:
        found = f"the result {result[:12]}, which the suite of the folder does not give here"
        next_step = "install the versions of the plugins that the record names"
        raise BadInput([Problem(found, "the result that the record names", next_step)])
    return cast("Node", nodes[0].inputs["test"])


def _checked_arrays(
    path: Path, node: Node, record: RecordJson, *, count: int, host: Host
) -> ExampleArrays:
    """Return the arrays of a file of examples for `count` test samples, before any model is made.

    Raises:
        BadInput: Names every fault of the arrays.
        CacheError: The file is refused before it is unpacked.
    """
    shape = Outlines(host).outline_of(cast("Node", node.inputs["data"])).shape
    # Without the data, whose reading takes far longer than a refusal.
    arrays = None if shape is None else read_examples(path, count=count, shape=shape)
    try:
        test = local_test_part(host, node, record)
    except MissingTestPart as error:
        found = f"no test part of the result {str(record['id'])[:12]} ({error})"
        raise BadInput([Problem(found, "the data that it was measured on", "get them")]) from error
    if arrays is None or (count, shape) != (len(test), tuple(test.card.shape)):
        arrays = read_examples(path, count=len(test), shape=tuple(test.card.shape))
    if problems := list(unknown_keys(arrays, test)):
        raise BadInput(problems)
    return arrays


def broken_positions(
    arrays: ExampleArrays,
    ball: Ball,
    test: Samples,
    *,
    metric: str,
    model: RefittedModel | None = None,
) -> list[int]:
    """Return the positions in the test part that an example breaks, ascending.

    Without a model, those whose example is in ball and box (float64).

    Raises:
        BadInput: The arrays have keys of no test sample.
    """
    import torch

    from advtransfer.worker.verification.examples import allowed_examples, legal_examples

    problems = list(unknown_keys(arrays, test))
    if problems:
        raise BadInput(problems)
    position_by_key = {key: position for position, key in enumerate(test.keys)}
    positions = torch.tensor([position_by_key[int(key)] for key in arrays["keys"]])
    # A copy, since the array is a view of bytes that cannot be written.
    inputs = torch.from_numpy(arrays["inputs"].copy())
    norm = cast('Literal["linf", "l2", "l1"]', ball.norm)
    examples = Examples(metric, norm, ball.eps, positions.long(), inputs)
    if model is None:
        legal = allowed_examples(examples, test=test)
    else:
        legal = legal_examples(examples, test=test, model=model.model, device=model.device)
    # A sample that is wrong without attack has nothing to lose.
    return sorted(positions[legal].tolist())
