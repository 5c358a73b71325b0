"""Verification of the adversarial examples in a submission (`advtransfer.publication.examples`)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, cast

from advtransfer.errors import AdvTransferError, BadInput, CacheError
from advtransfer.host import Host
from advtransfer.planning import Plan, Trial
from advtransfer.planning.nodes import SuiteIndex
from advtransfer.publication.bundle_files import without_folder
from advtransfer.publication.cells import Fault
from advtransfer.publication.example_files import (
    ExampleArrays,
    MissingTestPart,
    local_test_part,
    read_examples,
    unknown_keys,
)
from advtransfer.publication.examples import (
    MAX_COUNT,
    SAMPLE_FILE,
    Claim,
    suite_index,
    test_nodes,
    trial_claims,
    trial_model,
)
from advtransfer.publication.manifest import EXAMPLE_FOLDER
from advtransfer.publication.trusted_plugins import require_trusted
from advtransfer.result import Run
from advtransfer.result.bounded_reading import read_json
from advtransfer.runner.environment import refit_settings
from advtransfer.text import one_line
from advtransfer.types import Examples, Samples

RecordJson: TypeAlias = Mapping[str, Any]  # Any: JSON


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
        """Return the report without faults, which are counted with those of the bundle."""
        checked = (
            f"examples: {self.given:,} of {self.drawn:,} drawn images in {self.files:,} files are in "
            "test part, ball and box (float64)"
        )
        lines = [checked] if self.files and not self.faults else []
        lines += [f"note: {note}" for note in self.notes]
        return list(map(one_line, lines))


def check_examples(folder: Path, *, host: Host, trusted: Collection[str] = ()) -> ExampleCheck:
    """Hold the examples of a verified bundle against test part, ball and box, in float64.

    Only a model can tell whether they are misclassified (`check_classes`).
    """
    found = ExampleCheck()
    run = Run(folder)
    plan = Plan.from_json(run.read_plan())
    try:
        claims = _read_claims(run, plan, found)
        with suite_index(folder, plan, host) as index:
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
    for trial, own in claims:
        nodes = test_nodes(index, trial) if own else {}
        for claim in own:
            found.drawn += len(claim.drawn)
            if not (folder / claim.file).exists():
                continue
            node = nodes[str(claim.record["id"])]
            try:
                test = local_test_part(host, node, claim.record)
            except MissingTestPart as error:
                found.notes.append(f"examples not checked: {error}")
                return
            found.files += 1
            read, faults = _read_examples(folder, claim, test)
            found.faults += [Fault(claim.file, trial.name, text) for text in faults]
            found.given += len(read.positions) if read else 0


def _read_examples(folder: Path, claim: Claim, test: Samples) -> tuple[Examples | None, list[str]]:
    """Return the examples of one file, None if it cannot be used, and everything wrong in it."""
    from advtransfer.worker.verification.examples import allowed_examples

    try:
        arrays = read_examples(folder / claim.file, count=len(test), shape=tuple(test.card.shape))
        problems = list(unknown_keys(arrays, test))
    except CacheError as error:
        return None, [without_folder(error, folder)]
    except BadInput as error:
        problems = list(error.problems)
    if problems:
        return None, [f"found {each.found}; expected {each.expected}" for each in problems]
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
    arrays: ExampleArrays,
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
    environments = run.read_environments()
    fits: dict[str, RecordJson] = {
        str(record["id"]): record for record in run.read_records() if record["kind"] == "fit"
    }
    for trial in trials:
        own = [each for each in claims.get(trial.id, []) if (folder / each.file).exists()]
        if not own:
            continue
        fit = fits[trial.id]
        settings = refit_settings(fit["provenance"], environments)
        with trial_model(index, trial, own, host, cache, settings) as model:
            if model.weights != fit["weights"]["digest"]:
                found.notes.append(f"examples of {trial.name} not replayed: other weights here")
                continue
            nodes = test_nodes(index, trial)
            for claim in own:
                test = model.test_part(nodes[str(claim.record["id"])])
                examples, faults = _read_examples(folder, claim, test)
                if examples is not None:
                    legal = legal_examples(
                        examples, test=test, model=model.model, device=model.device
                    )
                    found.given += int(legal.sum())
                    if wrong := int((~legal).sum()):
                        faults.append(
                            f"found {wrong} examples that the model, fitted again, does not "
                            "misclassify, or outside of ball or box; expected none"
                        )
                found.faults += [Fault(claim.file, trial.name, text) for text in faults]
    return found
