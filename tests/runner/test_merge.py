"""Halves of a run joined are the whole run, and what contradicts is refused by name with nothing written."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

import advtransfer as at
from advtransfer.cli import main
from advtransfer.errors import BadInput
from advtransfer.runner.merge import first_difference

SUITE = """\
version: 1
title: Halves
datasets:
  high: {use: vision/digits, classes: [5, 6, 7, 8, 9]}
sources:
  random: {use: vision/random_init, data: high, network: small_cnn}
targets:
  digits: {data: high, n: [20, 30], validation: 0, test: 60}
transfers:
  probe: {use: finetune/linear_probe}
  blow: {use: finetune/full, epochs: 3, optimiser: {kind: sgd, lr: 1e30}}
evaluations:
  clean: {use: foolbox/clean_accuracy}
  fgsm: {use: foolbox/fgsm, norm: linf, eps: 0.1}
leaderboard: {rank_by: clean.accuracy, columns: [clean.accuracy, fgsm.accuracy]}
"""


@dataclass(frozen=True)
class Folders:
    """A run, and its halves, of which each has an attempt."""

    whole: Path
    small: Path
    large: Path

    @property
    def halves(self) -> list[Path]:
        return [self.small, self.large]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    folder = tmp_path_factory.mktemp("merge")
    parts: dict[str, tuple[str, ...]] = {"whole": (), "small": ("n=20",), "large": ("n=30",)}
    for name, only in parts.items():
        with pytest.MonkeyPatch.context() as patch:
            # Of its own, so that no half copies records of the other.
            patch.setenv("ADVTRANSFER_CACHE", str(folder / f"cache {name}"))
            patch.chdir(folder)
            at.run(SUITE, name="halved", runs=name, only=only, executor="local/inline", quiet=True)
    return Folders(*(folder / name / "halved" for name in parts))


@pytest.fixture
def folders(made: Folders, tmp_path: Path) -> Folders:
    """Copies of the run and its halves, to be changed."""
    names = ("whole", "small", "large")
    for name in names:
        shutil.copytree(getattr(made, name), tmp_path / name)
    return Folders(*(tmp_path / name for name in names))


def contents(run: Path) -> dict[str, object]:
    """What a run holds, without what was observed and what no one reads again."""
    found: dict[str, object] = {}
    for path in sorted(run.rglob("*")):
        name = path.relative_to(run).as_posix()
        if not path.is_file() or name in (".guard", "events.jsonl", "origin.json"):
            continue
        if name.startswith(("claims/", "page.json", ".index")):
            continue
        found[name] = path.read_bytes()
        if name.startswith(("records/", "attempts/")):
            found[name] = json.loads(path.read_bytes()) | {"observed": {}, "traceback": None}
    return found


def page_without_seconds(run: Path) -> None:
    """Make the page again from records without what was observed."""
    for path in run.glob("records/*/*.json"):
        path.write_text(json.dumps(json.loads(path.read_text()) | {"observed": {}}))
    CliRunner().invoke(main, ["leaderboard", str(run)], catch_exceptions=False)


def shared_record(folders: Folders) -> Path:
    """The record that both halves have, in the large one: that of the source."""
    (path,) = (
        path
        for path in folders.large.glob("records/*/*.json")
        if (folders.small / path.relative_to(folders.large)).exists()
    )
    return path


def refusal(*runs: Path, into: Path, mixed: bool = False) -> str:
    """The problems of a call that is refused; it must leave nothing behind."""
    before = sorted(into.parent.iterdir())
    with pytest.raises(BadInput) as raised:
        at.merge(runs, into=into, mixed=mixed)

    assert before == sorted(into.parent.iterdir())
    return str(raised.value)


def test_halves_of_a_run_joined_are_the_whole_run(folders: Folders, tmp_path: Path) -> None:
    line = ["merge", *map(str, folders.halves), "--into", str(tmp_path / "joined"), "--json"]
    told = CliRunner().invoke(main, line, catch_exceptions=False)
    summary = json.loads(told.stdout)
    first = shared_record(folders).relative_to(folders.large)
    kept = (tmp_path / "joined" / first).read_bytes()
    for run in (folders.whole, tmp_path / "joined"):
        page_without_seconds(run)

    assert (2, 1) == (summary["attempts"], summary["shared"])
    assert len([*folders.whole.glob("records/*/*.json")]) == summary["records"]
    assert kept == (folders.small / first).read_bytes()
    assert contents(folders.whole) == contents(tmp_path / "joined")


def test_a_run_goes_on_in_the_joined_folder(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADVTRANSFER_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    report = at.merge(folders.halves, into=tmp_path / "runs" / "halved")
    again = at.run(SUITE, name="halved", executor="local/inline", quiet=True)

    assert "4 trials: 2 done, 2 failed, 0 skipped, 0 to do" in str(report)
    assert "4 trials: 2 done, 2 failed, 0 skipped, 0 to do" in str(again)


def test_an_altered_record_is_refused_by_name(folders: Folders, tmp_path: Path) -> None:
    path = shared_record(folders)
    record = json.loads(path.read_text())
    record["facts"]["seconds of luck"] = 1.5
    path.write_text(json.dumps(record))
    found = "facts.seconds of luck 1.5 in the source " + path.stem
    text = refusal(*folders.halves, into=tmp_path / "joined")

    assert f"found {found} of {folders.large}; expected None, as in {folders.small}; " in text
    assert text == refusal(*folders.halves, into=tmp_path / "joined", mixed=True)


def test_a_record_of_another_environment_needs_mixed(folders: Folders, tmp_path: Path) -> None:
    path = shared_record(folders)
    record = json.loads(path.read_text())
    record["provenance"]["environment"] = "0" * 64
    path.write_text(json.dumps(record))
    missing = refusal(*folders.halves, into=tmp_path / "joined")
    (folders.large / "environments" / f"{'0' * 64}.json").write_text("{}")
    text = refusal(*folders.halves, into=tmp_path / "joined")
    at.merge(folders.halves, into=tmp_path / "joined", mixed=True)

    assert (
        f"found no {folders.large / 'environments' / ('0' * 64)}.json, which records name"
        in missing
    )
    assert "found provenance.environment '0000" in text
    assert f"--mixed takes the records of {folders.small}" in text
    kept = tmp_path / "joined" / path.relative_to(folders.large)
    assert kept.read_bytes() == (folders.small / path.relative_to(folders.large)).read_bytes()


def test_other_settings_need_mixed(folders: Folders, tmp_path: Path) -> None:
    for path in folders.large.glob("records/*/*.json"):
        record = json.loads(path.read_text())
        record["provenance"]["threads"] = 2
        path.write_text(json.dumps(record))
    text = refusal(*folders.halves, into=tmp_path / "joined")

    assert f"found threads 2 in {folders.large}; expected threads 1, as in {folders.small}" in text
    assert "--mixed" in text


def test_one_record_with_other_settings_needs_mixed(folders: Folders, tmp_path: Path) -> None:
    path = max(folders.large.glob("records/*/*.json"), key=lambda path: path.stem)
    record = json.loads(path.read_text())
    record["provenance"]["threads"] = 2
    path.write_text(json.dumps(record))
    text = refusal(*folders.halves, into=tmp_path / "joined")

    assert f"found threads 2 in {folders.large}; expected threads 1, as in {folders.small}" in text


def test_every_problem_is_told_at_once(folders: Folders, tmp_path: Path) -> None:
    plan = folders.whole / "plan.json"
    plan.write_text(json.dumps(json.loads(plan.read_text()) | {"suite": "other"}))
    damaged = shared_record(folders)
    damaged.write_text(damaged.read_text()[:100])
    pin = next(folders.large.glob("data/*.json"))
    pin.write_text(json.dumps({"data": pin.stem, "content": "0" * 64}))
    text = refusal(*folders.halves, folders.whole, into=tmp_path / "joined")

    assert 3 == len(text.splitlines())
    assert f"the suite other in {folders.whole}; expected halved, as in {folders.small}" in text
    assert f"found {damaged}: " in text
    assert f"found another data set {pin.stem[:12]} in {folders.large}" in text


def test_folders_that_cannot_be_joined_are_refused(folders: Folders, tmp_path: Path) -> None:
    text = refusal(tmp_path, folders.small, folders.small, into=folders.whole)

    assert "found no plan.json in" in text
    assert f"found the folder '{folders.small}' twice" in text
    assert f"found --into '{folders.whole}', which exists" in text


def test_another_plan_is_refused_with_the_numbers_of_trials(
    folders: Folders, tmp_path: Path
) -> None:
    path = folders.large / "plan.json"
    plan = json.loads(path.read_text())
    del plan["trials"][0]
    path.write_text(json.dumps(plan))
    text = refusal(*folders.halves, into=tmp_path / "joined")

    assert (
        f"another plan in {folders.large} (3 trials); expected that of {folders.small} (4" in text
    )


def test_attempts_and_superseded_records_of_all_are_numbered_anew(
    folders: Folders, tmp_path: Path
) -> None:
    (attempt,) = folders.small.glob("attempts/*/1.json")
    other = folders.large / attempt.relative_to(folders.small)
    other.parent.mkdir()
    other.write_bytes(attempt.read_bytes())  # the same one
    later = json.loads(attempt.read_text()) | {"reason": "a later one"}
    other.with_name("2.json").write_text(json.dumps(later))
    for number, half in enumerate(folders.halves):
        old = half / "superseded" / attempt.parent.name / "1"
        (old / "files").mkdir(parents=True)
        (old / "record.json").write_text(f"{number}")
        (old / "files" / "a.svg").write_text(f"{number}")
    at.merge(folders.halves, into=tmp_path / "joined")
    joined = tmp_path / "joined"

    names = sorted(
        path.name for path in (joined / attempt.relative_to(folders.small)).parent.iterdir()
    )
    assert ["1.json", "2.json"] == names
    superseded = joined / "superseded" / attempt.parent.name
    assert ["0", "1"] == [(superseded / f"{n}" / "record.json").read_text() for n in (1, 2)]
    assert "1" == (superseded / "2" / "files" / "a.svg").read_text()


def test_a_disk_that_fills_up_leaves_nothing(
    folders: Folders, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied: list[Path] = []
    write = shutil.copyfile

    def copy(source: Path, target: Path) -> None:
        copied.append(source)
        if len(copied) == 9:
            raise OSError(28, "No space left on device", str(target))
        write(source, target)

    monkeypatch.setattr(shutil, "copyfile", copy)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(OSError, match="No space left"):
        at.merge(folders.halves, into=tmp_path / "joined")

    assert before == sorted(tmp_path.iterdir())


def test_a_link_out_of_a_run_folder_is_not_followed(folders: Folders, tmp_path: Path) -> None:
    suite = folders.small / "suite.yaml"
    suite.unlink()
    (tmp_path / "secret").write_text("secret")
    suite.symlink_to(tmp_path / "secret")

    assert "suite.yaml', a link" in refusal(*folders.halves, into=tmp_path / "joined")


def test_wrong_arguments_are_told_in_pythons_words() -> None:
    with pytest.raises(BadInput, match="runs='runs/a'; expected a list of run folders"):
        at.merge("runs/a", into="joined")


@pytest.mark.parametrize(
    ("first", "other", "difference"),
    [
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}, ("a.1.b", 2, 3)),
        ({"a": 1}, {"a": 1, "b": None}, ("b", None, None)),
        ({"a": [1]}, {"a": [1, 2]}, ("a", [1], [1, 2])),
        ({"a": 1}, {"a": 1.0}, ("a", 1, 1.0)),
    ],
)
def test_the_first_difference_is_named(first: object, other: object, difference: object) -> None:
    assert difference == first_difference(first, other)  # type: ignore[arg-type]  # JSON
