"""A bundle that was honestly published, and copies of it that a test edits as its author could."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from advtransfer.host import Host
from advtransfer.node import content_id
from advtransfer.publication.board import (
    Board,
    planned_axes,
    version_digest,
    write_board,
)
from advtransfer.publication.board_check import LocalBoards, load_boards
from advtransfer.publication.cells import plan_suite
from advtransfer.publication.manifest import MANIFEST_FILE, make_manifest
from advtransfer.publication.pages import submission_of
from advtransfer.result import Run
from advtransfer.result.record import pack_outcomes, robust_share, unpack_outcomes
from advtransfer.result.run_folder import record_bytes
from advtransfer.result.verdict import verdict_from_checks
from advtransfer.types import Check, Outcome

Record: TypeAlias = dict[str, Any]  # Any: JSON

RESULTS = Path(__file__).parents[2] / "leaderboard" / "results" / "quickstart"


class Bundle:
    """A bundle whose records can be edited, as its author could."""

    board = ""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.records: dict[str, Record] = {}
        self.plan: Record = {}

    @classmethod
    def copy_of(cls, honest: Path, folder: Path) -> Bundle:
        shutil.copytree(honest, folder)
        bundle = cls(folder)
        for path in folder.glob("records/*"):
            records = map(json.loads, path.read_text().splitlines())
            bundle.records |= {record["id"]: record for record in records}
        bundle.plan = json.loads((folder / "plan.json").read_text())
        return bundle

    def write(self, order: Callable[[Iterable[str]], Iterable[str]] = sorted) -> None:
        """Write plan and records; the manifest stays as it is."""
        self.path.joinpath("records").mkdir(parents=True, exist_ok=True)
        for path in self.path.glob("records/*"):
            path.unlink()
        for kind in ("source", "fit", "result", "battery"):
            ids = order(id for id, record in self.records.items() if record["kind"] == kind)
            lines = [json.dumps(self.records[id], sort_keys=True) for id in ids]
            path = self.path / "records" / f"{kind}.jsonl"
            path.write_text("".join(f"{line}\n" for line in lines))
        (self.path / "plan.json").write_bytes(record_bytes(self.plan))

    def seal(self) -> None:
        """Write the manifest anew: every digest and the root agree with the files."""
        manifest = make_manifest(
            Run(self.path),
            name=self.path.name,
            board=self.board,
            who="a group",
            licence="MIT",
            citation="CITATION.cff",
        )
        (self.path / MANIFEST_FILE).write_bytes(record_bytes(manifest))

    # --- what a record says ---

    @staticmethod
    def name_of(trial: Record) -> str:
        """Return how faults name a trial."""
        return f"{trial['source']} -> {trial['target']} n={trial['n']} seed={trial['seed']} {trial['transfer']}"

    def trial(self, name: str) -> Record:
        return next(trial for trial in self.plan["trials"] if self.name_of(trial) == name)

    def result(self, name: str, evaluation: str) -> Record:
        return self.records[self.trial(name)["evaluations"][evaluation][0]]

    def derive(self, record: Record) -> None:
        """Make shares, intervals and verdict of a record agree with its outcomes and checks."""
        for name, packed in record["outcomes"].items():
            record["metrics"][name] = robust_share(unpack_outcomes(packed))
        checks = [Check(**check) for check in record["checks"]]
        value, reason, rules = verdict_from_checks(checks)
        record["verdict"] = {"value": value, "reason": reason, "rules": rules}

    def rename(self, old: str, asked: Mapping[str, Any]) -> str:  # Any: JSON
        """Give a record what another one was asked, everywhere; return its new id."""
        record = self.records.pop(old)
        record["asked"] = dict(asked)
        new = record["id"] = content_id(record["asked"])
        self.records[new] = record
        text = json.dumps([self.plan, list(self.records.values())]).replace(old, new)
        self.plan, records = json.loads(text)
        self.records = {each["id"]: each for each in records}
        return str(new)

    def change_outcomes(self, name: str) -> None:
        """Make more images robust to FGSM at a trial, and what the record computes of them."""
        record = self.result(name, "fgsm")
        metric = next(iter(record["outcomes"]))
        # Not those that are wrong without attack, which all outcomes of a model have in common.
        values = [
            Outcome.ROBUST if value == Outcome.BROKEN else value
            for value in unpack_outcomes(record["outcomes"][metric])
        ]
        record["outcomes"][metric] = pack_outcomes(values)
        self.derive(record)


@pytest.fixture(scope="session")
def host() -> Host:
    return Host.discover()


@pytest.fixture(scope="session")
def boards(host: Host) -> LocalBoards:
    """What a checkout knows without any file of a board: the shipped suite."""
    return load_boards(Path("quickstart/honest"), Path("boards"), host)


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory, host: Host) -> Path:
    """The committed quickstart as a submission, its records plain, one a line."""
    folder = tmp_path_factory.mktemp("results") / "quickstart" / "honest"
    Bundle.board = version_digest(planned_axes(plan_suite("quickstart", host).suite))
    origin = next(path.parent for path in sorted(RESULTS.rglob("plan.json")))
    run = Run(origin)
    bundle = Bundle(folder)
    bundle.records = {str(record["id"]): dict(record) for record in run.read_records()}
    bundle.plan = dict(run.read_plan())
    (folder / "environments").mkdir(parents=True)
    for path in (origin / "environments").iterdir():
        shutil.copy(path, folder / "environments")
    shutil.copy(origin / "suite.yaml", folder)
    (folder / "CITATION.cff").write_text("title: none\n")
    bundle.write()
    bundle.seal()
    return folder


@pytest.fixture(scope="session")
def board_folder(published: Path, tmp_path_factory: pytest.TempPathFactory, host: Host) -> Path:
    """A folder of boards in which the honest submission is listed with its root."""
    folder = tmp_path_factory.mktemp("checkout")
    suite = plan_suite("quickstart", host).suite
    manifest = json.loads((published / MANIFEST_FILE).read_text())
    listed = submission_of("honest", manifest)
    board = Board("quickstart", suite.title, {}, (), planned_axes(suite), (listed,))
    write_board(folder, board)
    return folder / "boards"


@pytest.fixture
def copy_bundle(published: Path, tmp_path: Path) -> Callable[[str], Bundle]:
    """A function that copies the honest bundle to a path such as ``quickstart/honest`` in the test's folder."""
    return lambda path: Bundle.copy_of(published, tmp_path / path)


@pytest.fixture
def bundle(copy_bundle: Callable[[str], Bundle]) -> Bundle:
    """A copy of the honest bundle."""
    return copy_bundle("quickstart/honest")
