"""A suite of seconds, written as a text and as a mapping, and one run of it from Python."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import advtransfer as at

SUITE_TEXT = """\
version: 1
title: A title with <b>markup</b>
datasets:
  high: {use: vision/digits, classes: [5, 6, 7, 8, 9]}
sources:
  random: {use: vision/random_init, data: high, network: small_cnn}
targets:
  digits: {data: high, n: [20], validation: 0, test: 60}
transfers:
  probe: {use: finetune/linear_probe}
  blow: {use: finetune/full, epochs: 3, optimiser: {kind: sgd, lr: 1e30}}
evaluations:
  clean: {use: foolbox/clean_accuracy}
  fgsm: {use: foolbox/fgsm, norm: linf, eps: [0.05, 0.1]}
leaderboard: {rank_by: clean.accuracy, columns: [clean.accuracy]}
"""


@pytest.fixture(scope="session")
def suite_text() -> str:
    return SUITE_TEXT


@pytest.fixture
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder with a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADVTRANSFER_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.fixture(scope="session")
def report(tmp_path_factory: pytest.TempPathFactory) -> Iterator[at.Report]:
    """The report of the suite, with one trial that failed."""
    folder = tmp_path_factory.mktemp("api")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("ADVTRANSFER_CACHE", str(folder / "cache"))
        at.run(SUITE_TEXT, name="tiny", executor="local/inline", battery="none", quiet=True)
        yield at.open(folder / "runs" / "tiny")
