"""Ten ways to cheat with a published bundle, each naive (digests left alone) and thorough (all made consistent)."""

from __future__ import annotations

import json
import lzma
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from click.testing import CliRunner

from advtransfer.cli import main
from advtransfer.errors import BadInput
from advtransfer.host import Host
from advtransfer.node import content_id
from advtransfer.planning import Plan
from advtransfer.publication.board import (
    Board,
    planned_axes,
    read_boards,
    version_digest,
    write_board,
)
from advtransfer.publication.board_check import LocalBoards, load_boards
from advtransfer.publication.cells import plan_bundle, plan_suite
from advtransfer.publication.challenge_checks import check_challenges
from advtransfer.publication.examples import suite_index
from advtransfer.publication.manifest import MANIFEST_FILE, make_manifest, read_manifest
from advtransfer.publication.pages import submission_of
from advtransfer.publication.record_names import ATTACK_CHECKS, MODEL_CHECKS, name_faults
from advtransfer.publication.report import verification_lines
from advtransfer.publication.verify import Verification, verify_bundle
from advtransfer.result import Run
from advtransfer.result.battery_index import battery_version
from advtransfer.result.challenges import Challenge, challenge_path
from advtransfer.result.record import battery_ids, pack_outcomes, robust_share, unpack_outcomes
from advtransfer.result.run_folder import record_bytes
from advtransfer.result.verdict import verdict_from_checks
from advtransfer.types import Check, Outcome

Record: TypeAlias = dict[str, Any]  # Any: JSON

RESULTS = Path(__file__).parents[2] / "leaderboard" / "results" / "quickstart"
CELL = "linf 0.1[seed=0] -> digits_5_9 n=20 seed=0 probe"
OTHER_CELL = "natural[seed=1] -> digits_5_9 n=20 seed=1 probe"


@pytest.fixture(scope="module")
def host() -> Host:
    return Host.discover()


@pytest.fixture(scope="module")
def boards(host: Host) -> LocalBoards:
    """What a checkout knows without any file of a board: the shipped suite."""
    return load_boards(Path("quickstart/honest"), Path("boards"), host)


@pytest.fixture(scope="module")
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

    def trial(self, name: str) -> Record:
        return next(trial for trial in self.plan["trials"] if _name(trial) == name)

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


def _name(trial: Record) -> str:
    return f"{trial['source']} -> {trial['target']} n={trial['n']} seed={trial['seed']} {trial['transfer']}"


def _record_ids(trial: Record) -> list[str]:
    return [trial["id"], *(id for ids in trial["evaluations"].values() for id in ids)]


# --- ten ways to cheat: each edits records and plan ---


def drop_a_seed(bundle: Bundle) -> None:
    for id in _record_ids(bundle.trial(CELL)):
        del bundle.records[id]
    bundle.plan["trials"].remove(bundle.trial(CELL))


def drop_records(bundle: Bundle) -> None:
    del bundle.records[bundle.result(CELL, "auto")["id"]]


def change_a_number(bundle: Bundle) -> None:
    metric = bundle.result(CELL, "clean")["metrics"]["accuracy"]
    metric["value"] = metric["low"] = metric["high"] = 0.999


def change_outcomes(bundle: Bundle) -> None:
    record = bundle.result(CELL, "fgsm")
    name = next(iter(record["outcomes"]))
    values = [Outcome.ROBUST, *unpack_outcomes(record["outcomes"][name])[1:]]
    values = [Outcome.ROBUST if index % 5 else value for index, value in enumerate(values)]
    record["outcomes"][name] = pack_outcomes(values)
    bundle.derive(record)


def swap_records(bundle: Bundle) -> None:
    """A better model's outcomes stand under a worse one's id too."""
    ours, theirs = bundle.result(CELL, "clean"), bundle.result(OTHER_CELL, "clean")
    ours["outcomes"] = json.loads(json.dumps(theirs["outcomes"]))
    bundle.derive(ours)


def weaken_eps(bundle: Bundle) -> None:
    record = bundle.result(CELL, "fgsm")
    options = {**record["asked"]["options"], "eps": 0.05}
    record["asked"] = {**record["asked"], "options": options}


def shorten_the_attack(bundle: Bundle) -> None:
    record = bundle.result(CELL, "auto")
    options = {**record["asked"]["options"], "steps": 1}
    record["asked"] = {**record["asked"], "options": options}


def mix_versions(bundle: Bundle) -> None:
    record = bundle.result(CELL, "fgsm")
    record["asked"] = {**record["asked"], "version": 1}


def relabel_outcomes(bundle: Bundle) -> None:
    """Outcomes that were unknown are packed as robust; what was computed of them stays."""
    record = bundle.result(CELL, "auto")
    name = next(name for name in record["outcomes"] if name.startswith("robust_accuracy"))
    values = unpack_outcomes(record["outcomes"][name])
    values[values.index(Outcome.BROKEN)] = Outcome.ROBUST
    record["outcomes"][name] = pack_outcomes(values)


def hide_unfinished_attacks(bundle: Bundle) -> None:
    """Of a result with many unknown outcomes, the checks say that every attack ended."""
    record = bundle.result(CELL, "auto")
    name = next(name for name in record["outcomes"] if name.startswith("robust_accuracy"))
    values = unpack_outcomes(record["outcomes"][name])
    values = [Outcome.UNKNOWN if value == Outcome.BROKEN else value for value in values]
    record["outcomes"][name] = pack_outcomes(values)
    for check in record["checks"]:
        if check["name"] in ("finished", "missed"):
            check |= {"grade": "pass", "value": 0.0}
    bundle.derive(record)


def raise_a_limit(bundle: Bundle) -> None:
    record = bundle.result(CELL, "auto")
    check = next(check for check in record["checks"] if check["name"] == "legal_examples")
    check |= {"value": 3, "limit": 5}


def lengthen_a_file(bundle: Bundle) -> None:
    """Nothing but the bytes of a file: a blank at the end of a text that no number rests on."""
    (bundle.path / "CITATION.cff").write_text("title: another\n")


def edit_a_checksum(bundle: Bundle) -> None:
    manifest = json.loads((bundle.path / MANIFEST_FILE).read_text())
    manifest["files"]["CITATION.cff"]["sha256"] = "0" * 64
    (bundle.path / MANIFEST_FILE).write_text(json.dumps(manifest))


def edit_the_root(bundle: Bundle) -> None:
    manifest = json.loads((bundle.path / MANIFEST_FILE).read_text())
    (bundle.path / MANIFEST_FILE).write_text(json.dumps(manifest | {"root": "0" * 64}))


NAIVE: Mapping[str, tuple[Callable[[Bundle], None], str, str]] = {
    "drop a seed": (drop_a_seed, "plan.json", CELL),
    "drop a record": (drop_records, "records", f"{CELL}, auto"),
    "change a number": (change_a_number, "records/result.jsonl", f"{CELL}, clean"),
    "swap a record": (swap_records, "records/result.jsonl", f"{CELL}, clean, accuracy"),
    "weaken eps": (weaken_eps, "records/result.jsonl", f"{CELL}, fgsm"),
    "shorten the attack": (shorten_the_attack, "records/result.jsonl", f"{CELL}, auto"),
    "mix versions": (mix_versions, "records/result.jsonl", f"{CELL}, fgsm"),
    "unknown as robust": (relabel_outcomes, "records/result.jsonl", f"{CELL}, auto"),
    "unknown as finished": (hide_unfinished_attacks, "records/result.jsonl", f"{CELL}, auto"),
    "raise a limit": (raise_a_limit, "records/result.jsonl", f"{CELL}, auto"),
    "change outcomes": (change_outcomes, "records/result.jsonl", ""),
    "edit a file": (lengthen_a_file, "CITATION.cff", ""),
    "edit a checksum": (edit_a_checksum, "CITATION.cff", ""),
    "edit the root": (edit_the_root, MANIFEST_FILE, ""),
}


@pytest.mark.parametrize("name", NAIVE)
def test_naive_cheats_are_found_by_file_and_cell(
    name: str, published: Path, boards: LocalBoards, host: Host, tmp_path: Path
) -> None:
    cheat, where, cell = NAIVE[name]
    bundle = Bundle.copy_of(published, tmp_path / "quickstart" / "honest")
    cheat(bundle)
    bundle.write()
    found = verify_bundle(bundle.path, boards=boards, host=host)

    assert _names(found, where, cell)
    assert _names(found, "", ""), "a file without its digest"
    assert any(fault.where == MANIFEST_FILE or "sha256" in fault.text for fault in found.faults)


def _names(found: Verification, where: str, cell: str) -> bool:
    """Return whether a fault is in a file and about a cell; an empty text stands for any."""
    return any(
        fault.where.rpartition(":")[0] == where or fault.where == where or not where
        for fault in found.faults
        if fault.cell == cell or not cell
    )


def test_the_honest_bundle_is_verified_without_torch(published: Path) -> None:
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from advtransfer.host import Host\n"
        "from advtransfer.publication.board_check import load_boards\n"
        "from advtransfer.publication.verify import verify_bundle\n"
        "host, bundle = Host.discover(), Path(sys.argv[1])\n"
        "boards = load_boards(bundle, Path('boards'), host)\n"
        "found = verify_bundle(bundle, boards=boards, host=host)\n"
        "print([str(fault) for fault in found.faults], 'torch' in sys.modules, time.process_time())\n"
    )
    child = subprocess.run(
        [sys.executable, "-c", script, str(published)], capture_output=True, text=True, check=True
    )
    faults, has_torch, seconds = child.stdout.split()

    assert ("[]", "False") == (faults, has_torch)
    assert float(seconds) < 10


def test_the_report_says_what_was_recomputed_and_what_nothing_here_sees(
    published: Path, boards: LocalBoards, host: Host
) -> None:
    found = verify_bundle(published, boards=boards, host=host)
    report = "\n".join(verification_lines(found))

    assert 252 == found.records.total()
    assert "192 shares with intervals" in report
    assert "144 comparisons with batteries" in report
    assert "not seen here: outcomes that were changed together" in report
    assert report.endswith("verified: nothing is wrong")


def thorough_rename(cheat: Callable[[Bundle], None]) -> Callable[[Bundle], None]:
    """Return a cheat that also gives each record the id of what it now says it was asked."""

    def renamed(bundle: Bundle) -> None:
        cheat(bundle)
        for id, record in list(bundle.records.items()):
            if content_id(record["asked"]) != id:
                bundle.rename(id, record["asked"])

    return renamed


def drop_a_seed_everywhere(bundle: Bundle, *, of_sources: bool = True) -> None:
    """Two of three seeds: suite, plan and records agree."""
    text = (bundle.path / "suite.yaml").read_text()
    text = text.replace("{count: 3, paired: true}", "{count: 2, paired: true}")
    if of_sources:
        text = text.replace("seeds: 3", "seeds: 2")
        for id, label in list(bundle.plan["sources"].items()):
            if label.endswith("[seed=2]"):
                del bundle.plan["sources"][id], bundle.records[id]
    (bundle.path / "suite.yaml").write_text(text)
    for trial in [trial for trial in bundle.plan["trials"] if trial["seed"] == 2]:
        bundle.plan["trials"].remove(trial)
        for id in _record_ids(trial):
            battery = bundle.records.pop(id).get("battery")
            bundle.records.pop(str(battery), None)


def spoil_the_suite(bundle: Bundle) -> None:
    """A suite that gives no plan: three trainings cannot be paired with two seeds."""
    drop_a_seed_everywhere(bundle, of_sources=False)


def weaken_eps_everywhere(bundle: Bundle) -> None:
    text = (bundle.path / "suite.yaml").read_text()
    weaker = text.replace(
        "{use: foolbox/fgsm, norm: linf, eps: 0.1}", "{use: foolbox/fgsm, norm: linf, eps: 0.05}"
    )
    (bundle.path / "suite.yaml").write_text(weaker)
    for trial in list(bundle.plan["trials"]):
        record = bundle.result(_name(trial), "fgsm")
        options = {**record["asked"]["options"], "eps": 0.05}
        bundle.rename(record["id"], {**record["asked"], "options": options})


def forge_class_shares(bundle: Bundle) -> None:
    """One result says that nearly any accuracy is above guessing."""
    bundle.result(CELL, "clean")["labels"]["largest_class"] = 1 / 269


def forge_weights(bundle: Bundle) -> None:
    bundle.result(CELL, "clean")["provenance"]["weights"]["model"] = "1" * 64


def forge_the_device(bundle: Bundle) -> None:
    bundle.result(CELL, "clean")["provenance"]["device"] = "cuda"


THOROUGH: Mapping[str, tuple[Callable[[Bundle], None], str]] = {
    "drop a seed": (drop_a_seed, CELL),
    "drop a seed, in the suite": (drop_a_seed_everywhere, "target digits_5_9"),
    "no plan": (spoil_the_suite, ""),
    "weaken eps": (thorough_rename(weaken_eps), CELL),
    "weaken eps, in the suite": (weaken_eps_everywhere, "evaluation fgsm"),
    "shorten the attack": (thorough_rename(shorten_the_attack), CELL),
    "mix versions": (thorough_rename(mix_versions), CELL),
    "unknown as finished": (hide_unfinished_attacks, f"{CELL}, auto"),
    "outcomes a second time": (swap_records, f"{CELL}, clean, accuracy"),
    "raise a limit": (raise_a_limit, f"{CELL}, auto"),
    "forge class shares": (forge_class_shares, f"{CELL}, clean"),
    "forge weights": (forge_weights, f"{CELL}, clean"),
    "forge the device": (forge_the_device, f"{CELL}, clean"),
}


@pytest.mark.parametrize("name", THOROUGH)
def test_thorough_cheats_that_ids_or_outcomes_show_are_found(
    name: str, published: Path, boards: LocalBoards, host: Host, tmp_path: Path
) -> None:
    cheat, cell = THOROUGH[name]
    bundle = Bundle.copy_of(published, tmp_path / "quickstart" / "honest")
    cheat(bundle)
    for record in bundle.records.values():
        if record["kind"] == "result":
            bundle.derive(record)
    bundle.write()
    bundle.seal()
    found = verify_bundle(bundle.path, boards=boards, host=host)

    assert _names(found, "", cell), [str(fault) for fault in found.faults]
    assert not any(fault.where == MANIFEST_FILE for fault in found.faults)


@pytest.mark.parametrize("sealed", [False, True])
def test_reordered_records_are_found(
    sealed: bool, published: Path, boards: LocalBoards, host: Host, tmp_path: Path
) -> None:
    bundle = Bundle.copy_of(published, tmp_path / "quickstart" / "honest")
    bundle.write(order=lambda ids: sorted(ids, reverse=True))
    if sealed:
        bundle.seal()
    found = verify_bundle(bundle.path, boards=boards, host=host)

    assert any("expected the order of ids" in fault.text for fault in found.faults)
    assert sealed != any("sha256" in fault.text for fault in found.faults)


def test_a_thorough_change_of_outcomes_is_what_offline_checks_cannot_see(
    published: Path, boards: LocalBoards, host: Host, tmp_path: Path
) -> None:
    """The gap that the report states; if this fails, the report says too little."""
    bundle = Bundle.copy_of(published, tmp_path / "quickstart" / "honest")
    change_outcomes(bundle)
    bundle.write()
    bundle.seal()

    assert [] == verify_bundle(bundle.path, boards=boards, host=host).faults


@pytest.mark.parametrize("name", ["link", "../", "large", "many", "device"])
def test_files_that_may_not_be_opened_end_the_reading(
    name: str, published: Path, boards: LocalBoards, host: Host, tmp_path: Path
) -> None:
    bundle = Bundle.copy_of(published, tmp_path / "quickstart" / "honest")
    match name:
        case "link":
            (bundle.path / "files").symlink_to("/etc")
        case "../":
            (bundle.path / "..\\x").touch()
        case "large":
            (bundle.path / "large.png").touch()
            with (bundle.path / "large.png").open("r+b") as file:
                file.truncate(2**40)
        case "many":
            for index in range(11):
                (bundle.path / f"{index}.png").write_bytes(bytes(2**20 - 1))
        case _:
            import os

            os.mkfifo(bundle.path / "pipe")
    found = verify_bundle(bundle.path, boards=boards, host=host)

    assert found.faults
    assert any("not read further" in note for note in found.notes)
    assert found.plan is None


def test_what_a_suite_extends_is_not_opened(
    published: Path, boards: LocalBoards, host: Host, tmp_path: Path
) -> None:
    """A parent elsewhere could be any file of the machine, and its text was printed as a fault."""
    bundle = Bundle.copy_of(published, tmp_path / "quickstart" / "honest")
    suite = bundle.path / "suite.yaml"
    (tmp_path / "outside.yaml").write_text(suite.read_text() + "# a secret\n")
    merged = f"a: &b {{extends: {tmp_path}/outside.yaml}}\n<<: *b\n"
    for text in ("extends: ../../outside.yaml\n", f"extends: {tmp_path}/outside.yaml\n", merged):
        suite.write_text(text)
        bundle.seal()
        found = verify_bundle(bundle.path, boards=boards, host=host)

        (fault,) = found.faults
        assert fault.where.startswith("suite.yaml:")
        assert "found `extends`" in fault.text
        assert "outside" not in fault.text
        assert isinstance(plan_bundle(bundle.path, host), list)
    with (
        pytest.raises(BadInput, match="found `extends`"),
        suite_index(bundle.path, Plan.from_json(bundle.plan), host),
    ):
        pass


@pytest.fixture(scope="module")
def board_folder(published: Path, tmp_path_factory: pytest.TempPathFactory, host: Host) -> Path:
    """A folder of boards in which the honest submission is listed with its root."""
    folder = tmp_path_factory.mktemp("checkout")
    suite = plan_suite("quickstart", host).suite
    manifest = json.loads((published / MANIFEST_FILE).read_text())
    listed = submission_of("honest", manifest)
    board = Board("quickstart", suite.title, {}, (), planned_axes(suite), (listed,))
    write_board(folder, board)
    return folder / "boards"


def test_a_root_that_is_not_the_one_in_the_board_was_changed_later(
    published: Path, board_folder: Path, host: Host, tmp_path: Path
) -> None:
    bundle = Bundle.copy_of(published, tmp_path / "quickstart" / "honest")
    boards = load_boards(bundle.path, board_folder, host)
    assert [] == verify_bundle(bundle.path, boards=boards, host=host).faults
    # Consistent in itself, and seen all the same: the board's index has the root of before.
    change_outcomes(bundle)
    bundle.write()
    bundle.seal()
    found = verify_bundle(bundle.path, boards=boards, host=host)

    assert ["manifest.json"] == [fault.where for fault in found.faults]
    assert "which the board's index has: it was changed later" in found.faults[0].text


def test_a_metric_too_many_and_deleted_checks_are_faults_by_cell(
    published: Path, boards: LocalBoards, host: Host, tmp_path: Path
) -> None:
    bundle = Bundle.copy_of(published, tmp_path / "quickstart" / "honest")
    result = bundle.result(CELL, "auto")
    result["outcomes"]["robust_accuracy@0.2"] = result["outcomes"]["robust_accuracy@0.1"]
    bundle.derive(result)
    # The check is left out of the battery and of the result, so that both agree.
    other = bundle.result(OTHER_CELL, "auto")
    (battery,) = set(battery_ids(other))
    for record in (other, bundle.records[battery]):
        record["checks"] = [each for each in record["checks"] if each["name"] != "noise"]
    bundle.derive(other)
    bundle.write()
    bundle.seal()
    found = [str(fault) for fault in verify_bundle(bundle.path, boards=boards, host=host).faults]

    metrics = [text for text in found if f"{CELL}, auto" in text]
    assert any("expected the radius 0.1, as asked for" in text for text in metrics)
    assert any("expected clean_accuracy, robust_accuracy@0.1, as in" in text for text in metrics)
    checks = [text for text in found if text not in metrics]
    assert any("records/battery" in text and "found the checks" in text for text in checks)


def test_a_battery_of_today_has_its_full_list_of_checks_and_its_result_has_them_too() -> None:
    asked: Record = {"use": "host/battery", "options": {"norm": "linf", "eps": 0.1}, "inputs": {}}
    asked["version"] = battery_version("linf")
    full = [{"name": name} for name in sorted(MODEL_CHECKS | ATTACK_CHECKS)]
    battery: Record = {"id": "b", "kind": "battery", "asked": asked, "outcomes": {"noise": {}}}
    result: Record = {
        "id": "r",
        "kind": "result",
        "battery": "b",
        "outcomes": {},
        "checks": full[1:],
    }
    result["asked"] = {**asked, "use": "foolbox/pgd"}

    assert [] == list(name_faults([{**battery, "checks": full}]))
    (lacking,) = name_faults([{**battery, "checks": full[1:]}])
    assert lacking.text.startswith(f"found no checks {full[0]['name']}; expected all")
    (lacking,) = name_faults([{**battery, "checks": full}, result])
    assert ("r", True) == (lacking.id, full[0]["name"] in lacking.text)


def test_credits_that_are_not_those_in_the_board_were_changed_later(
    published: Path, board_folder: Path, host: Host, tmp_path: Path
) -> None:
    bundle = Bundle.copy_of(published, tmp_path / "quickstart" / "honest")
    boards = load_boards(bundle.path, board_folder, host)
    path = bundle.path / MANIFEST_FILE
    manifest = json.loads(path.read_text()) | {"who": "others", "licence": "CC0-1.0"}
    path.write_bytes(record_bytes(manifest))
    texts = [fault.text for fault in verify_bundle(bundle.path, boards=boards, host=host).faults]

    assert [
        "found the who 'others'; expected 'a group', which the board's index has: it was changed later",
        "found the licence 'CC0-1.0'; expected 'MIT', which the board's index has: it was changed later",
    ] == texts


def test_a_citation_that_is_not_the_one_in_the_board_was_changed_later(
    published: Path, board_folder: Path, host: Host, tmp_path: Path
) -> None:
    bundle = Bundle.copy_of(published, tmp_path / "quickstart" / "honest")
    boards = load_boards(bundle.path, board_folder, host)
    (bundle.path / "CITATION.cff").write_text("title: cite somebody else\n")
    # The root covers records, not credits, so every file of the bundle agrees with the others.
    bundle.seal()
    (fault,) = verify_bundle(bundle.path, boards=boards, host=host).faults

    assert fault.where == "manifest.json"
    assert fault.text.startswith("found the citation '")
    assert "which the board's index has: it was changed later" in fault.text
    manifest = json.loads((bundle.path / MANIFEST_FILE).read_text())
    for citation in ("suite.yaml", "other"):
        (bundle.path / MANIFEST_FILE).write_bytes(record_bytes(manifest | {"citation": citation}))
        texts = [str(each) for each in verify_bundle(bundle.path, boards=boards, host=host).faults]
        assert any("found the citation '" in text for text in texts), citation


def test_credits_of_the_same_records_can_be_published_again(
    board_folder: Path, published: Path
) -> None:
    (board,) = read_boards(board_folder.parent)
    listed = replace(board.submissions[0], status="withdrawn")
    renewed = replace(submission_of("honest", read_manifest(published)), who="b", citation="c" * 64)
    other = replace(listed, root="d" * 64, status="superseded")
    entries = replace(board, submissions=(other, listed)).with_credits(renewed).submissions

    # What was withdrawn stays so, and the entry of other records is left alone.
    assert (other, replace(renewed, status="withdrawn")) == entries


@pytest.mark.parametrize(
    ("statuses", "is_noted"),
    [(("superseded", "accepted"), False), (("superseded", "withdrawn"), True)],
)
def test_the_last_entry_of_a_name_says_whether_it_is_ranked(
    published: Path, host: Host, tmp_path: Path, statuses: tuple[str, str], is_noted: bool
) -> None:
    manifest = json.loads((published / MANIFEST_FILE).read_text())
    suite = plan_suite("quickstart", host).suite
    listed = submission_of("honest", manifest)
    entries = tuple(
        replace(listed, root=root, status=status)
        for root, status in zip(("e" * 64, listed.root), statuses, strict=True)
    )
    write_board(tmp_path, Board("quickstart", suite.title, {}, (), planned_axes(suite), entries))
    boards = load_boards(published, tmp_path / "boards", host)
    found = verify_bundle(published, boards=boards, host=host)

    assert [] == found.faults
    notes = [note for note in found.notes if "the board's index says" in note]
    expected = f"the board's index says that this submission is {statuses[-1]}"
    assert ([expected] if is_noted else []) == notes


def test_records_of_an_earlier_submission_are_credited_to_it(
    published: Path, board_folder: Path, host: Host, tmp_path: Path
) -> None:
    folder = tmp_path / "quickstart"
    shutil.copytree(published, folder / "honest")
    copy = Bundle.copy_of(published, folder / "copied")
    boards = load_boards(copy.path, board_folder, host)
    naive = verify_bundle(copy.path, boards=boards, host=host)
    assert "found the name 'honest'; expected 'copied', its folder" in naive.faults[0].text
    copy.seal()
    notes = {
        name: " ".join(verify_bundle(folder / name, boards=boards, host=host).notes)
        for name in ("honest", "copied")
    }

    assert "252 records are those of 'honest', and are credited to it" in notes["copied"]
    assert "credited" not in notes["honest"]


def test_a_source_with_other_weights_than_the_board_has_is_named(
    published: Path, board_folder: Path, host: Host, tmp_path: Path
) -> None:
    folder = tmp_path / "quickstart"
    shutil.copytree(published, folder / "honest")
    other = Bundle.copy_of(published, folder / "later")
    (id,) = [each for each, label in other.plan["sources"].items() if label == "natural[seed=1]"]
    text = json.dumps(list(other.records.values()))
    text = text.replace(other.records[id]["weights"]["digest"], "1" * 64)
    other.records = {record["id"]: record for record in json.loads(text)}
    other.write()
    other.seal()
    boards = load_boards(other.path, board_folder, host)
    found = verify_bundle(other.path, boards=boards, host=host)

    assert [] == found.faults
    assert "1 sources and fits have other weights than in 'honest'" in " ".join(found.notes)


def test_another_board_than_that_of_the_checkout_is_a_fault(
    published: Path, boards: LocalBoards, host: Host, tmp_path: Path
) -> None:
    bundle = Bundle.copy_of(published, tmp_path / "quickstart" / "honest")
    bundle.board = "b" * 64
    bundle.seal()
    found = verify_bundle(bundle.path, boards=boards, host=host)

    assert [MANIFEST_FILE] == [fault.where for fault in found.faults]
    assert "found the board bbbbbbbbbbbb; expected one of this checkout" in found.faults[0].text


def test_without_a_board_a_bundle_is_not_verified_unless_one_says_so(
    published: Path, tmp_path: Path
) -> None:
    bundle = Bundle.copy_of(published, tmp_path / "mine" / "honest")
    bundle.plan["suite"] = "mine"
    bundle.write()
    (bundle.path / "suite.yaml").rename(tmp_path / "suite.yaml")
    shutil.copy(tmp_path / "suite.yaml", bundle.path)
    bundle.seal()
    arguments = ["verify", str(bundle.path), "--boards", str(tmp_path / "boards")]
    refused = CliRunner().invoke(main, arguments)
    accepted = CliRunner().invoke(main, [*arguments, "--no-board"])

    assert (1, 0) == (refused.exit_code, accepted.exit_code)
    assert "found no board of 'mine' in this checkout; expected the one it is for" in refused.output
    assert "give --no-board if the suite is new here" in refused.output
    assert "verified: nothing is wrong" not in accepted.output
    assert "verified without a board" in accepted.output


def test_a_bomb_is_refused_once_in_a_second_and_200_mib(published: Path, tmp_path: Path) -> None:
    bundle = Bundle.copy_of(published, tmp_path / "quickstart" / "honest")
    (bundle.path / "records" / "result.jsonl").unlink()
    packer = lzma.LZMACompressor(preset=0)
    blank = bytes(1 << 20)
    packed = b"".join(packer.compress(blank) for _ in range(64)) + packer.flush()
    (bundle.path / "records" / "result.jsonl.xz").write_bytes(packed)
    script = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from advtransfer.host import Host\n"
        "from advtransfer.publication.board_check import LocalBoards\n"
        "from advtransfer.publication.verify import verify_bundle\n"
        "host, before = Host.discover(), time.process_time()\n"
        "found = verify_bundle(Path(sys.argv[1]), boards=LocalBoards(), host=host)\n"
        "seconds = time.process_time() - before\n"
        # The peak of this process alone: that of `resource` begins with the parent's.
        "status = Path('/proc/self/status')\n"
        "lines = status.read_text().splitlines() if status.exists() else []\n"
        "kib = next((line.split()[1] for line in lines if line.startswith('VmHWM')), 0)\n"
        "print(seconds, kib, *found.faults, *found.notes, sep='\\n')\n"
    )
    child = subprocess.run(
        [sys.executable, "-c", script, str(bundle.path)], capture_output=True, text=True, check=True
    )
    seconds, kib, *texts = child.stdout.splitlines()

    assert float(seconds) < 1
    assert int(kib) < 200 * 1024
    assert 1 == sum("unpacks to too many bytes" in text for text in texts)
    assert "not read further, since records cannot be read" == texts[-1]


def test_the_command_prints_every_fault_and_ends_with_1(published: Path, tmp_path: Path) -> None:
    bundle = Bundle.copy_of(published, tmp_path / "quickstart" / "honest")
    honest = CliRunner().invoke(main, ["verify", str(bundle.path)])
    change_a_number(bundle)
    weaken_eps(bundle)
    bundle.write()
    cheated = CliRunner().invoke(main, ["verify", str(bundle.path)])

    assert (0, 1) == (honest.exit_code, cheated.exit_code)
    assert "verified: nothing is wrong" in honest.output
    assert f"{CELL}, clean: found accuracy value 0.999; expected" in cheated.output
    assert f"{CELL}, fgsm: found the id" in cheated.output


@pytest.mark.parametrize("command", ["verify", "compare"])
def test_no_label_gets_a_line_of_its_own(command: str, published: Path, tmp_path: Path) -> None:
    """What reads the log of a workflow takes such a line for a command."""
    bundle = Bundle.copy_of(published, tmp_path / "quickstart" / "honest")
    for trial in bundle.plan["trials"]:
        trial["row"] = f"{trial['row']}\n::error::forged\r::error::x"
        trial["evaluations"] = {f"{x}\n::error::": ids for x, ids in trial["evaluations"].items()}
    for record in bundle.records.values():
        record["metrics"] = {f"{x}\n::error::": y for x, y in record.get("metrics", {}).items()}
    bundle.write()
    (bundle.path / "::error::").touch()
    (bundle.path / "a\n::error::").touch()
    paths = [str(bundle.path)] if command == "verify" else [str(published), str(bundle.path)]
    done = CliRunner().invoke(main, [command, *paths])
    (bundle.path / "::error::").unlink()
    (bundle.path / "a\n::error::").unlink()
    again = CliRunner().invoke(main, [command, *paths])
    lines = [*done.output.splitlines(), *again.output.splitlines()]

    assert "::error::" in again.output
    assert [] == [line for line in lines if line.lstrip().startswith("::")]


def test_a_forged_challenge_is_a_fault_or_said_to_be_unchecked(
    published: Path, boards: LocalBoards, host: Host, tmp_path: Path
) -> None:
    """Without examples a challenge that agrees with the records is believed by nobody, and noted."""
    bundle = Bundle.copy_of(published, tmp_path / "quickstart" / "honest")
    result = bundle.result(CELL, "auto")
    inputs = result["asked"]["inputs"]
    forged = Challenge(
        result=result["id"],
        metric="robust_accuracy@0.1",
        model=inputs["model"],
        test=inputs["test"],
        weights=bundle.records[inputs["model"]]["weights"]["digest"],
        norm="linf",
        eps=0.1,
        of=result["outcomes"]["robust_accuracy@0.1"]["of"],
        positions=[0, 1],
        examples="0" * 64,
        who="Forger\n::error::",
        date="2026-11-29",
    )
    folder = bundle.path / "challenges"
    folder.mkdir()
    other = replace(forged, result=inputs["model"])
    challenge_path(bundle.path, other.id).write_bytes(record_bytes(other.to_json()))
    (fault,) = verify_bundle(bundle.path, boards=boards, host=host).faults
    assert "expected one of this model and test part" in fault.text
    challenge_path(bundle.path, other.id).unlink()
    challenge_path(bundle.path, forged.id).write_bytes(record_bytes(forged.to_json()))
    assert [] == verify_bundle(bundle.path, boards=boards, host=host).faults
    (note,) = check_challenges(bundle.path, host=host).lines()
    assert "not checked again" in note
    assert "its examples are not here" in note
    assert "\n" not in note


@pytest.mark.parametrize(
    ("kind", "field", "name", "value"),
    [
        ("battery", "options", "eps", "wide"),
        ("battery", "options", "norm", []),
        ("battery", "inputs", "model", []),
        ("fit", "inputs", "subset", {}),
        ("result", "inputs", "test", [1]),
        ("result", "options", "eps", "x"),
    ],
)
def test_anything_may_be_asked_and_ends_in_faults(
    kind: str,
    field: str,
    name: str,
    value: object,
    published: Path,
    board_folder: Path,
    host: Host,
    tmp_path: Path,
) -> None:
    bundle = Bundle.copy_of(published, tmp_path / "quickstart" / "honest")
    id, record = next(item for item in bundle.records.items() if item[1]["kind"] == kind)
    asked = record["asked"]
    bundle.rename(id, {**asked, field: {**asked[field], name: value}})
    bundle.write()
    boards = load_boards(bundle.path, board_folder, host)

    assert verify_bundle(bundle.path, boards=boards, host=host).faults


def test_a_plan_of_other_kinds_is_a_fault(
    published: Path, boards: LocalBoards, host: Host, tmp_path: Path
) -> None:
    for number, plan in enumerate(("[]", "{}", '{"suite": "../x"}', "[" * 10**5)):
        bundle = Bundle.copy_of(published, tmp_path / str(number) / "quickstart" / "honest")
        (bundle.path / "plan.json").write_text(plan)

        assert verify_bundle(bundle.path, boards=boards, host=host).faults
