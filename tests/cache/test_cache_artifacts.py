"""What is put is read back exactly, in the same bytes each time; what is damaged is never handed out."""

from __future__ import annotations

import json
import logging
import resource
from pathlib import Path

import pytest
import torch

from advtransfer.cache import Cache
from advtransfer.errors import CacheError
from advtransfer.files import default_cache_root
from advtransfer.types import Json

ID, OTHER = "ab" * 32, "cd" * 32
LINE = "cpu-1-float32"


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path, line=LINE)


def test_tensors_and_facts_are_read_back_exactly(cache: Cache) -> None:
    tensors = {
        "weight": torch.arange(6.0).reshape(2, 3),
        "steps": torch.tensor(2**60),
        "mask": torch.tensor([True]),
    }
    facts: dict[str, Json] = {
        "loss": 1.0,
        "epochs": 3,
        "curves": [{"epoch": 1, "loss": 0.1}],
        "name": "é",
    }

    cache.put(ID, tensors, facts, kind="source", use="vision/trained")
    artifact = cache.get(ID)

    assert artifact is not None
    assert (ID, LINE, "source", "vision/trained") == (
        artifact.id,
        artifact.environment_key,
        artifact.kind,
        artifact.use,
    )
    assert facts == artifact.facts
    assert isinstance(artifact.facts["loss"], float)
    assert tensors.keys() == artifact.tensors.keys()
    assert all(torch.equal(tensors[name], artifact.tensors[name]) for name in tensors)
    assert all(tensors[name].dtype == artifact.tensors[name].dtype for name in tensors)


def test_what_was_never_put_is_none(cache: Cache) -> None:
    assert cache.get(ID) is None


def test_tensors_that_share_memory_are_kept_as_tensors_of_their_own(cache: Cache) -> None:
    weight = torch.arange(4.0)

    kept = cache.put(ID, {"all": weight, "tied": weight, "tail": weight[2:]}, {}).tensors

    assert [0.0, 1.0, 2.0, 3.0] == kept["tied"].tolist()
    assert [2.0, 3.0] == kept["tail"].tolist()


def test_the_same_content_gives_the_same_bytes_in_any_cache(tmp_path: Path) -> None:
    tensors = {f"layer{number}": torch.full((3,), float(number)) for number in range(20)}
    folders = []
    for number in range(5):
        order = list(tensors) if number % 2 else list(reversed(tensors))
        cache = Cache(tmp_path / str(number), line=LINE)
        artifact = cache.put(
            ID, {name: tensors[name] for name in order}, {"b": 1, "a": number // 10}
        )
        folders.append({path.name: path.read_bytes() for path in artifact.path.iterdir()})

    assert {"data.safetensors", "meta.json"} == folders[0].keys()
    assert all(folders[0] == folder for folder in folders)


def test_an_artifact_of_another_line_is_another_artifact(tmp_path: Path) -> None:
    Cache(tmp_path, line="cpu-1-float32").put(ID, {"x": torch.zeros(1)}, {})

    assert Cache(tmp_path, line="cuda-1-float32").get(ID) is None


def test_the_first_artifact_stays_when_a_second_builder_comes_late(
    cache: Cache, caplog: pytest.LogCaptureFixture
) -> None:
    first = cache.put(ID, {"x": torch.zeros(3)}, {"builder": 1})
    second = cache.put(ID, {"x": torch.ones(3)}, {"builder": 2})

    assert first == second
    assert f"node {ID} was built twice with other bits" in caplog.text


@pytest.mark.parametrize("name", ["data.safetensors", "meta.json"])
def test_one_changed_byte_is_found_and_the_artifact_built_again(
    cache: Cache, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    tensors = {"x": torch.zeros(100)}
    path = cache.put(ID, tensors, {"note": "n"}).path / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)

    assert cache.get(ID) is None
    assert f"node {ID} was corrupt and will be built again" in caplog.text
    assert 1 == len(list((cache.root / "corrupt" / LINE).iterdir()))
    again = cache.put(ID, tensors, {"note": "n"})
    assert again == cache.get(ID)


def test_a_corrupt_artifact_gives_way_to_a_new_one(cache: Cache) -> None:
    path = cache.put(ID, {"x": torch.zeros(3)}, {}).path
    (path / "data.safetensors").write_bytes(b"")

    assert [1.0] == cache.put(ID, {"x": torch.ones(1)}, {}).tensors["x"].tolist()


@pytest.mark.parametrize("name", ["data.safetensors", "meta.json"])
def test_a_missing_file_is_found(cache: Cache, name: str) -> None:
    path = cache.put(ID, {"x": torch.zeros(1)}, {}).path / name
    path.unlink()

    assert [f"{name} is missing"] == [checked.reason for checked in cache.verify()]
    assert cache.get(ID) is None


def test_an_artifact_put_while_it_is_looked_for_is_not_condemned(
    cache: Cache, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_late(path: Path, encoding: str | None = None) -> str:
        try:
            with path.open(encoding=encoding) as file:
                return file.read()
        except FileNotFoundError:
            # Another process puts the artifact after this one has found no metadata.
            if not (cache.root / "artifacts" / LINE / ID[:2] / ID).exists():
                Cache(cache.root, line=LINE).put(ID, {"x": torch.zeros(1)}, {})
            raise

    monkeypatch.setattr(Path, "read_text", read_late)

    assert cache.get(ID) is None
    assert cache.get(ID) is not None


def test_an_artifact_copied_to_another_id_is_not_believed(cache: Cache) -> None:
    folder = cache.put(ID, {"x": torch.zeros(1)}, {}).path
    target = cache.root / "artifacts" / LINE / OTHER[:2] / OTHER
    target.parent.mkdir()
    folder.rename(target)

    assert cache.get(OTHER) is None


def test_reading_what_was_removed_meanwhile_says_so(cache: Cache) -> None:
    artifact = cache.put(ID, {"x": torch.zeros(1)}, {})
    cache.remove_node(ID)

    with pytest.raises(CacheError, match=r"found no artifact 'abab.* any more"):
        _ = artifact.tensors


def test_changing_a_loaded_tensor_does_not_change_the_cache(cache: Cache) -> None:
    artifact = cache.put(ID, {"x": torch.zeros(1000)}, {})
    artifact.tensors["x"].fill_(7)

    assert [None] == [checked.reason for checked in cache.verify()]


def test_nan_is_refused_as_a_fact(cache: Cache) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        cache.put(ID, {}, {"loss": float("nan")})

    assert [] == [path for path in cache.root.rglob("*") if path.is_file()]


def test_a_full_disk_is_told_and_leaves_nothing_behind(cache: Cache) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(CacheError, match=r"could not write .*expected room"):
            cache.put(ID, {"x": torch.zeros(1000)}, {})
        with pytest.raises(CacheError, match=r"could not write .*expected room"):
            cache.save_checkpoint(ID, {"x": torch.zeros(1000)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert [] == [path for path in cache.root.rglob("*") if path.is_file()]


@pytest.mark.parametrize("id", ["../../etc/passwd", "abc", "AB" * 32, ""])
def test_an_id_that_is_no_hash_is_refused(cache: Cache, id: str) -> None:
    with pytest.raises(ValueError, match="expected at least 8 hexadecimal digits"):
        cache.get(id)


@pytest.mark.parametrize("line", ["", "../x", "a/b", ".hidden"])
def test_a_line_that_is_no_folder_name_is_refused(tmp_path: Path, line: str) -> None:
    with pytest.raises(ValueError, match="cpu-1-float32"):
        Cache(tmp_path, line=line)


def test_a_checkpoint_is_replaced_read_and_dropped_by_put(cache: Cache) -> None:
    assert cache.load_checkpoint(ID) is None
    for epoch in (1, 2):
        cache.save_checkpoint(ID, {"epoch": torch.tensor(epoch)})

    saved = cache.load_checkpoint(ID)
    assert saved is not None
    assert 2 == saved["epoch"].item()
    cache.put(ID, {"x": torch.zeros(1)}, {})
    assert cache.load_checkpoint(ID) is None


def test_a_damaged_checkpoint_is_set_aside(cache: Cache, caplog: pytest.LogCaptureFixture) -> None:
    cache.save_checkpoint(ID, {"epoch": torch.tensor(3)})
    path = cache.root / "saved" / LINE / ID[:2] / ID
    path.write_bytes(path.read_bytes()[:-1])

    assert ["the checkpoint does not match its sha256"] == [
        checked.reason for checked in cache.verify()
    ]
    with caplog.at_level(logging.WARNING):
        assert cache.load_checkpoint(ID) is None
    assert "the checkpoint does not match its sha256" in caplog.text
    assert not path.exists()


def test_known_runs_are_the_noted_folders_that_still_exist(cache: Cache, tmp_path: Path) -> None:
    runs = [tmp_path / name for name in ("zebra", "ant", "gone")]
    for run in runs:
        run.mkdir()
        cache.register_run(run)
        cache.register_run(run)
    runs[2].rmdir()

    assert [runs[1], runs[0]] == cache.registered_runs()
    assert 3 == len(list((cache.root / "runs").iterdir()))


def test_the_default_root_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.delenv("ADVTRANSFER_CACHE", raising=False)
    assert Path("/home/someone/.cache/advtransfer") == default_cache_root()
    monkeypatch.setenv("XDG_CACHE_HOME", "/scratch/cache")
    assert Path("/scratch/cache/advtransfer") == default_cache_root()
    monkeypatch.setenv("ADVTRANSFER_CACHE", "/big/disk")
    assert Path("/big/disk") == default_cache_root()


def test_meta_says_what_was_kept_without_a_clock_or_a_machine(cache: Cache) -> None:
    artifact = cache.put(
        ID, {"x": torch.zeros(1)}, {"epochs": 1}, kind="fit", use="finetune/blocks"
    )
    said = json.loads((artifact.path / "meta.json").read_text())

    assert {"format", "id", "line", "kind", "use", "facts", "sha256", "bytes"} == said.keys()
    assert (artifact.path / "data.safetensors").stat().st_size == said["bytes"]
