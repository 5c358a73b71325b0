from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from advtransfer.suite import Suite


def test_file_enters_the_id_by_content_not_by_path(
    suite: Callable[..., Suite], write: Callable[[str, str], Path]
) -> None:
    write("a.npz", "content")
    write("elsewhere/b.npz", "content")
    write("c.npz", "other content")
    a, b, c = suite(
        datasets="low: {use: toy/archive, file: a.npz}\n"
        "b: {use: toy/archive, file: elsewhere/b.npz}\n"
        "c: {use: toy/archive, file: c.npz}"
    ).datasets

    sha256 = hashlib.sha256(b"content").hexdigest()
    assert a.node.options == {"file": {"sha256": sha256}}
    assert a.node.files == {sha256: str(Path("a.npz").resolve())}
    assert a.node.id == b.node.id != c.node.id


def test_file_is_looked_for_under_the_data_folder_first(
    suite: Callable[..., Suite], write: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    write("a.npz", "beside the suite")
    folder = write("data/a.npz", "under the data folder").parent
    monkeypatch.setenv("ADVTRANSFER_DATA", str(folder))

    node = suite(datasets="low: {use: toy/archive, file: a.npz}").datasets[0].node

    assert list(node.files.values()) == [str(folder / "a.npz")]


def test_folder_digest_is_that_of_its_manifest(
    suite: Callable[..., Suite], write: Callable[[str, str], Path]
) -> None:
    for name in ("a/x.png", "a/deep/y.png", "b/x.png", "b/deep/y.png"):
        write(name, "pixels")
    write("c/x.png", "pixels")
    a, b, c = suite(
        datasets="low: {use: toy/folders, root: a}\nb: {use: toy/folders, root: b}\nc: {use: toy/folders, root: c}"
    ).datasets

    pixels = hashlib.sha256(b"pixels").hexdigest()
    manifest = f'[["deep/y.png","{pixels}"],["x.png","{pixels}"]]'
    assert a.node.options == {"root": {"sha256": hashlib.sha256(manifest.encode()).hexdigest()}}
    assert a.node.id == b.node.id != c.node.id


def test_declared_digest_spares_reading_the_file(
    suite: Callable[..., Suite], write: Callable[[str, str], Path]
) -> None:
    write("a.npz", "content")

    node = (
        suite(datasets=f"low: {{use: toy/archive, file: a.npz, sha256: {'ab' * 32}}}")
        .datasets[0]
        .node
    )

    assert node.options == {"file": {"sha256": "ab" * 32}}


def test_option_of_a_kind_that_is_not_required_may_be_left_out(
    suite: Callable[..., Suite],
) -> None:
    node = suite(datasets="low: {use: toy/folders}").datasets[0].node

    assert (node.options, node.inputs) == ({}, {})
