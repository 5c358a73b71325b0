"""Files that ask for more than they are: refused before they are parsed, at little cost."""

from __future__ import annotations

import base64
import io
import json
import lzma
import os
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from advtransfer.errors import CacheError
from advtransfer.result import Run
from advtransfer.result.bounded_reading import (
    MAX_JSON_DEPTH,
    MAX_RECORD_BYTES,
    check_safetensors,
    iter_json_lines,
    parse_json,
    read_bytes,
    read_json,
    read_npz,
)
from advtransfer.result.outcome_validation import MAX_SAMPLES
from advtransfer.result.record_lines import PACKED_SUFFIX
from advtransfer.result.validation import record_fault
from advtransfer.testing.records import complete_record

KINDS = {"keys": "int64", "inputs": "float32"}
MAX_PEAK_BYTES = 200 * 2**20


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


@pytest.mark.parametrize("depth", [1, MAX_JSON_DEPTH])
def test_json_up_to_the_limit_is_read_as_json_reads_it(depth: int) -> None:
    mappings = (b'{"a":' * depth) + b"1" + b"}" * depth
    for content in (nested(depth), mappings):
        assert json.loads(content) == parse_json(content)


@pytest.mark.parametrize(
    "content",
    [
        nested(MAX_JSON_DEPTH + 1),
        nested(10**5),
        b"[" * 10**5,
        b'{"a":' * 10**5,
        b"[" * 10**5 + b'"' + b'\\"' * 10**5,
        b"[]" * 100,
        b'["\xff"]',
        b"1" * 10**5,
    ],
)
def test_other_json_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match=r"nested deeper|codec|digits|Extra data"):
        parse_json(content)


def test_brackets_in_texts_are_no_levels() -> None:
    value = {"a": "[" * 1000 + '"\\' + "{" * 1000, "b": ["}" * 99, []]}

    assert value == parse_json(json.dumps(value).encode())


def test_a_key_that_stands_twice_is_refused_by_file_line_and_key(tmp_path: Path) -> None:
    """`json.loads` returns the last of its values, and another reader may show the first."""
    twice = b'{"kind": "fit", "metrics": {"accuracy": 1, "other": 2, "accuracy": 0}}'
    with pytest.raises(ValueError, match=r"found the key 'accuracy' twice"):
        parse_json(twice)
    file, lines = tmp_path / "one.json", tmp_path / "many.jsonl"
    file.write_bytes(twice)
    lines.write_bytes(b'{"kind": "fit"}\n{"kind": {"kind": "fit"}}\n' + twice)
    with pytest.raises(CacheError, match=r"one\.json: found the key 'accuracy' twice.*; ask"):
        read_json(file)
    with pytest.raises(CacheError, match=r"many\.jsonl:3: found the key 'accuracy' twice"):
        list(iter_json_lines(lines))


def test_a_line_too_long_is_named_by_its_number_and_the_next_is_read(tmp_path: Path) -> None:
    path = tmp_path / "records.jsonl"
    path.write_bytes(b'{"a": 1}\n' + b" " * 250 + b'{"b": 2}\n[\n{"c": 3}')

    assert [(1, {"a": 1}), (2, None), (3, None), (4, {"c": 3})] == list(
        iter_json_lines(path, line_limit=100)
    )


def test_links_folders_pipes_and_large_files_are_not_opened(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"x" * 10)
    (tmp_path / "link").symlink_to(tmp_path / "file")
    os.mkfifo(tmp_path / "pipe")

    assert b"x" * 10 == read_bytes(tmp_path / "file", limit=10)
    for name, reason in (
        ("link", "a link"),
        ("pipe", "it is no file"),
        (".", "it is no file"),
        ("missing", "cannot be read"),
    ):
        with pytest.raises(CacheError, match=reason):
            read_bytes(tmp_path / name)
    with pytest.raises(CacheError, match="of 10 bytes; expected at most 9"):
        read_bytes(tmp_path / "file", limit=9)


def test_arrays_of_the_named_types_are_read(tmp_path: Path) -> None:
    keys, inputs = np.arange(3), np.ones((3, 1, 2, 2), dtype=np.float32)
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", keys=keys, inputs=inputs)
        arrays = read_npz(tmp_path / "a.npz", KINDS)

        assert (keys == arrays["keys"]).all()
        assert (inputs == arrays["inputs"]).all()


def zipped(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/"), content)
    return file.getvalue()


def npy(array: object, shape: str | None = None) -> bytes:
    file = io.BytesIO()
    np.save(file, np.asarray(array), allow_pickle=True)
    content = file.getvalue()
    if shape is None:
        return content
    head, _, rest = content.partition(b"(3,)")
    stated = shape.encode()
    return head + stated + rest.replace(b" " * (len(stated) - 4), b"", 1)


def long_header(size: int) -> bytes:
    """Return an array of the format 2.0 whose header states and has `size` bytes."""
    return b"\x93NUMPY\2\0" + size.to_bytes(4, "little") + b" " * size


INPUTS = npy(np.ones((3, 4), dtype=np.float32))


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (zipped(**{"keys.npy": npy([1, 2, 3])}), "1 files"),
        (zipped(**{"keys.npy": npy([1, 2, 3]), "..__inputs.npy": INPUTS}), "2 files"),
        (zipped(**{"keys.npy": npy([{}] * 3), "inputs.npy": INPUTS}), "expected int64"),
        (zipped(**{"keys.npy": npy([1.0] * 3), "inputs.npy": INPUTS}), "expected int64"),
        (
            zipped(**{"keys.npy": npy([1, 2, 3], "(1000000000000,)"), "inputs.npy": INPUTS}),
            "states 8,000,000,000,000 bytes",
        ),
        (zipped(**{"keys.npy": npy([1, 2, 3], "(2,)"), "inputs.npy": INPUTS}), "another number"),
        (
            zipped(**{"keys.npy": npy(np.zeros(10**6, np.int64)), "inputs.npy": INPUTS}),
            "above 1,000,000",
        ),
        (zipped(**{"keys.npy": long_header(10**7), "inputs.npy": INPUTS}), "is refused"),
        (zipped(**{f"{number}": b"" for number in range(17)}), "it holds 17 files"),
        (zipped(**{"keys.npy": npy([1, 2, 3])}) + bytes(70), "not a zip"),
        (b"no archive", "not a zip"),
    ],
    ids=[
        *("missing", "path", "objects", "type", "10^12", "length", "bomb", "header", "many files"),
        *("comment", "no zip"),
    ],
)
def test_other_archives_are_refused(content: bytes, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "examples.npz"
    path.write_bytes(content)

    with pytest.raises(CacheError, match=reason):
        read_npz(path, KINDS, limit=10**6)


def test_shapes_are_checked_before_anything_is_unpacked(tmp_path: Path) -> None:
    # The second member is damaged behind its header, which only unpacking sees.
    content = zipped(**{"keys.npy": npy([1, 2, 3]), "inputs.npy": INPUTS[:-1]})
    path = tmp_path / "examples.npz"
    path.write_bytes(content)
    seen: list[dict[str, tuple[int, ...]]] = []

    with pytest.raises(CacheError, match="another number"):
        read_npz(path, KINDS, check_shapes=lambda shapes: seen.append(dict(shapes)))
    assert [{"keys": (3,), "inputs": (3, 4)}] == seen


@pytest.mark.parametrize(
    "content",
    [
        (10**12).to_bytes(8, "little") + b"{}",
        (2 * 10**5).to_bytes(8, "little") + nested(10**5),
        (52).to_bytes(8, "little")
        + b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}'[:52],
        (6).to_bytes(8, "little") + b'{"a":1}',
        b"",
    ],
)
def test_other_safetensors_are_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)

    with pytest.raises(CacheError, match=r"a\.safetensors"):
        check_safetensors(path)


def test_safetensors_as_they_are_written_pass(tmp_path: Path) -> None:
    from safetensors.numpy import save_file

    save_file({"a": np.ones(3), "b": np.ones((2, 2), dtype=np.float32)}, tmp_path / "a")
    check_safetensors(tmp_path / "a")


def bomb_record(of: int, unpacked: int) -> bytes:
    """Return a result whose outcomes state `of` samples and unpack to `unpacked` bytes."""
    record = complete_record(
        {"kind": "result", "metrics": {"accuracy": {"low": 1, "high": 1, "of": 4}}}
    )
    unpacker = zlib.compressobj(9)
    packed = b"".join(unpacker.compress(bytes(2**20)) for _ in range(unpacked >> 20))
    text = base64.b64encode(packed + unpacker.flush()).decode()
    outcomes = {"robust": of, "broken": 0, "unknown": 0, "wrong": 0, "of": of, "packed": text}
    record["outcomes"] = {"accuracy": outcomes}  # type: ignore[dict-item]  # a JSON value
    return json.dumps(record).encode()


def hostile_files() -> dict[str, Callable[[Path], object]]:
    """Return what writes each hostile file into a run folder's ``records``, by its name."""
    deep = b'{"a":' * 10**5 + b"1" + b"}" * 10**5
    return {
        "deep": lambda path: path.write_bytes(deep),
        "count": lambda path: path.write_bytes(bomb_record(10**12, 1 << 20)),
        "zlib": lambda path: path.write_bytes(bomb_record(400, 1 << 30)),
        "large": lambda path: os.truncate(path.touch() or path, 2**33),
        "line": lambda path: path.write_bytes(b"[" + b"1," * MAX_RECORD_BYTES + b"1]"),
        "lines": lambda path: (
            path.with_suffix("")
            .with_suffix(PACKED_SUFFIX)
            .write_bytes(lzma.compress(b"\n" * 10**7))
        ),
        "link": lambda path: path.symlink_to("/etc/passwd"),
    }


READ = """
import sys, time
from pathlib import Path
import numpy
from advtransfer.result import Run
began = time.process_time()
try:
    run = Run(Path(sys.argv[1]))
    print(len(list(run.read_records())), len(run.damaged_records()))
except Exception as error:
    print(type(error).__name__)
status = Path("/proc/self/status").read_text()
# Of this program alone: ru_maxrss would hold what the parent had when it forked.
print(status.partition("VmHWM:")[2].split()[0], time.process_time() - began)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is read from /proc")
@pytest.mark.parametrize("name", ["deep", "count", "zlib", "large", "line", "lines", "link"])
def test_a_hostile_file_costs_little(name: str, tmp_path: Path) -> None:
    (tmp_path / "records").mkdir()
    hostile_files()[name](tmp_path / "records" / "result.jsonl")
    child = subprocess.run(
        [sys.executable, "-c", READ, str(tmp_path)], capture_output=True, text=True, check=True
    )
    outcome, costs = child.stdout.splitlines()
    peak, seconds = costs.split()

    assert outcome in ("0 1", "CacheError")
    assert int(peak) << 10 < MAX_PEAK_BYTES
    assert float(seconds) < 1


def test_more_samples_than_a_test_part_has_are_refused() -> None:
    fault = record_fault(json.loads(bomb_record(MAX_SAMPLES + 1, 1 << 20)))

    assert "found accuracy of 10000001 samples; expected a count up to 10,000,000" in str(fault)


def test_a_record_of_a_run_is_limited_as_well(tmp_path: Path) -> None:
    path = tmp_path / "records" / "aa" / f"{'a' * 64}.json"
    path.parent.mkdir(parents=True)
    path.touch()
    os.truncate(path, MAX_RECORD_BYTES + 1)
    damaged = Run(tmp_path).damaged_records()

    assert "expected at most 8,388,608" in damaged[f"records/aa/{'a' * 64}.json"]
    with pytest.raises(CacheError, match=r"a\.json"):
        read_json(path, limit=1)
