"""A model that a transfer makes without a context: its first weights are of the fit's own stream."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import nn

import advtransfer_foolbox
import advtransfer_vision
from advtransfer import executors, runner, suite
from advtransfer.errors import Diverged
from advtransfer.hookspecs import hookimpl
from advtransfer.host import Host, Plugin
from advtransfer.result import Run
from advtransfer.runner import RunSettings
from advtransfer.types import (
    Context,
    DataCard,
    Factory,
    Fitted,
    Network,
    Samples,
    Transfer,
    component,
)
from advtransfer.worker import object_builder

SUITE = """\
version: 1
datasets: {{digits: {{use: vision/digits, classes: [0, 1]}}}}
targets: {{digits: {{data: digits, n: [20], seeds: 2, test: 20}}}}
transfers: {{odd: {{use: {use}}}}}
evaluations: {{clean: {{use: foolbox/clean_accuracy}}}}
"""


@dataclass(frozen=True)
class Drawn:
    """Draws its only layer where it has no context, and trains nothing, or diverges."""

    diverges: bool = False

    def model(
        self, *, source: Network | None, adapter: nn.Module | None, target: DataCard
    ) -> nn.Module:
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
        if self.diverges:
            raise Diverged(3, float("nan"))
        return Fitted()


@component()
def drawn() -> Transfer:
    """A layer as it is drawn."""
    return Drawn()


@component()
def diverging() -> Transfer:
    """A layer that cannot be trained."""
    return Drawn(diverges=True)


@hookimpl
def register_transfers() -> list[Factory[Transfer]]:
    """What this file brings."""
    return [drawn, diverging]


@pytest.fixture
def go(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., Run]:
    """Runs a transfer of this file after torch's global state was seeded, in a folder and a cache of their own."""
    modules = {"vision": advtransfer_vision, "foolbox": advtransfer_foolbox, "local": executors}
    plugins = [Plugin(name, module, "advtransfer", "1.0") for name, module in modules.items()]
    host = Host([*plugins, Plugin("odd", sys.modules[__name__], "odd", "1.0")])
    monkeypatch.setattr(object_builder, "installed_host", lambda: host)

    def run(use: str, *, seed: int = 0) -> Run:
        (tmp_path / "one.yaml").write_text(SUITE.format(use=use))
        torch.manual_seed(seed)
        settings = RunSettings(
            executor="local/inline",
            runs=tmp_path / f"runs {seed}",
            cache=tmp_path / f"cache {seed}",
        )
        return Run(
            runner.run_suite(
                suite.load(str(tmp_path / "one.yaml"), host), settings=settings, host=host
            ).run
        )

    return run


def weights(run: Run) -> list[str]:
    """The digests of the fitted weights, by the id of the fit."""
    records = cast(
        "list[dict[str, Any]]", list(run.read_records())
    )  # Any: records as they are on disk
    return [one["weights"]["digest"] for one in records if one["kind"] == "fit"]


def test_layers_made_in_model_do_not_depend_on_the_global_state(go: Callable[..., Run]) -> None:
    first = weights(go("odd/drawn", seed=1))

    assert first == weights(go("odd/drawn", seed=2))
    assert 2 == len(set(first))


def test_a_failure_says_the_code_that_it_comes_from(go: Callable[..., Run]) -> None:
    attempts = cast(
        "list[dict[str, Any]]", list(go("odd/diverging").latest_attempts().values())
    )  # Any: as above

    assert [True, True] == [one["deterministic"] for one in attempts]
    assert {"odd", "vision"} == set(attempts[0]["observed"]["code"])
