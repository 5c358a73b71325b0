"""Submissions above the limits: short records in the folder, the rest in an archive that `verify` checks."""

from __future__ import annotations

import json
import lzma
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias

import pytest
from click.testing import CliRunner

from advtransfer import runner, suite
from advtransfer.cli import main
from advtransfer.errors import BadInput
from advtransfer.files import file_sha256
from advtransfer.host import Host
from advtransfer.publication import bundle_files, external
from advtransfer.publication.external import Archive, shorten_record, whole_bundle
from advtransfer.publication.manifest import (
    MANIFEST_FILE,
    bundle_root,
    make_manifest,
    read_manifest,
)
from advtransfer.publication.publish import Origin, publish_run
from advtransfer.result import Run, bundle
from advtransfer.result.run_folder import record_bytes
from advtransfer.runner.settings import RunSettings
from advtransfer.text import ABSENT

Record: TypeAlias = dict[str, Any]  # Any: JSON

CITATION = Path(__file__).parents[2] / "CITATION.cff"
URL = "https://example.org/first.zip"
SUITE = """
version: 1
title: Which source is better?
datasets: {digits: {use: vision/digits}}
sources: {drawn: {use: vision/random_init, data: digits, network: small_cnn}}
targets: {digits: {data: digits, n: [40], seeds: 2, validation: 0.3, test: 64, leakage: "off"}}
transfers: {full: {use: finetune/full, epochs: 40}}
evaluations:
  clean: {use: foolbox/clean_accuracy}
  pgd: {use: foolbox/pgd, norm: linf, eps: 0.1, steps: 5, step_size: 0.03}
leaderboard: {rank_by: clean.accuracy, columns: [clean.accuracy, validation.accuracy]}
"""


class Published:
    """A run that is published twice: whole, and under limits that only short records meet."""

    def __init__(self, folder: Path) -> None:
        host = Host.discover()
        settings = RunSettings(
            executor="local/inline", runs=folder / "runs", cache=folder / "cache", battery="none"
        )
        (folder / "toy.yaml").write_text(SUITE)
        loaded = suite.load(str(folder / "toy.yaml"), host)
        self.run = Run(runner.run_suite(loaded, settings=settings, host=host).run)
        self.origin = Origin("first", "A. Author", "CC-BY-4.0", CITATION)
        self.whole = publish_run(self.run, folder / "whole", self.origin, found=True, pages=False)
        self.archive = folder / "first.zip"
        self.limit = sum(path.stat().st_size for path in external.files_below(self.whole)) - 1000
        with pytest.MonkeyPatch.context() as patch:
            self.lower_limits(patch)
            self.board = folder / "leaderboard"
            self.short = publish_run(
                self.run, self.board, self.origin, found=True, archive=Archive(self.archive, URL)
            )

    def lower_limits(self, patch: pytest.MonkeyPatch) -> None:
        """Make the whole submission too large, and cut its plan."""
        patch.setattr(external, "MAX_BUNDLE_BYTES", self.limit)
        patch.setattr(bundle_files, "MAX_BUNDLE_BYTES", self.limit)


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    return Published(tmp_path_factory.mktemp("external"))


@pytest.fixture(autouse=True)
def limits(published: Published, monkeypatch: pytest.MonkeyPatch) -> None:
    published.lower_limits(monkeypatch)


def verify(folder: Path, *archives: Path) -> tuple[int, str]:
    options = [text for path in archives for text in ("--external", str(path))]
    boards = folder.parents[2] / "boards"
    # A forged one is listed in no board, which would hold its root.
    options += [] if boards.exists() else ["--no-board"]
    result = CliRunner().invoke(main, ["verify", str(folder), "--boards", str(boards), *options])
    return result.exit_code, result.output


def manifest_of(folder: Path) -> Record:
    return dict(read_manifest(folder))


def origin_of(manifest: Record) -> dict[str, str]:
    return {name: manifest[name] for name in ("name", "who", "licence", "citation", "board")}


def records(folder: Path) -> dict[str, Record]:
    return {str(record["id"]): dict(record) for record in Run(folder).read_records()}


def test_folder_keeps_what_numbers_are_computed_from(published: Published) -> None:
    complete, short = records(published.whole), records(published.short)

    assert complete.keys() == short.keys()
    assert [] == list(Run(published.short).damaged_records())
    for id, record in complete.items():
        for name in ("asked", "metrics", "outcomes", "checks", "verdict", "weights", "facts"):
            assert record.get(name) == short[id].get(name)
        assert short[id] == shorten_record(record) == shorten_record(short[id])
        if record["kind"] == "fit":
            assert (40, 1) == (len(record["curves"]), len(short[id]["curves"]))
    sizes = [path.stat().st_size for path in external.files_below(published.short)]
    assert sum(sizes) <= published.limit
    (entry,) = manifest_of(published.short)["external"]
    assert entry == {
        "url": URL,
        "sha256": file_sha256(published.archive),
        "bytes": published.archive.stat().st_size,
        "holds": ["records"],
    }


def test_page_of_short_records_has_the_same_numbers(
    published: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    publish_run(published.run, tmp_path, published.origin, found=True)

    def cells(board: Path) -> list[str]:
        table = (board / "toy" / "README.md").read_text().partition("## Results\n")[2]
        (row,) = (line for line in table.splitlines() if "| full" in line)
        return [cell.strip() for cell in row.split("|")[1:-1]]

    whole, short = cells(tmp_path), cells(published.board)
    # Seconds of fits and evaluations are in the archive alone.
    assert whole[:-2] == short[:-2]
    assert [ABSENT] * 2 == short[-2:] != whole[-2:]


def test_verify_says_what_is_elsewhere_and_checks_it_with_the_archive(published: Published) -> None:
    code, text = verify(published.short)
    assert 0 == code
    assert "not checked: records, which are in an archive of" in text
    assert f"at {URL} (sha256 {file_sha256(published.archive)[:12]}); give it by --external" in text
    assert "verified" in text

    code, text = verify(published.short, published.archive)
    assert 0 == code, text
    assert "not checked: records" not in text
    with whole_bundle(published.short, [published.archive]) as whole:
        assert records(whole.path) == records(published.whole)
    assert not whole.path.exists()


def test_root_covers_the_archive_and_not_where_it_is(published: Published) -> None:
    run = Run(published.short)
    manifest = manifest_of(published.short)
    stated = origin_of(manifest)
    (entry,) = manifest["external"]

    moved = make_manifest(run, **stated, external=[entry | {"url": "https://example.org/moved"}])
    other = make_manifest(run, **stated, external=[entry | {"sha256": "0" * 64}])

    assert bundle_root(run) == manifest["root"] == moved["root"]
    assert other["root"] != manifest["root"] != read_manifest(published.whole)["root"]


def forged(
    published: Published, tmp_path: Path, write: Callable[[Path], None]
) -> tuple[Path, Path]:
    """Return a submission whose archive was replaced, with a manifest that agrees with it."""
    folder = tmp_path / "results" / "toy" / "first"
    shutil.copytree(published.short, folder)
    archive = tmp_path / "forged.zip"
    write(archive)
    manifest = manifest_of(folder)
    stated = origin_of(manifest)
    entry = manifest["external"][0] | {
        "sha256": file_sha256(archive),
        "bytes": archive.stat().st_size,
    }
    sealed = make_manifest(Run(folder), **stated, external=[entry])
    (folder / MANIFEST_FILE).write_bytes(record_bytes(sealed))
    return folder, archive


def test_another_archive_is_refused_by_its_digest(published: Published, tmp_path: Path) -> None:
    longer = tmp_path / "longer.zip"
    longer.write_bytes(published.archive.read_bytes() + b"0")
    changed = tmp_path / "changed.zip"
    content = bytearray(published.archive.read_bytes())
    content[100] ^= 1
    changed.write_bytes(content)
    link = tmp_path / "link.zip"
    link.symlink_to(published.archive)

    for path, reason in ((longer, "bytes; expected"), (changed, "sha256"), (link, "no file")):
        code, text = verify(published.short, path)
        assert (1, True) == (code, f"{path.name}: found" in text and reason in text), text


def test_records_in_an_archive_must_be_those_of_the_folder(
    published: Published, tmp_path: Path
) -> None:
    """Curves are only in the archive, but facts, numbers and ids are in both."""

    def write(path: Path) -> None:
        with zipfile.ZipFile(published.archive) as honest, zipfile.ZipFile(path, "w") as file:
            for name in honest.namelist():
                lines = [
                    json.loads(line) for line in lzma.decompress(honest.read(name)).splitlines()
                ]
                for record in lines:
                    if record["kind"] == "fit":
                        record["curves"][-1]["validation_accuracy"] = 1.0
                text = "".join(json.dumps(line, sort_keys=True) + "\n" for line in lines)
                file.writestr(name, lzma.compress(text.encode()))

    folder, archive = forged(published, tmp_path, write)
    code, text = verify(folder)
    assert 0 == code, text
    code, text = verify(folder, archive)

    assert 1 == code
    assert "found another record" in text
    assert "than the archive has; expected that one, shortened" in text


def named(name: str, *, compression: int = zipfile.ZIP_STORED) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with zipfile.ZipFile(path, "w", compression) as file:
            file.writestr(name, b"0" * 10**6)

    return write


def twice(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("records/fit.jsonl", b"{}")
        with pytest.warns(UserWarning, match="Duplicate"):
            file.writestr("records/fit.jsonl", b"{}")


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (named("../outside"), "expected files below records"),
        (named("/records/x"), "expected files below records"),
        (named("records/../../x"), "expected files below records"),
        (named("suite.yaml"), "expected files below records"),
        (named("samples/x"), "expected files below records"),
        (named("records/x", compression=zipfile.ZIP_DEFLATED), "expected stored files"),
        (twice, "a name twice"),
        (lambda path: path.write_bytes(b"no zip" * 100), "another end"),
        (lambda path: path.write_bytes(b"PK\x05\x06" + b"\xff" * 18), "another end"),
    ],
)
def test_what_an_archive_may_not_hold_is_refused_before_it_is_unpacked(
    write: Callable[[Path], None], reason: str, published: Published, tmp_path: Path
) -> None:
    folder, archive = forged(published, tmp_path, write)

    with whole_bundle(folder, [archive]) as whole:
        (fault,) = whole.faults

    assert whole.path == folder
    assert reason in str(fault)
    assert not (tmp_path / "outside").exists()


def test_outcomes_that_are_too_large_alone_are_refused(
    published: Published, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(external, "MAX_BUNDLE_BYTES", 5000)
    with pytest.raises(BadInput, match="even outcomes alone are too large"):
        publish_run(
            published.run,
            tmp_path / "out",
            published.origin,
            found=True,
            archive=Archive(tmp_path / "a.zip", URL),
        )
    with pytest.raises(BadInput, match="--external URL --archive FILE"):
        publish_run(published.run, tmp_path / "out", published.origin, found=True)


@pytest.fixture
def cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundle, "MAX_FILE_BYTES", 600)
    monkeypatch.setattr(bundle, "PLAN_LINES", 2)


def test_plan_that_is_too_large_for_a_file_is_read_from_several(
    published: Published, tmp_path: Path, cut: None
) -> None:
    folder = bundle.write_bundle(published.run, tmp_path / "cut")

    assert ["plan-0000.jsonl.xz", "plan-0001.jsonl.xz"] == sorted(
        path.name for path in folder.glob("plan*")
    )
    assert Run.open(folder).read_plan() == published.run.read_plan()
    assert records(folder).keys() == records(published.whole).keys()
