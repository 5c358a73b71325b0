"""Plugins bring kinds of figures by the hook that brings the host's own."""

from __future__ import annotations

from collections.abc import Iterable
from types import SimpleNamespace

import pytest

from advtransfer.errors import PluginError, UnknownName
from advtransfer.hookspecs import hookimpl
from advtransfer.host import Host, Plugin
from advtransfer.types import Drawing, FigureInputs, FigureKind


def nothing(inputs: FigureInputs) -> Drawing | None:
    return None


DOTS = FigureKind("dots", nothing, required={"metric": "metric"})


def host_of(*kinds: object) -> Host:
    @hookimpl
    def register_figures() -> Iterable[object]:
        return kinds

    plugin = SimpleNamespace(register_figures=register_figures)
    return Host([Plugin("toy", plugin, "toy-plugin", "1.0")])


def test_kinds_of_plugins_have_their_plugin_in_the_name_and_the_hosts_own_have_none() -> None:
    host = host_of(DOTS)

    assert host.figure_kind("toy/dots") is DOTS
    assert host.figure_kind("bars").name == "bars"
    assert list(host.figure_kinds()) == [*host.own_figure_kinds, "toy/dots"]
    assert host.hooks_of("toy") == ["register_figures"]
    assert host.plugin_names == ["toy"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bar", "expected a kind of figure: accuracy_vs_n.*did you mean 'bars'"),
        ("toy/dot", "expected a kind of figure: toy/dots.*did you mean 'toy/dots'"),
        ("other/dots", "expected an installed plugin"),
    ],
)
def test_an_unknown_kind_is_told_with_similar_names(name: str, message: str) -> None:
    with pytest.raises(UnknownName, match=message):
        host_of(DOTS).figure_kind(name)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("dots", "register_figures gave 'dots'; expected a FigureKind"),
        (FigureKind("a b", nothing), "a name that suites cannot use"),
        (FigureKind("dots", None), "has None to draw it; expected a function"),  # type: ignore[arg-type]  # the mistake
        (FigureKind("dots", nothing, {"kind": "metric"}), "the key 'kind'; expected names"),
        (FigureKind("dots", nothing, {"x": "number"}), "holds 'number'; expected one of axis"),  # type: ignore[dict-item]  # the mistake
        (FigureKind("dots", nothing, either=("x",)), "has 'x' in `either`; expected keys of"),
    ],
)
def test_a_kind_that_breaks_the_contract_is_refused(kind: object, message: str) -> None:
    with pytest.raises(PluginError, match=message):
        host_of(kind).load_plugin("toy")


def test_one_kind_twice_is_refused() -> None:
    with pytest.raises(PluginError, match="brings the figure 'dots' twice"):
        host_of(DOTS, DOTS).load_plugin("toy")
