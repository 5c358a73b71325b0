"""A model that a transfer makes without a context: its first weights are of the fit's own stream."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import nn

import advtransfer_foolbox
import advtransfer_vision
from advtransfer import executors, runner, suite
from advtransfer.hookspecs import hookimpl
from advtransfer.host import Host, Plugin
from advtransfer.result import Run
from advtransfer.runner import Settings
from advtransfer.trial import workshop
from advtransfer.types import Context, DataCard, Factory, Fitted, Network, Samples, Transfer, component

SUITE = """\
version: 1
datasets: {digits: {use: vision/digits, classes: [0, 1]}}
targets: {digits: {data: digits, n: [20], seeds: 2, test: 20}}
transfers: {drawn: {use: odd/drawn}}
evaluations: {clean: {use: foolbox/clean_accuracy}}
"""


class Drawn:
    """Draws its only layer where it has no context, and trains nothing."""

    def model(self, *, source: Network | None, adapter: nn.Module | None, target: DataCard) -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(64, target.outputs))

    def fit(
        self,
        model: nn.Module,
        *,
        source: Network | None,
        adapter: nn.Module | None,
        train: Samples,
        validation: Samples | None,
        context: Context,
    ) -> Fitted:
        return Fitted()


@component()
def drawn() -> Transfer:
    """A layer as it is drawn."""
    return Drawn()


@hookimpl
def register_transfers() -> list[Factory[Transfer]]:
    """What this file brings."""
    return [drawn]


@pytest.fixture
def weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[int], dict[int, str]]:
    """The digests of the fitted weights, by the seed of the subset, after torch's global state was seeded."""
    modules = {"vision": advtransfer_vision, "foolbox": advtransfer_foolbox, "local": executors}
    plugins = [Plugin(name, module, "advtransfer", "1.0") for name, module in modules.items()]
    host = Host([*plugins, Plugin("odd", sys.modules[__name__], "odd", "1.0")])
    monkeypatch.setattr(workshop, "installed", lambda: host)
    (tmp_path / "one.yaml").write_text(SUITE)

    def run(seed: int) -> dict[int, str]:
        torch.manual_seed(seed)
        settings = Settings(executor="local/inline", runs=tmp_path / f"runs {seed}", cache=tmp_path / f"cache {seed}")
        summary = runner.run(suite.load(str(tmp_path / "one.yaml"), host), settings=settings, host=host)
        records = cast("list[dict[str, Any]]", list(Run(summary.run).records()))  # Any: records as they are on disk
        fits = [one for one in records if one["kind"] == "fit"]
        return {number: one["weights"]["digest"] for number, one in enumerate(sorted(fits, key=lambda one: one["id"]))}

    return run


def test_layers_made_in_model_do_not_depend_on_the_global_state(weights: Callable[[int], dict[int, str]]) -> None:
    first = weights(1)

    assert first == weights(2)
    assert 2 == len(set(first.values()))
