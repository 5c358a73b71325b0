"""The code of a plugin changes under one version: what was made with the old code is told, and measured again."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from advtransfer.testing.command import Command

PLUGIN = '''\
from advtransfer.hookspecs import hookimpl
from advtransfer.types import Source, Transfer, component


@component()
def flat(*, seed: int = 0) -> Source:
    """A linear network."""
    from odd_models import Flat

    return Flat()


@component(needs=["source"])
def same() -> Transfer:
    """The source as it is."""
    from odd_models import Same

    return Same()


@hookimpl
def register_sources():
    return [flat]


@hookimpl
def register_transfers():
    return [same]
'''
MODELS = """\
import copy

import torch
from torch import nn

from advtransfer.toolkit.network import BlockNetwork
from advtransfer.types import Fitted, SourceCard, Weights

SIGN = 1


class Flat:
    def card(self):
        return SourceCard("flat", "none", "none", (1, 8, 8), 2)

    def network(self):
        return BlockNetwork({"flat": nn.Flatten()}, nn.Linear(64, 2))

    def weights(self, context):
        drawn = torch.randn(2, 64, generator=context.generator("weights"))
        return Weights({"head.weight": SIGN * drawn, "head.bias": torch.zeros(2)})


class Same:
    def model(self, *, source, adapter, target):
        return copy.deepcopy(source)

    def fit(self, model, **given):
        return Fitted()
"""
SUITE = """\
version: 1
datasets: {d: {use: vision/npz, file: images.npz}}
sources: {flat: {use: odd/flat}}
targets: {t: {data: d, n: [20], seeds: 1, test: 100}}
transfers: {same: {use: odd/same}}
evaluations: {clean: {use: foolbox/clean_accuracy}}
"""
Read = dict[str, Any]  # Any: records as they lie on disk


@pytest.fixture
def command(tmp_path: Path) -> Command:
    """The command line beside a plugin of two modules, as an editable install leaves it: its files are not listed."""
    info = tmp_path / "plugin" / "odd-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: odd\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[advtransfer]\nodd = odd_plugin\n")
    (tmp_path / "plugin" / "odd_plugin.py").write_text(PLUGIN)
    (tmp_path / "plugin" / "odd_models.py").write_text(MODELS)
    (tmp_path / "odd.yaml").write_text(SUITE)
    # Noise from a file: scikit-learn's digits would cost each of the processes seconds of imports.
    images = np.random.default_rng(0).integers(0, 256, (200, 8, 8), dtype=np.uint8)
    labels = np.arange(100) % 2
    np.savez(
        tmp_path / "images.npz",
        x_train=images[:100],
        y_train=labels,
        x_test=images[100:],
        y_test=labels,
    )
    path = f"{tmp_path / 'plugin'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    return Command(
        tmp_path, {**os.environ, "PYTHONPATH": path, "XDG_CACHE_HOME": str(tmp_path / "cache")}
    )


def records(folder: Path) -> dict[str, Read]:
    found = (json.loads(path.read_text()) for path in folder.glob("records/*/*.json"))
    return {
        f"{one['kind']} {one['asked']['use']}": one
        for one in found
        if one["asked"]["use"] != "finetune/linear_probe"
    }


def test_what_was_made_with_other_code_is_named_measured_again_and_kept(command: Command) -> None:
    run = ("run", "odd.yaml", "--executor", "local/inline")
    folder = command.folder / "runs" / "odd"
    command(*run)
    before = records(folder)
    accuracy = before["result foolbox/clean_accuracy"]["metrics"]["accuracy"]["value"]
    models = command.folder / "plugin" / "odd_models.py"
    models.write_text(MODELS.replace("SIGN = 1", "SIGN = -1"))

    planned = command("plan", "odd.yaml").stdout
    told = json.loads(command("status", str(folder), "--json").stdout)
    trusted = command(*run, "--trust-versions")

    assert (
        "stale in runs/odd: 3 records, since the code of odd has changed under the same version"
        in planned
    )
    assert (3, 0, 1) == (told["stale"], told["done"], told["todo"])
    assert "1 done, 0 failed, 0 skipped, 0 to do" in trusted.stdout
    assert before == records(folder)

    ended = command(*run)
    after = records(folder)
    said = (
        "stale: the code of odd has changed under the same version; measured again: "
        "source flat, fit of flat -> t n=20"
    )

    assert said in ended.stderr
    assert "1 done, 0 failed, 0 skipped, 0 to do" in ended.stdout
    assert before.keys() == after.keys()
    assert before["source odd/flat"]["weights"] != after["source odd/flat"]["weights"]
    assert accuracy != after["result foolbox/clean_accuracy"]["metrics"]["accuracy"]["value"]
    assert {"odd", "vision", "foolbox"} == set(
        after["result foolbox/clean_accuracy"]["observed"]["code"]
    )
    for one in before.values():
        assert one == json.loads(
            (folder / "superseded" / one["id"] / "1" / "record.json").read_text()
        )
