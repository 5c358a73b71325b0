"""The index of a run folder's records: fast where nothing changed, never believed against the files."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from advtransfer.result import Record, Run, record_index
from advtransfer.result.record_file import examine_record
from advtransfer.result.record_index import INDEX_NAME, RecordIndex
from advtransfer.testing.records import complete_record

CHECK = {"name": "gradients", "grade": "pass", "value": 0.0, "limit": 1.0, "samples": 9, "text": ""}
INPUTS = {"model": "1" * 64, "test": "2" * 64}
BATTERY = complete_record(
    {"kind": "battery", "checks": [CHECK]}, inputs=INPUTS, options={"norm": "l2", "eps": 1.0}
)
RESULT = complete_record(
    {"kind": "result", "checks": [CHECK], "battery": BATTERY["id"]}, inputs=INPUTS
)
FIT = complete_record({"kind": "fit", "facts": {"loss": 0.25}})
IDS = {str(record["id"]) for record in (BATTERY, RESULT, FIT)}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run with three records, whose index is written at the first look."""
    monkeypatch.setattr(record_index, "WORTH_WRITING", 1)
    # No file is too new: its time of change cannot be set back.
    monkeypatch.setattr(record_index, "MTIME_GRANULARITY_NS", -(10**12))
    run = Run(tmp_path / "run")
    for record in (BATTERY, RESULT, FIT):
        run.write_record(record)
    assert IDS == run.finished_ids()
    assert (run.path / INDEX_NAME).is_file()
    return run


@pytest.fixture
def examined(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the records that are read from now on."""
    ids: list[str] = []

    def note(path: Path, run: Path) -> tuple[Record | None, str | None]:
        ids.append(path.stem)
        return examine_record(path, run)

    monkeypatch.setattr(record_index, "examine_record", note)
    return ids


def path_of(run: Run, record: Record) -> Path:
    return run.path / "records" / str(record["id"])[:2] / f"{record['id']}.json"


def overwrite(path: Path, old: str, new: str) -> None:
    """Change a file in place, with its size and its time of modification kept."""
    before = path.stat()
    text = path.read_text()
    assert len(old) == len(new)
    assert old in text
    path.write_text(text.replace(old, new))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_unchanged_records_are_not_read_again(run: Run, examined: list[str]) -> None:
    again = Run(run.path)

    assert IDS == again.finished_ids()
    assert {} == again.damaged_records()
    assert [] == examined
    assert IDS == {str(record["id"]) for record in again.read_records()}


def test_one_altered_record_is_read_and_found(run: Run, examined: list[str]) -> None:
    overwrite(path_of(run, FIT), '"format": 1', '"format": 2')
    again = Run(run.path)

    assert [f"records/{str(FIT['id'])[:2]}/{FIT['id']}.json"] == list(again.damaged_records())
    assert IDS - {FIT["id"]} == again.finished_ids()
    assert {FIT["id"]} == set(examined)


def test_an_altered_battery_refuses_its_result(run: Run) -> None:
    overwrite(path_of(run, BATTERY), '"value": 0.0', '"value": 0.1')
    again = Run(run.path)

    assert IDS - {RESULT["id"]} == again.finished_ids()
    assert "other checks (gradients)" in next(iter(again.damaged_records().values()))


def test_records_that_come_and_go_are_seen_at_once(run: Run) -> None:
    another = complete_record({"kind": "fit"}, options={"another": True})
    run.write_record(another)
    path_of(run, FIT).unlink()

    expected = IDS - {FIT["id"]} | {another["id"]}
    assert expected == run.finished_ids()
    assert expected == Run(run.path).finished_ids()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[:-5],
        lambda content: content.replace(b"[", b"{", 1),
        lambda content: b"[]\n" + content,
        lambda content: b"[" * 100_000,
    ],
    ids=["empty", "cut off", "altered", "without its digest", "deep"],
)
def test_a_damaged_index_is_made_again(
    damage: Callable[[bytes], bytes], run: Run, examined: list[str]
) -> None:
    path = run.path / INDEX_NAME
    content = path.read_bytes()
    path.write_bytes(damage(content))

    assert IDS == Run(run.path).finished_ids()
    assert IDS == set(examined)
    # Groups of records by the order in which they were read: the same content.
    assert len(content) == len(path.read_bytes())


def test_an_index_of_other_code_is_not_used(
    run: Run, examined: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_index, "own_code_digest", lambda: b"another release")

    assert IDS == Run(run.path).finished_ids()
    assert IDS == set(examined)


def test_an_index_that_came_with_other_files_says_nothing(
    run: Run, tmp_path: Path, examined: list[str]
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run.path, copy)

    assert IDS == Run(copy).finished_ids()
    assert IDS == set(examined)


def test_a_record_that_has_just_changed_is_read_again(
    tmp_path: Path, examined: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_index, "WORTH_WRITING", 1)
    run = Run(tmp_path)
    run.write_record(FIT)
    run.finished_ids()
    index = RecordIndex(tmp_path)

    assert [FIT["id"]] == examined
    assert {} == index.states


def test_the_record_of_a_linked_folder_is_refused(run: Run, tmp_path: Path) -> None:
    folder = path_of(run, FIT).parent
    folder.rename(tmp_path / "elsewhere")
    folder.symlink_to(tmp_path / "elsewhere")

    assert FIT["id"] not in Run(run.path).finished_ids()
    assert "a link" in next(iter(Run(run.path).damaged_records().values()))


def test_a_folder_that_cannot_be_written_is_read_without_an_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_index, "WORTH_WRITING", 1)
    run = Run(tmp_path)
    run.write_record(FIT)
    (tmp_path / INDEX_NAME).mkdir()

    assert {FIT["id"]} == run.finished_ids()
