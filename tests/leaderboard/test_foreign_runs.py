"""Run folders from other people: nothing outside of them is read, written or deleted."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from click.testing import CliRunner

from advtransfer.cli import main
from advtransfer.leaderboard import write_page
from advtransfer.publication.publish import Origin
from advtransfer.publication.publish import publish_run as publish
from advtransfer.result import Run

if TYPE_CHECKING:
    from tests.leaderboard.conftest import Bench

SECRET = "the secret"
PUBLISH = ["publish", "--name", "own", "--who", "A. Name", "--licence", "MIT", "--found"]
PUBLISH += ["--citation", str(Path(__file__).parents[2] / "CITATION.cff")]


@pytest.fixture
def run(bench: Bench, written: Callable[[Bench, Run], Run], tmp_path: Path) -> Run:
    """A run with a figure, beside a folder that does not belong to it."""
    id = bench.trial("natural", 0, 0.5, 0.1)["evaluations"]["clean"][0]
    bench.records[id]["files"] = {"grid": f"files/{id}/grid.png"}
    run = Run(tmp_path / "run")
    (run.path / "files" / id).mkdir(parents=True)
    (run.path / "files" / id / "grid.png").write_bytes(b"png")
    for name in ("secret", "samples/kept", "files/kept", "suite.yaml"):
        place = tmp_path / "outside" / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(SECRET)
    return written(bench, run)


def outside(folder: Path) -> Mapping[str, bytes]:
    """Return all files except those of the run and of the published folder."""
    paths = [
        path
        for path in folder.rglob("*")
        if path.is_file() and not path.is_relative_to(folder / "out")
    ]
    return {
        str(path): path.read_bytes() for path in paths if not path.is_relative_to(folder / "run")
    }


@pytest.mark.parametrize(
    "suite", ["../outside", "../../x", "/tmp/x", "a/b", "a\\b", "..", ".", "", "a\nb", 3, None, []]
)
def test_suite_name_in_a_plan_is_a_single_folder_name(
    run: Run, suite: object, tmp_path: Path
) -> None:
    plan = json.loads((run.path / "plan.json").read_text())
    (run.path / "plan.json").write_text(json.dumps(plan | {"suite": suite}))
    before = outside(tmp_path)
    result = CliRunner().invoke(main, [*PUBLISH, str(run.path), "--into", str(tmp_path / "out")])

    assert result.exit_code
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert "plan.json: found" in result.output
    assert before == outside(tmp_path)
    assert not (tmp_path / "out").exists()


def change(plan: dict[str, Any], id: str) -> None:  # Any: JSON
    plan["trials"][0]["evaluations"]["clean"] = [id]


@pytest.mark.parametrize("id", ["../../outside/secret", "/etc/passwd", "ab", "", 7, None])
def test_id_in_a_plan_must_be_a_digest(run: Run, id: Any, tmp_path: Path) -> None:  # noqa: ANN401  # Any: JSON
    plan = json.loads((run.path / "plan.json").read_text())
    change(plan, id)
    (run.path / "plan.json").write_text(json.dumps(plan))
    result = CliRunner().invoke(main, [*PUBLISH, str(run.path), "--into", str(tmp_path / "out")])

    assert result.exit_code
    assert "plan.json: found" in result.output
    assert not (tmp_path / "out").exists()


def link(run: Run, name: str) -> Path:
    """Replace a file or folder of a run by a link to the outside."""
    place = next(iter(sorted(run.path.glob(name))))
    target = run.path.parent / "outside"
    if place.is_dir():
        place.rename(run.path.parent / "outside" / "moved")
        place.symlink_to(target / "moved")
    else:
        content = place.read_bytes()
        place.unlink()
        (target / "secret").write_bytes(content if name.endswith(".json") else SECRET.encode())
        place.symlink_to(target / "secret")
    return place


@pytest.mark.parametrize(
    "name",
    [
        "suite.yaml",
        "plan.json",
        "files/*/grid.png",
        "files/*",
        "files",
        "records",
        "records/*/*.json",
    ],
)
def test_links_are_not_followed_out_of_a_run(run: Run, name: str, tmp_path: Path) -> None:
    run.write_environment({"device": "cpu"})
    place = link(run, name)
    result = CliRunner().invoke(main, [*PUBLISH, str(run.path), "--into", str(tmp_path / "out")])
    published = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]

    assert "a link; expected a file or folder of its own" in result.output
    assert place.name in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert not [path for path in published if SECRET.encode() in path.read_bytes()]


def test_a_link_among_environments_is_not_followed(run: Run, tmp_path: Path) -> None:
    run.write_environment({"device": "cpu"})
    link(run, "environments/*.json")
    result = CliRunner().invoke(main, [*PUBLISH, str(run.path), "--into", str(tmp_path / "out")])

    assert result.exit_code
    assert "a link; expected" in result.output


def test_a_damaged_record_is_named_on_the_page_and_gives_no_number(run: Run) -> None:
    honest = write_page(run).read_text()
    path, record = next(
        (path, record)
        for path in sorted(run.path.glob("records/*/*.json"))
        if "accuracy" in (record := json.loads(path.read_text())).get("metrics", {})
    )
    record["metrics"]["accuracy"]["value"] = record["metrics"]["accuracy"]["low"] = 0.999
    path.write_text(json.dumps(record))
    page = write_page(run).read_text()

    assert ".500" in honest
    assert ".999" not in page.replace("0.999", "")
    assert "**1 damaged record**, not used on this page" in page
    assert (
        f"`{path.relative_to(run.path).as_posix()}`: found accuracy value 0.999; expected 0.5"
        in page
    )


CITATION = Path(__file__).parents[2] / "CITATION.cff"


def publish_run(run: Run, out: Path) -> Path:
    """Publish a run as the founder of its board, and return the page of the board."""
    folder = publish(run, out, Origin("own", "A. Name", "MIT", CITATION), found=True)
    return out / folder.parent.name / "README.md"


def test_intact_run_is_published(run: Run, tmp_path: Path) -> None:
    before = outside(tmp_path)
    page = publish_run(run, tmp_path / "out").read_text()

    assert "damaged" not in page
    assert (
        tmp_path / "out" / "results" / "quick" / "own" / "suite.yaml"
    ).read_text() == "version: 1\n"
    assert before == outside(tmp_path)


def published(out: Path) -> Mapping[str, bytes]:
    return {str(path): path.read_bytes() for path in out.rglob("*") if path.is_file()}


@pytest.mark.parametrize("spoil", ["linked suite", "linked records", "damaged record"])
def test_refused_run_leaves_published_files_unchanged(run: Run, spoil: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert not CliRunner().invoke(main, [*PUBLISH, str(run.path), "--into", str(out)]).exit_code
    before = published(out)
    match spoil:
        case "linked suite":
            (run.path / "suite.yaml").unlink()
            (run.path / "suite.yaml").symlink_to(tmp_path / "outside" / "suite.yaml")
        case "linked records":
            (run.path / "records").rename(tmp_path / "moved")
            (run.path / "records").symlink_to(tmp_path / "moved")
        case _:
            record = next(run.path.glob("records/*/*.json"))
            record.write_text(record.read_text().replace('"format": 1', '"format": 99'))
    result = CliRunner().invoke(main, [*PUBLISH, str(run.path), "--into", str(out)])

    assert 2 == result.exit_code
    assert ("a damaged record" if spoil == "damaged record" else "a link") in result.output
    assert before == published(out)


@pytest.mark.parametrize(
    "changes",
    [
        {"leaderboard": {"rank_by": {}}},
        {"leaderboard": {"rank_by": 3}},
        {"sources": {"a" * 64: [1]}},
    ],
)
def test_plan_fields_of_wrong_type_are_reported(
    run: Run, changes: dict[str, object], tmp_path: Path
) -> None:
    plan = json.loads((run.path / "plan.json").read_text())
    (run.path / "plan.json").write_text(json.dumps(plan | changes))
    result = CliRunner().invoke(main, ["leaderboard", str(run.path)])

    assert result.exception is None or isinstance(result.exception, SystemExit)
    assert "plan.json: found" in result.output


@pytest.mark.parametrize("field", ["seed", "replicate", "row", "source", "target", "n"])
def test_trial_fields_of_wrong_type_are_reported(run: Run, field: str) -> None:
    plan = json.loads((run.path / "plan.json").read_text())
    plan["trials"][0][field] = {}
    (run.path / "plan.json").write_text(json.dumps(plan))
    result = CliRunner().invoke(main, ["leaderboard", str(run.path)])

    assert f"found a trial's {field} of the type dict" in result.output
