"""Compressed files of records: bounded, whole, and nothing after their end."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest

from advtransfer.errors import CacheError
from advtransfer.result import record_lines
from advtransfer.result.bounded_reading import iter_json_lines
from advtransfer.result.record_lines import pack_lines

LINES = ['{"a":1}', '{"a":"ä"}', "no json", '{"a":[]}']


def written(folder: Path, content: bytes) -> Path:
    path = folder / "result.jsonl.xz"
    path.write_bytes(content)
    return path


def test_packed_lines_are_read_as_they_were_written(tmp_path: Path) -> None:
    lines = LINES + [f'{{"a":{k}}}' for k in range(100_000)]
    packed = list(iter_json_lines(written(tmp_path, pack_lines(lines))))

    assert [(1, {"a": 1}), (2, {"a": "ä"}), (3, None), (4, {"a": []})] == packed[:4]
    assert [(k + 5, {"a": k}) for k in range(100_000)] == packed[4:]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{}\n" * 9, "is no xz file"),
        (pack_lines(LINES)[:-9], "is cut off"),
        (pack_lines(LINES) + b"more", "goes on after"),
        (pack_lines(LINES) + pack_lines(LINES), "goes on after"),
        (b"", "is cut off"),
    ],
)
def test_a_file_that_is_not_one_whole_xz_stream_is_refused(
    content: bytes, reason: str, tmp_path: Path
) -> None:
    with pytest.raises(CacheError, match=reason):
        list(iter_json_lines(written(tmp_path, content)))


def test_a_file_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    bomb = written(tmp_path, lzma.compress(b'{"a": 10000000}\n' * 1_000_000))

    assert bomb.stat().st_size < 10_000
    with pytest.raises(CacheError, match="too many bytes"):
        list(iter_json_lines(bomb, limit=1 << 20))


def test_a_file_that_asks_for_much_memory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_lines, "MAX_UNPACKER_MEMORY", 1 << 20)

    with pytest.raises(CacheError, match="is no xz file"):
        list(iter_json_lines(written(tmp_path, pack_lines(LINES))))
