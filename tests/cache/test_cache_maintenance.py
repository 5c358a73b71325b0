"""Room is made least recently used first; leased nodes and the one just put stay; none of it needs torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from advtransfer.cache import Cache
from advtransfer.errors import Busy

LINE = "cpu-1-float32"
IDS = ["a" * 64, "b" * 64, "c" * 64]


def filled(root: Path, *, max_bytes: int | None = None) -> Cache:
    """Three artifacts of one size, used in the order c, a, b."""
    cache = Cache(root, line=LINE)
    for id in IDS:
        cache.put(id, {"x": torch.zeros(1000)}, {}, kind="source", use="vision/trained")
    for place, id in enumerate([IDS[2], IDS[0], IDS[1]]):
        used(cache, id, 1000.0 + place)
    return Cache(root, line=LINE, max_bytes=max_bytes)


def used(cache: Cache, id: str, seconds: float) -> None:
    os.utime(
        cache.root / "artifacts" / cache.environment_key / id[:2] / id / "meta.json",
        (seconds, seconds),
    )


def size(cache: Cache) -> int:
    return next(cache.list_entries()).bytes


def test_entries_say_what_lies_there(tmp_path: Path) -> None:
    cache = filled(tmp_path)
    Cache(tmp_path, line="cuda-1-float32").save_checkpoint(IDS[0], {"x": torch.zeros(1)})

    entries = list(cache.list_entries())

    assert [(id, LINE) for id in IDS] + [(IDS[0], "cuda-1-float32")] == [
        (entry.id, entry.environment_key) for entry in entries
    ]
    assert ["source"] * 3 + ["checkpoint"] == [entry.kind for entry in entries]
    assert [1001.0, 1002.0, 1000.0] == [entry.last_used for entry in entries[:3]]
    assert all(entry.use == "vision/trained" and entry.bytes > 4000 for entry in entries[:3])


def test_prune_removes_the_least_recently_used_first(tmp_path: Path) -> None:
    cache = filled(tmp_path)
    one = size(cache)

    pruned = cache.prune(one)

    assert [IDS[2], IDS[0]] == [entry.id for entry in pruned.removed]
    assert (2 * one, one) == (pruned.removed_bytes, pruned.remaining_bytes)
    assert [IDS[1]] == [entry.id for entry in cache.list_entries()]


def test_reading_an_artifact_makes_it_recently_used(tmp_path: Path) -> None:
    cache = filled(tmp_path)
    cache.get(IDS[2])

    pruned = cache.prune(2 * size(cache))

    assert [IDS[0]] == [entry.id for entry in pruned.removed]


def test_prune_leaves_what_is_leased(tmp_path: Path) -> None:
    cache = filled(tmp_path)

    with cache.hold_lock(IDS[2]):
        pruned = cache.prune(0)

    assert [IDS[0], IDS[1]] == [entry.id for entry in pruned.removed]
    assert [IDS[2]] == [entry.id for entry in cache.list_entries()]


def test_put_evicts_when_there_is_a_limit_but_never_what_it_has_just_put(tmp_path: Path) -> None:
    cache = filled(tmp_path, max_bytes=10_000)
    cache.put("d" * 64, {"x": torch.zeros(1000)}, {})
    assert [IDS[1], "d" * 64] == [entry.id for entry in cache.list_entries()]

    Cache(tmp_path, line=LINE, max_bytes=1).put("e" * 64, {"x": torch.zeros(1000)}, {})
    assert ["e" * 64] == [entry.id for entry in cache.list_entries()]


def test_prune_also_removes_what_was_set_aside_and_old_checkpoints(tmp_path: Path) -> None:
    cache = filled(tmp_path)
    cache.save_checkpoint("d" * 64, {"x": torch.zeros(1)})
    (cache.root / "artifacts" / LINE / "aa" / IDS[0] / "meta.json").unlink()
    cache.get(IDS[0])

    pruned = cache.prune(0)

    assert [IDS[2], IDS[1], "d" * 64] == [entry.id for entry in pruned.removed]
    assert not (cache.root / "corrupt").exists()


def test_remove_gives_back_the_bytes_of_one_node(tmp_path: Path) -> None:
    cache = filled(tmp_path)
    one = size(cache)
    cache.save_checkpoint(IDS[0], {"x": torch.zeros(1)})
    with cache.hold_lock(IDS[0]), pytest.raises(Busy, match="locked"):
        cache.remove_node(IDS[0])

    assert one < cache.remove_node(IDS[0])
    assert 0 == cache.remove_node(IDS[0])
    assert [IDS[1], IDS[2]] == [entry.id for entry in cache.list_entries()]


def test_verify_tells_the_corrupt_from_the_intact(tmp_path: Path) -> None:
    cache = filled(tmp_path)
    data = cache.root / "artifacts" / LINE / "bb" / IDS[1] / "data.safetensors"
    data.write_bytes(data.read_bytes() + b"!")

    checked = cache.verify()

    assert [True, False, True] == [one.reason is None for one in checked]
    assert "expected" in (checked[1].reason or "")
    assert data.exists()


def test_upkeep_needs_neither_torch_nor_numpy(tmp_path: Path) -> None:
    filled(tmp_path)
    program = (
        "import sys; from pathlib import Path; from advtransfer.cache import Cache\n"
        f"cache = Cache(Path({str(tmp_path)!r}), line={LINE!r})\n"
        "print(len(list(cache.list_entries())), len(cache.verify()), cache.get('a' * 64).facts)\n"
        "print(len(cache.prune(0).removed))\n"
        "print(sorted({'torch', 'numpy'} & set(sys.modules)))"
    )

    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout

    assert ["3 3 {}", "3", "[]"] == told.splitlines()
