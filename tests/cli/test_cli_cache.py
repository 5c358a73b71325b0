"""``advtransfer cache`` over a real cache in a temporary folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from advtransfer import suite
from advtransfer.cache import Cache
from advtransfer.cli import main
from advtransfer.host import Host
from advtransfer.planning import make_plan

OLD, NEW = "a" * 64, "b" * 64
KILOBYTE = torch.zeros(250, dtype=torch.float32)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cache:
    """A cache of two artifacts, which the command line finds."""
    monkeypatch.setenv("ADVTRANSFER_CACHE", str(tmp_path))
    cache = Cache(tmp_path, line="cpu-1-float32")
    for id in (OLD, NEW):
        cache.put(id, {"weights": KILOBYTE}, {}, kind="source", use="vision/trained")
    return cache


def call(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["cache", *arguments])


@pytest.mark.usefixtures("cache")
def test_ls_shows_every_artifact_and_their_size_together() -> None:
    head, *rows, total = call("ls").stdout.splitlines()

    assert head.split() == ["ID", "KIND", "COMPONENT", "LINE", "SIZE", "USED"]
    assert {OLD[:12], NEW[:12]} == {row.split()[0] for row in rows}
    assert all(row.split()[1:4] == ["source", "vision/trained", "cpu-1-float32"] for row in rows)
    assert total.startswith("2 artifacts, ")


def test_ls_as_json_has_whole_ids_and_bytes(cache: Cache) -> None:
    entries = json.loads(call("ls", "--json").stdout)

    assert {OLD, NEW} == {entry["id"] for entry in entries}
    assert [entry.bytes for entry in cache.list_entries()] == [entry["bytes"] for entry in entries]


@pytest.mark.usefixtures("cache")
def test_verify_of_an_intact_cache_ends_with_0() -> None:
    result = call("verify")

    assert (result.exit_code, result.stdout, result.stderr) == (0, "2 intact, 0 corrupt\n", "")


def test_verify_names_what_is_corrupt_and_ends_with_1(cache: Cache) -> None:
    [path] = [entry.path / "data.safetensors" for entry in cache.list_entries() if entry.id == OLD]
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    result = call("verify")

    assert (result.exit_code, result.stdout) == (1, "1 intact, 1 corrupt\n")
    assert f"{OLD} (cpu-1-float32) is corrupt: " in result.stderr


def test_prune_removes_until_the_requested_size_is_left(cache: Cache) -> None:
    most = max(entry.bytes for entry in cache.list_entries())
    result = call("prune", "--max-bytes", str(most))

    assert result.exit_code == 0
    assert result.stdout.startswith("removed 1 artifact, ")
    assert len(list(cache.list_entries())) == 1


def test_prune_without_a_limit_removes_no_artifact(cache: Cache) -> None:
    result = call("prune")

    assert result.stdout.startswith("removed 0 artifacts, 0 B; ")
    assert len(list(cache.list_entries())) == 2


def test_invalid_size_is_an_error_before_anything_is_removed(cache: Cache) -> None:
    result = call("prune", "--max-bytes", "2XB")

    assert result.exit_code == 2
    assert (
        "'2XB' is not a size; expected a number of bytes, such as 2GB, 500MB or 1GiB"
        in result.stderr
    )
    assert len(list(cache.list_entries())) == 2


@pytest.fixture
def mixed_cache(cache: Cache) -> Cache:
    """The two sources, a fit and feature rows of another plugin."""
    cache.put("c" * 64, {"weights": KILOBYTE}, {}, kind="fit", use="finetune/full")
    cache.put("d" * 64, {"weights": KILOBYTE}, {}, kind="features", use="finetune/full")
    return cache


def ids(cache: Cache) -> set[str]:
    return {entry.id[0] for entry in cache.list_entries()}


@pytest.mark.parametrize(
    ("options", "left"),
    [
        (["--kind", "source"], {"c", "d"}),
        (["--plugin", "finetune"], {"a", "b"}),
        (["--plugin", "finetune", "--kind", "fit"], {"a", "b", "d"}),
        ([], {"a", "b", "c", "d"}),
    ],
)
def test_prune_removes_what_every_option_selects(
    options: list[str], left: set[str], mixed_cache: Cache
) -> None:
    dry = call("prune", *options, "--dry-run")
    assert ids(mixed_cache) == {"a", "b", "c", "d"}

    result = call("prune", *options)

    assert (dry.exit_code, result.exit_code) == (0, 0)
    assert ids(mixed_cache) == left
    count = 4 - len(left)
    assert result.stdout.startswith(f"removed {count} artifact")
    assert f"would remove {count} artifact" in dry.stdout


def test_prune_of_a_kind_that_is_not_there_names_those_that_are(mixed_cache: Cache) -> None:
    result = call("prune", "--kind", "sources")

    assert result.exit_code == 2
    assert "features, fit, source" in result.stderr
    assert ids(mixed_cache) == {"a", "b", "c", "d"}


def test_prune_of_a_suite_removes_its_sources_and_fits(mixed_cache: Cache) -> None:
    host = Host.discover()
    plan = make_plan(suite.load("quickstart", host), host)
    trial = plan.trials[0]
    for id in (trial.id, trial.builds[0]):
        mixed_cache.put(id, {"weights": KILOBYTE}, {}, kind="fit", use="finetune/full")

    result = call("prune", "--suite", "quickstart")

    assert result.stdout.startswith("removed 2 artifacts")
    assert {entry.id for entry in mixed_cache.list_entries()} == {x * 64 for x in "abcd"}
