"""``advtransfer show`` of a component."""

from __future__ import annotations

import json
from collections.abc import Iterable
from types import ModuleType
from typing import Annotated

import pytest
from annotated_types import Gt
from click.testing import CliRunner, Result

from advtransfer.cli import main
from advtransfer.hookspecs import hookimpl
from advtransfer.host import Host, Plugin
from advtransfer.options import Options
from advtransfer.types import Dataset, Evaluation, Factory, Source, component


@component(version=3, needs=["model"], presets={"usual": {"eps": 0.1}})
def shake(*, data: Dataset, eps: Annotated[float, Gt(0)], steps: int = 10) -> Evaluation:
    """Shake the image.

    Args:
        data: What is shaken.
        eps: How much.
        steps: How often.
    """
    raise AssertionError("showing builds nothing")


def nought() -> Source:
    """A model that answers nought."""
    raise AssertionError("showing builds nothing")


@hookimpl
def register_evaluations() -> Iterable[Factory[Evaluation]]:
    return [shake]


@hookimpl
def register_sources() -> Iterable[Factory[Source]]:
    return [nought]


@pytest.fixture(autouse=True)
def _host(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("mixer")
    vars(module).update(
        register_evaluations=register_evaluations, register_sources=register_sources
    )
    monkeypatch.setattr(
        Host, "discover", lambda: Host([Plugin("mixer", module, "advtransfer-mixer", "1.0")])
    )


def show(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["show", *arguments])


def test_component_is_shown_with_its_help_options_and_presets() -> None:
    eps = Options.from_factory(shake).fields["eps"].text

    assert [
        "mixer/shake: evaluation of plugin mixer (advtransfer-mixer 1.0), version 3; needs model; tasks: classes",
        "",
        "Shake the image.",
        "",
        "Args:",
        "    data: What is shaken.",
        "    eps: How much.",
        "    steps: How often.",
        "",
        f"OPTION  {'TYPE':{len(eps)}}  DEFAULT",
        f"data    {'Dataset':{len(eps)}}  required",
        f"eps     {eps}  required",
        f"steps   {'int':{len(eps)}}  10",
        "",
        "PRESET  STANDS FOR",
        'usual   {"eps": 0.1}',
    ] == show("mixer/shake").stdout.splitlines()


def test_component_as_json_has_the_same_facts() -> None:
    shown = json.loads(show("mixer/shake", "--json").stdout)

    assert {one["name"]: one["required"] for one in shown["options"]} == {
        "data": True,
        "eps": True,
        "steps": False,
    }
    assert [one["default"] for one in shown["options"]] == [None, None, 10]
    assert [one["kind"] for one in shown["options"]] == ["dataset", None, None]
    assert (shown["version"], shown["needs"], shown["presets"]) == (
        3,
        ["model"],
        {"usual": {"eps": 0.1}},
    )


def test_component_without_options_says_so() -> None:
    assert "It has no options." in show("mixer/nought").stdout


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("shake", " (did you mean 'mixer/shake'?)"),
        ("mixer", " (the plugin 'mixer' brings mixer/nought, mixer/shake)"),
        ("evaluations", " (did you mean `advtransfer list evaluation`?)"),
        ("nonsense", ": `advtransfer"),
    ],
)
def test_unknown_name_is_answered_with_how_components_are_written(name: str, meant: str) -> None:
    result = show(name)

    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"found no suite '{name}'")
    assert f"; a component is written plugin/factory{meant}" in result.stderr
    assert result.stderr.endswith(": `advtransfer list` shows each\n")


def test_unknown_component_is_answered_with_the_nearest() -> None:
    result = show("mixer/shale")

    assert (result.exit_code, result.stdout) == (2, "")
    assert (
        result.stderr
        == "found 'mixer/shale'; expected a component of plugin 'mixer'; did you mean 'mixer/shake'?\n"
    )
