from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import pytest

from advtransfer.hookspecs import hookimpl
from advtransfer.host import Host, Plugin
from advtransfer.node import Node
from advtransfer.planning import make_plan
from advtransfer.planning.nodes import SuiteIndex
from advtransfer.suite import Suite, load
from advtransfer.types import DataCard, Dataset, Evaluation, Factory, NotInId, Samples, Transfer
from advtransfer.worker.object_builder import call_factory

SUITE = """\
datasets:
  set: {{use: how/fetched, name: a{data}}}
targets:
  task: {{data: set, n: 20}}
transfers:
  probe: {{use: how/probe{transfer}}}
evaluations:
  clean: {{use: how/accuracy{evaluation}}}
"""


@dataclass(frozen=True)
class Fetched:
    """What its factory was called with."""

    name: str
    download: bool

    def card(self) -> DataCard:
        raise AssertionError(self)

    def part(self, name: str) -> Samples:
        raise AssertionError(name)


def fetched(*, name: str, download: Annotated[bool, NotInId()] = False) -> Dataset:
    """A data set that can be fetched."""
    return Fetched(name, download)


def probe(*, workers: Annotated[int, NotInId()] = 1) -> Transfer:
    """A transfer."""
    raise AssertionError(workers)


def accuracy(*, shown: Annotated[bool, NotInId()] = False) -> Evaluation:
    """An evaluation."""
    raise AssertionError(shown)


@hookimpl
def register_datasets() -> Iterable[Factory[Dataset]]:
    return [fetched]


@hookimpl
def register_transfers() -> Iterable[Factory[Transfer]]:
    return [probe]


@hookimpl
def register_evaluations() -> Iterable[Factory[Evaluation]]:
    return [accuracy]


HOST = Host([Plugin("how", sys.modules[__name__], "how", "1.0")])


def _suite(folder: Path, *, data: str = "", transfer: str = "", evaluation: str = "") -> Suite:
    path = folder / "how.yaml"
    path.write_text(SUITE.format(data=data, transfer=transfer, evaluation=evaluation))
    return load(str(path), HOST)


def test_non_identity_option_changes_no_id(tmp_path: Path) -> None:
    plain = make_plan(_suite(tmp_path), HOST)
    plan = make_plan(
        _suite(
            tmp_path, data=", download: true", transfer=", workers: 4", evaluation=", shown: true"
        ),
        HOST,
    )

    assert plain.trials == plan.trials


def test_non_identity_option_is_beside_the_options_of_a_node(tmp_path: Path) -> None:
    node = _suite(tmp_path, data=", download: true").datasets[0].node

    assert ({"name": "a"}, {"download": True}) == (node.options, node.options_not_in_id)
    assert "download" not in str(node.id_fields())
    assert node.options_not_in_id == Node.from_json(node.to_json()).options_not_in_id


def test_fits_and_results_carry_non_identity_options_to_the_worker(tmp_path: Path) -> None:
    suite = _suite(tmp_path, transfer=", workers: 4", evaluation=", shown: true")
    (trial,) = make_plan(suite, HOST).trials
    (result,) = SuiteIndex(suite).trial_results(trial)

    assert {"workers": 4} == SuiteIndex(suite).trial_fit(trial).options_not_in_id
    assert {"shown": True} == result.options_not_in_id


@pytest.mark.parametrize(("written", "download"), [("", False), (", download: true", True)])
def test_factory_is_called_with_the_non_identity_option(
    tmp_path: Path, written: str, download: bool
) -> None:
    node = _suite(tmp_path, data=written).datasets[0].node

    assert Fetched("a", download) == call_factory(HOST.component(node.use), node, lambda part: part)
