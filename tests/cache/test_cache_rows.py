"""A row is there when its checksum is right: nothing torn, missing or evicted is ever read as one."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import Tensor

from advtransfer.cache import Cache, RowFile
from advtransfer.errors import CacheError

ID, LINE = "ab" * 32, "cpu-1-float32"


@pytest.fixture
def store(tmp_path: Path) -> RowFile:
    return Cache(tmp_path, line=LINE).rows(ID, kind="features", use="finetune/linear_probe")


def row(number: int) -> Tensor:
    return torch.full((2, 3), float(number))


def kept(store: RowFile, *numbers: int) -> None:
    store.write({number: row(number) for number in numbers})


def damage(store: RowFile, number: int) -> None:
    with (store.folder / "rows.bin").open("r+b") as data:
        data.seek(number * 24 + 5)
        data.write(b"!")


def test_rows_come_back_by_number_to_the_same_bits(store: RowFile) -> None:
    rows = {number: torch.randn(2, 3) for number in (7, 0, 1000)}
    store.write(rows)

    found = store.read([1000, 3, 7, 0])

    assert [1000, 7, 0] == list(found)
    assert all(found[number].equal(one) for number, one in rows.items())


def test_an_empty_store_has_no_rows_and_makes_no_folder(store: RowFile) -> None:
    assert {} == store.read([0, 1])
    assert {} == store.read([])
    assert not store.folder.exists()


def test_a_row_of_zeros_is_not_a_hole(store: RowFile) -> None:
    kept(store, 0, 5)

    assert [0, 5] == list(store.read([0, 1, 2, 5]))


def test_rows_are_added_to_those_that_are_there(store: RowFile) -> None:
    kept(store, 1)
    kept(store, 2, 3)

    assert [1, 2, 3] == list(store.read(range(5)))


def test_a_torn_row_is_no_row_until_it_is_written_again(store: RowFile) -> None:
    kept(store, 1, 2)
    damage(store, 1)
    assert [2] == list(store.read([1, 2]))

    kept(store, 1)
    assert [1, 2] == list(store.read([1, 2]))


def test_a_file_that_was_cut_short_has_only_what_is_left_of_it(store: RowFile) -> None:
    kept(store, 0, 1, 2)
    os.truncate(store.folder / "rows.bin", 50)
    assert [0, 1] == list(store.read([0, 1, 2]))

    os.truncate(store.folder / "sums.bin", 5)
    assert [0] == list(store.read([0, 1, 2]))


def test_what_cannot_be_read_is_replaced(store: RowFile) -> None:
    kept(store, 0)
    (store.folder / "meta.json").write_text("{")
    assert {} == store.read([0])

    kept(store, 1)
    assert [1] == list(store.read([0, 1]))


def test_rows_of_another_shape_are_refused(store: RowFile) -> None:
    kept(store, 0)

    with pytest.raises(CacheError, match=r"shape=\(2, 3\).*expected.*shape=\(4,\)"):
        store.write({1: torch.zeros(4)})


def test_a_store_that_is_evicted_while_it_is_read_gives_all_it_had(
    store: RowFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept(store, *range(10))
    reading = os.utime

    def evicted(path: Path) -> None:
        reading(path)
        Cache(store.folder.parents[3], line=LINE).prune(0)

    monkeypatch.setattr(os, "utime", evicted)

    assert [*range(10)] == list(store.read(range(10)))
    assert not store.folder.exists()


def test_several_workers_that_write_the_same_rows_agree(tmp_path: Path) -> None:
    program = (
        "import sys, torch; from pathlib import Path; from advtransfer.cache import Cache\n"
        f"store = Cache(Path({str(tmp_path)!r}), line={LINE!r}).rows({ID!r})\n"
        "for number in range(300): store.write({number: torch.full((2, 3), float(number))})\n"
    )
    workers = [subprocess.Popen([sys.executable, "-c", program]) for _ in range(2)]
    assert [0, 0] == [worker.wait() for worker in workers]

    found = Cache(tmp_path, line=LINE).rows(ID).read(range(301))

    assert [*range(300)] == list(found)
    assert all(one.equal(row(number)) for number, one in found.items())


def test_a_writer_that_is_killed_leaves_whole_rows_or_none(tmp_path: Path) -> None:
    program = (
        "import sys, torch; from pathlib import Path; from advtransfer.cache import Cache\n"
        f"store = Cache(Path({str(tmp_path)!r}), line={LINE!r}).rows({ID!r})\n"
        "print('ready', flush=True)\n"
        "for number in range(10**6): store.write({number: torch.full((500, 500), float(number))})\n"
    )
    for moment in (0.01, 0.1):
        with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(moment)
            writer.kill()
    found = Cache(tmp_path, line=LINE).rows(ID).read(range(300))

    assert found
    assert all(one.eq(number).all() for number, one in found.items())


def test_a_store_is_an_entry_whose_holes_count_nothing(tmp_path: Path, store: RowFile) -> None:
    kept(store, 0, 10_000_000)
    (entry,) = Cache(tmp_path, line=LINE).list_entries()

    assert (ID, LINE, "features", "finetune/linear_probe") == (
        entry.id,
        entry.environment_key,
        entry.kind,
        entry.use,
    )
    assert 0 < entry.bytes < 100_000
    assert (store.folder / "rows.bin").stat().st_size > 100_000_000


def test_a_store_makes_room_and_is_evicted_when_it_was_not_used_for_longest(tmp_path: Path) -> None:
    cache = Cache(tmp_path, line=LINE, max_bytes=1)
    old, new = cache.rows("aa" * 32), cache.rows("bb" * 32)
    kept(old, 0)
    kept(new, 0)
    os.utime(new.folder / "meta.json", (1000, 1000))
    old.read([0])

    assert ["bb" * 32] == [entry.id for entry in Cache(tmp_path, line=LINE).prune(20_000).removed]

    kept(new, 0)
    cache.make_room(keep=new.folder)
    assert ["bb" * 32] == [entry.id for entry in cache.list_entries()]


def test_removing_a_store_gives_back_what_it_took(tmp_path: Path, store: RowFile) -> None:
    kept(store, 0)
    cache = Cache(tmp_path, line=LINE)
    size = next(cache.list_entries()).bytes

    assert size == cache.remove_node(ID)
    assert {} == store.read([0])


def test_verify_names_rows_that_do_not_match(tmp_path: Path, store: RowFile) -> None:
    kept(store, 0, 1, 2)
    cache = Cache(tmp_path, line=LINE)
    assert [None] == [one.reason for one in cache.verify()]

    damage(store, 1)
    assert ["rows that do not match their checksum: 1, the first is 1"] == [
        one.reason for one in cache.verify()
    ]

    (store.folder / "meta.json").unlink()
    assert ["meta.json does not say what a row is"] == [one.reason for one in cache.verify()]


def test_looking_after_rows_needs_neither_torch_nor_numpy(tmp_path: Path, store: RowFile) -> None:
    kept(store, 0)
    program = (
        "import sys; from pathlib import Path; from advtransfer.cache import Cache\n"
        f"cache = Cache(Path({str(tmp_path)!r}), line={LINE!r})\n"
        "print(len(list(cache.list_entries())), len(cache.verify()), len(cache.prune(0).removed))\n"
        "print(sorted({'torch', 'numpy'} & set(sys.modules)))"
    )

    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout

    assert ["1 1 1", "[]"] == told.splitlines()
