"""``advtransfer list`` over a host that a test builds."""

from __future__ import annotations

import json
from collections.abc import Iterable
from types import ModuleType

import pytest
from click.testing import CliRunner

from advtransfer.cli import main
from advtransfer.hookspecs import hookimpl
from advtransfer.host import Host, Plugin
from advtransfer.jobs import Executor
from advtransfer.types import Dataset, Factory


def squares(*, side: int = 8) -> Dataset:
    """Filled squares.

    Args:
        side: Pixels.
    """
    raise AssertionError("a list builds nothing")


def engine() -> Executor:
    """An engine."""
    raise AssertionError("a list builds nothing")


@hookimpl
def register_datasets() -> Iterable[Factory[Dataset]]:
    return [squares]


@hookimpl
def register_executors() -> Iterable[Factory[Executor]]:
    return [engine]


def shapes() -> ModuleType:
    """A plugin with a data set and an executor."""
    module = ModuleType("shapes")
    vars(module).update(register_datasets=register_datasets, register_executors=register_executors)
    return module


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> list[Plugin]:
    """The plugins that the command line finds."""
    plugins_found = [Plugin("shapes", shapes(), "advtransfer-shapes", "2.1")]
    monkeypatch.setattr(Host, "discover", lambda: Host(plugins_found))
    return plugins_found


@pytest.mark.usefixtures("plugins")
def test_components_are_listed_by_kind_with_the_distribution_that_brings_them() -> None:
    result = CliRunner().invoke(main, ["list"])

    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "NAME            KIND      PLUGIN                           SUMMARY",
        "shapes/squares  dataset   shapes (advtransfer-shapes 2.1)  Filled squares.",
        "shapes/engine   executor  shapes (advtransfer-shapes 2.1)  An engine.",
    ]


@pytest.mark.usefixtures("plugins")
def test_kind_narrows_the_list() -> None:
    result = CliRunner().invoke(main, ["list", "executor", "--json"])

    assert json.loads(result.stdout) == [
        {"name": "shapes/engine", "kind": "executor", "plugin": "shapes", "summary": "An engine."}
    ]


@pytest.mark.usefixtures("plugins")
def test_unknown_kind_is_answered_with_the_kinds() -> None:
    result = CliRunner().invoke(main, ["list", "model"])

    assert (result.exit_code, result.stdout) == (2, "")
    kinds = "dataset, source, adapter, transfer, evaluation, executor"
    assert f"'model', which is no kind of component; expected one of {kinds}" in result.stderr


def test_broken_plugin_is_reported_and_the_others_are_listed(plugins: list[Plugin]) -> None:
    plugins.append(Plugin("broken", "advtransfer_no_such_module", "advtransfer-broken", "0.1"))
    result = CliRunner().invoke(main, ["list", "--json"])

    assert result.exit_code == 1
    assert [one["name"] for one in json.loads(result.stdout)] == ["shapes/squares", "shapes/engine"]
    assert (
        "plugin 'broken': has the entry point 'advtransfer_no_such_module', but there is no module"
        in result.stderr
    )


def test_two_distributions_with_one_plugin_name_are_reported(plugins: list[Plugin]) -> None:
    plugins.append(Plugin("shapes", shapes(), "advtransfer-other", "1.0"))
    result = CliRunner().invoke(main, ["list"])

    assert result.exit_code == 1
    assert "advtransfer-other 1.0, advtransfer-shapes 2.1" in result.stderr


@pytest.mark.usefixtures("plugins")
@pytest.mark.parametrize("kind", ["datasets", "dataset", "Datasets"])
def test_kind_may_be_written_in_the_plural(kind: str) -> None:
    result = CliRunner().invoke(main, ["list", kind, "--json"])

    assert ["shapes/squares"] == [one["name"] for one in json.loads(result.stdout)]


@pytest.mark.usefixtures("plugins")
def test_misspelt_kind_is_answered_with_the_nearest() -> None:
    assert "did you mean 'executor'?" in CliRunner().invoke(main, ["list", "exekutors"]).stderr
