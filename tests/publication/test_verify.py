"""What is verified of an honest bundle, what the report says, and faults by cell."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import pytest
from click.testing import CliRunner

from advtransfer.cli import main
from advtransfer.host import Host
from advtransfer.publication.board_check import LocalBoards
from advtransfer.publication.challenge_checks import check_challenges
from advtransfer.publication.record_names import ATTACK_CHECKS, MODEL_CHECKS, name_faults
from advtransfer.publication.report import verification_lines
from advtransfer.publication.verify import verify_bundle
from advtransfer.result.battery_index import battery_version
from advtransfer.result.challenges import Challenge, challenge_path
from advtransfer.result.record import battery_ids
from advtransfer.result.run_folder import record_bytes

if TYPE_CHECKING:
    from tests.publication.conftest import Bundle

Record: TypeAlias = dict[str, Any]  # Any: JSON

CELL = "linf 0.1[seed=0] -> digits_5_9 n=20 seed=0 probe"
OTHER_CELL = "natural[seed=1] -> digits_5_9 n=20 seed=1 probe"


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


def test_a_metric_too_many_and_deleted_checks_are_faults_by_cell(
    bundle: Bundle, boards: LocalBoards, host: Host
) -> None:
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


@pytest.mark.parametrize("command", ["verify", "compare"])
def test_no_label_gets_a_line_of_its_own(command: str, bundle: Bundle, published: Path) -> None:
    """What reads the log of a workflow takes such a line for a command."""
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
    bundle: Bundle, boards: LocalBoards, host: Host
) -> None:
    """Without examples a challenge that agrees with the records is believed by nobody, and noted."""
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
