"""First weights of a model that a transfer makes without a context come from the fit's stream."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import nn

from advtransfer import runner, suite
from advtransfer.errors import Diverged
from advtransfer.hookspecs import hookimpl
from advtransfer.host import Host
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
def go(host: Host, tmp_path: Path) -> Callable[..., Run]:
    """Run a transfer of this file after seeding torch's global state, in a separate folder and cache."""

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
    return [record["weights"]["digest"] for record in records if record["kind"] == "fit"]


def test_layers_made_in_model_are_independent_of_the_global_state(go: Callable[..., Run]) -> None:
    first = weights(go("odd/drawn", seed=1))

    assert first == weights(go("odd/drawn", seed=2))
    assert 2 == len(set(first))


def test_failure_records_the_code_of_the_plugins(go: Callable[..., Run]) -> None:
    attempts = cast(
        "list[dict[str, Any]]", list(go("odd/diverging").latest_attempts().values())
    )  # Any: as above

    assert [True, True] == [attempt["deterministic"] for attempt in attempts]
    assert {"odd", "vision"} == set(attempts[0]["observed"]["code"])
