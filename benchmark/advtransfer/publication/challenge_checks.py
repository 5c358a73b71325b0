"""Verification of challenges: against the records, by their examples, and by the model, fitted again."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from advtransfer.errors import AdvTransferError, BadInput, CacheError, Problem
from advtransfer.files import file_sha256
from advtransfer.host import Host
from advtransfer.planning import Plan, Trial
from advtransfer.planning.nodes import SuiteIndex
from advtransfer.publication.bundle_files import without_folder
from advtransfer.publication.cells import Fault
from advtransfer.publication.challenge import broken_positions
from advtransfer.publication.example_files import (
    ExampleArrays,
    MissingTestPart,
    local_test_part,
    read_examples,
)
from advtransfer.publication.examples import suite_index, test_nodes
from advtransfer.publication.trusted_plugins import require_trusted
from advtransfer.result import Run
from advtransfer.result.battery_index import Ball, BatteryIndex
from advtransfer.result.challenges import (
    CHALLENGE_FOLDER,
    Challenge,
    challenge_examples,
    challenge_path,
    read_challenges,
)
from advtransfer.result.evidence import claimed_ball
from advtransfer.runner.environment import refit_settings
from advtransfer.text import error_text, one_line
from advtransfer.worker.refit import refitted_model

RecordJson: TypeAlias = Mapping[str, Any]  # Any: JSON


class _NotCheckedError(Exception):
    """Why a challenge cannot be checked on this machine."""


@dataclass(slots=True)
class ChallengeCheck:
    """What was found in the examples of challenges.

    Attributes:
        faults: All that is wrong, by file.
        notes: What could not be checked here.
        held: A line for each challenge whose examples hold.
    """

    faults: list[Fault] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    held: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        """Return the report without faults, which are counted with those of the bundle."""
        return list(map(one_line, [*self.held, *(f"note: {note}" for note in self.notes)]))


# --- against the records, without torch ---


def challenge_record_faults(folder: Path, records: Mapping[str, RecordJson]) -> Iterator[Fault]:
    """Yield challenges that are malformed or about other records than those of a bundle, and other files."""
    challenges, faults = read_challenges(folder)
    for path, text in faults.items():
        yield Fault(path, "", text)
    batteries = BatteryIndex(each for each in records.values() if each["kind"] == "battery")
    for each in challenges:
        for text in _record_differences(each, records, batteries):
            yield Fault(challenge_path(folder, each.id).relative_to(folder).as_posix(), "", text)
    known = {f"{each.id}{suffix}" for each in challenges for suffix in (".json", ".npz")}
    for file in sorted((folder / CHALLENGE_FOLDER).glob("*")):
        where = file.relative_to(folder).as_posix()
        if file.name not in known and where not in faults:
            text = (
                "found a file of no challenge; expected <id>.json, and <id>.npz with its examples"
            )
            yield Fault(where, "", text)


def _record_differences(
    challenge: Challenge, records: Mapping[str, RecordJson], batteries: BatteryIndex
) -> Iterator[str]:
    """Yield where a challenge says something else than the records of its fit and result."""
    fit = records.get(challenge.model, {})
    if fit.get("weights", {}).get("digest") != challenge.weights:
        yield (
            f"found a challenge of the weights {challenge.weights[:12]}; expected those of a fit here"
        )
    result = records.get(challenge.result, {})
    inputs = result.get("asked", {}).get("inputs", {})
    outcomes = result.get("outcomes", {}).get(challenge.metric)
    if (inputs.get("model"), inputs.get("test")) != (challenge.model, challenge.test):
        yield f"found the result {challenge.result[:12]}; expected one of this model and test part"
    elif outcomes is None or outcomes["of"] != challenge.of:
        found = f"{challenge.metric[:80]} of {challenge.of} samples"
        yield f"found {found}; expected a robust accuracy of the result, of its test samples"
    elif claimed_ball(result, challenge.metric, batteries) != Ball(challenge.norm, challenge.eps):
        found = f"the ball {challenge.norm} {challenge.eps:g}"
        yield f"found {found}; expected that of {challenge.metric}"


def carry_challenges(published: Path, folder: Path, run: Run) -> list[Problem]:
    """Copy the challenges of a published submission into `folder`, which replaces it.

    Returns:
        A problem for each challenge that is about other records than those of `run`.
    """
    if not (published / CHALLENGE_FOLDER).is_dir():
        return []
    records = {str(record["id"]): record for record in run.read_records()}
    shutil.copytree(published / CHALLENGE_FOLDER, folder / CHALLENGE_FOLDER, dirs_exist_ok=True)
    advice = "publish these records under another name: a challenge stays with what it is about"
    return [
        Problem(f"{fault.where}, which is about other records", "those of this run", advice)
        for fault in challenge_record_faults(folder, records)
    ]


# --- by the examples ---


def check_challenges(
    folder: Path,
    *,
    host: Host,
    trusted: Collection[str] = (),
    given: Sequence[Path] = (),
    refit: bool = False,
    required: Sequence[str] = (),
) -> ChallengeCheck:
    """Hold the examples of challenges against test part, ball and box, in float64, and the model.

    Args:
        folder: A verified bundle.
        host: The installed plugins.
        trusted: Plugins of others that may be run, as ``name==version``.
        given: Files of examples that are too large for a bundle; each is known by its sha256.
        refit: Fit every challenged model again: it must misclassify the examples.
        required: Beginnings of ids of challenges whose model is fitted again, and that are at fault
            where they cannot be checked here.

    Raises:
        BadInput: No challenge has an id that begins as one of `required`.
    """
    found = ChallengeCheck()
    run = Run(folder)
    plan = Plan.from_json(run.read_plan())
    records: dict[str, RecordJson] = {str(record["id"]): record for record in run.read_records()}
    challenges = read_challenges(folder)[0]
    demanded = {each.id for each in challenges if each.id.startswith(tuple(required))}
    _require_known(challenges, required)
    archives = {file_sha256(path): path for path in given}
    try:
        with suite_index(folder, plan, host) as index:
            bundle = _ChallengedBundle(folder, plan, records, index, host, trusted, archives)
            for each in challenges:
                _check_challenge(
                    each, bundle, found, refit=refit or each.id in demanded, required=demanded
                )
    except AdvTransferError as error:
        for each in challenges:
            _add_unchecked(each, without_folder(error, folder), found, required=demanded)
    unused = archives.keys() - {each.examples for each in challenges}
    found.notes += [
        f"{archives[sha256]} has the examples of no challenge here" for sha256 in sorted(unused)
    ]
    return found


def _require_known(challenges: Sequence[Challenge], required: Sequence[str]) -> None:
    problems = [
        Problem(
            f"--challenge {text[:80]!r}",
            "the beginning of the id of a challenge in the bundle",
            f"take the name of a file in {CHALLENGE_FOLDER}",
        )
        for text in required
        if not text or not any(each.id.startswith(text) for each in challenges)
    ]
    if problems:
        raise BadInput(problems)


@dataclass(frozen=True, slots=True)
class _ChallengedBundle:
    """What challenges of one bundle are held against; `archives` are files of examples by sha256."""

    folder: Path
    plan: Plan
    records: Mapping[str, RecordJson]
    index: SuiteIndex
    host: Host
    trusted: Collection[str]
    archives: Mapping[str, Path]

    def trial_of(self, challenge: Challenge) -> Trial:
        trials = [trial for trial in self.plan.trials if trial.id == challenge.model]
        if not trials or challenge.result not in trials[0].record_ids():
            raise _NotCheckedError("the plan has no trial with its result")
        return trials[0]


def _check_challenge(
    challenge: Challenge,
    bundle: _ChallengedBundle,
    found: ChallengeCheck,
    *,
    refit: bool,
    required: Collection[str],
) -> None:
    """Add what one challenge shows, or why it cannot be checked here."""
    where = challenge_examples(bundle.folder, challenge.id).relative_to(bundle.folder).as_posix()
    try:
        trial = bundle.trial_of(challenge)
        require_trusted(bundle.index, [trial], bundle.trusted, bundle.host)
        fault = _example_fault(challenge, trial, bundle, refit=refit)
    except _NotCheckedError as error:
        _add_unchecked(challenge, str(error), found, required=required)
        return
    except CacheError as error:
        fault = without_folder(error, bundle.folder)
    except AdvTransferError as error:  # of plugins that are not here, not trusted, or fail here
        reason = _problem_text(error) if isinstance(error, BadInput) else str(error)
        _add_unchecked(challenge, reason, found, required=required)
        return
    if fault:
        found.faults.append(Fault(where, trial.name, fault))
        return
    model = ", and the model, fitted again, misclassifies them" if refit else ""
    found.held.append(
        f"challenge {challenge.id[:12]} ({challenge.who}): examples of {len(challenge.positions)} samples of "
        f"{trial.name} are in test part, ball and box (float64){model}"
    )


def _example_fault(
    challenge: Challenge, trial: Trial, bundle: _ChallengedBundle, *, refit: bool
) -> str | None:
    """Return what is wrong in the examples of a challenge, None if each of its samples has one.

    Raises:
        _NotCheckedError: Examples, data or weights are not those of the challenge here.
        CacheError: The file of examples is refused before it is parsed.
    """
    own = challenge_examples(bundle.folder, challenge.id)
    file = own if own.is_file() else bundle.archives.get(challenge.examples)
    if file is None:
        raise _NotCheckedError(
            f"its examples are not here (sha256 {challenge.examples}): give them by --examples FILE"
        )
    if file == own and (sha256 := file_sha256(own)) != challenge.examples:
        return f"found the sha256 {sha256[:12]}; expected {challenge.examples[:12]}, as the challenge says"
    test_node = test_nodes(bundle.index, trial)[challenge.result]
    try:
        test = local_test_part(bundle.host, test_node, bundle.records[challenge.result])
    except MissingTestPart as error:
        raise _NotCheckedError(str(error)) from error
    ball = Ball(challenge.norm, challenge.eps)
    try:
        arrays = read_examples(file, count=len(test), shape=tuple(test.card.shape))
        broken = broken_positions(arrays, ball, test, metric=challenge.metric)
    except BadInput as error:
        return _problem_text(error)
    if missing := sorted(set(challenge.positions) - set(broken)):
        return (
            f"found no example in ball ({ball.norm} {ball.eps:g}) and box for {len(missing)} samples, such "
            f"as that of key {test.keys[missing[0]]}; expected one for each that fell"
        )
    if not refit:
        return None
    try:
        weights, broken = _broken_after_refit(challenge, trial, bundle, arrays)
    except Exception as error:  # The code of a plugin raises anything.
        reason = error_text(error)[:500]
        return (
            f"found a fit that fails here ({reason}); expected the challenged model, fitted again"
        )
    if weights != challenge.weights:
        # No fault: machines differ in bits, and the challenge may hold where it was made.
        raise _NotCheckedError(
            f"not reproduced here: the fit gave weights {weights[:12]}, and the challenge is of "
            f"{challenge.weights[:12]}"
        )
    if missing := sorted(set(challenge.positions) - set(broken)):
        return (
            f"found {len(missing)} samples that the model, fitted again, classifies correctly, such as that "
            f"of key {test.keys[missing[0]]}; expected none"
        )
    return None


def _broken_after_refit(
    challenge: Challenge, trial: Trial, bundle: _ChallengedBundle, arrays: ExampleArrays
) -> tuple[str, list[int]]:
    """Return the weights digest of the model, fitted again, and the positions of samples that it has wrong.

    Args:
        challenge: A challenge.
        trial: The trial of its model.
        bundle: What it is held against.
        arrays: Its examples.
    """
    environments = Run(bundle.folder).read_environments()
    settings = refit_settings(bundle.records[trial.id]["provenance"], environments)
    with (
        tempfile.TemporaryDirectory(prefix="advtransfer-challenge-") as scratch,
        refitted_model(
            bundle.index.trial_fit(trial),
            test_nodes(bundle.index, trial)[challenge.result],
            host=bundle.host,
            folder=Path(scratch) / "run",
            cache=Path(scratch) / "cache",
            **settings,
        ) as model,
    ):
        ball = Ball(challenge.norm, challenge.eps)
        broken = broken_positions(arrays, ball, model.test, metric=challenge.metric, model=model)
        return model.weights, broken


def _problem_text(error: BadInput) -> str:
    """Return what was found and expected, without the next step, which is the challenger's."""
    return "; ".join(f"found {each.found}; expected {each.expected}" for each in error.problems)


def _add_unchecked(
    challenge: Challenge, reason: str, found: ChallengeCheck, *, required: Collection[str]
) -> None:
    """Add a challenge that cannot be checked here: a fault if it must be, a note otherwise."""
    text = " ".join(reason.split())[:500]
    if challenge.id in required:
        where = f"{CHALLENGE_FOLDER}/{challenge.id}.json"
        found.faults.append(Fault(where, "", f"not checked: {text}"))
        return
    found.notes.append(
        f"challenge {challenge.id[:12]} ({challenge.who}) not checked again, though it lowers numbers: {text}"
    )
