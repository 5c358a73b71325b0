"""Files of a bundle may hold anything: each is refused with a fault, none is opened that should not be."""

from __future__ import annotations

import lzma
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from advtransfer.errors import BadInput
from advtransfer.host import Host
from advtransfer.planning import Plan
from advtransfer.publication.board_check import LocalBoards, load_boards
from advtransfer.publication.cells import plan_bundle
from advtransfer.publication.examples import suite_index
from advtransfer.publication.verify import verify_bundle

if TYPE_CHECKING:
    from tests.publication.conftest import Bundle


@pytest.mark.parametrize("name", ["link", "../", "large", "many", "device"])
def test_files_that_may_not_be_opened_end_the_reading(
    name: str, bundle: Bundle, boards: LocalBoards, host: Host
) -> None:
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


@pytest.mark.parametrize(
    "name",
    ["manifest.json", "plan.json", "records/result.jsonl", "environments/*.json", "attempts.jsonl"],
)
def test_a_key_that_stands_twice_is_a_fault_by_file_and_key(
    name: str, bundle: Bundle, boards: LocalBoards, host: Host
) -> None:
    """Other readers of the same bytes would see another value than the one that was verified."""
    file = next(bundle.path.glob(name), bundle.path / name)
    text = file.read_text() if file.exists() else '{"id": "x", "reason": "y"}\n'
    file.write_text(text.replace("{", '{"twice": 1, "twice": 2, ', 1))
    found = verify_bundle(bundle.path, boards=boards, host=host)

    where = file.relative_to(bundle.path).as_posix()
    texts = [str(fault) for fault in found.faults]
    assert any(where in text and "found the key 'twice' twice" in text for text in texts)


def test_what_a_suite_extends_is_not_opened(
    bundle: Bundle, boards: LocalBoards, host: Host, tmp_path: Path
) -> None:
    """A parent elsewhere could be any file of the machine, and its text was printed as a fault."""
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


def test_a_bomb_is_refused_once_in_a_second_and_200_mib(bundle: Bundle) -> None:
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
    bundle: Bundle,
    board_folder: Path,
    host: Host,
) -> None:
    id, record = next(item for item in bundle.records.items() if item[1]["kind"] == kind)
    asked = record["asked"]
    bundle.rename(id, {**asked, field: {**asked[field], name: value}})
    bundle.write()
    boards = load_boards(bundle.path, board_folder, host)

    assert verify_bundle(bundle.path, boards=boards, host=host).faults


def test_a_plan_of_other_kinds_is_a_fault(bundle: Bundle, boards: LocalBoards, host: Host) -> None:
    for plan in ("[]", "{}", '{"suite": "../x"}', "[" * 10**5):
        (bundle.path / "plan.json").write_text(plan)

        assert verify_bundle(bundle.path, boards=boards, host=host).faults
