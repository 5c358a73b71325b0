"""Each deliberately broken component is named by the rule that it breaks, and by this rule alone."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from advtransfer.errors import BadInput, UnknownName
from advtransfer.host import Host
from advtransfer.host.plugin import Plugin
from advtransfer.testing import checks_for
from advtransfer.testing.kit import (
    CheckFailed,
    KitCheck,
    NotChecked,
    plugin_checks,
    record_decisions,
)
from advtransfer.types import Json

BROKEN = Path(__file__).parents[2] / "plugins_of_others" / "broken"


@pytest.fixture(scope="module", autouse=True)
def broken_modules() -> Iterator[None]:
    sys.path.insert(0, str(BROKEN))
    yield
    sys.path.remove(str(BROKEN))


def host_of(module: str) -> Host:
    return Host([Plugin("broken", module, "advtransfer-broken", "1.0")])


def broken_rules(checks: list[KitCheck]) -> list[str]:
    broken = []
    for check in checks:
        try:
            check()
        except CheckFailed:
            broken.append(check.id)
        except NotChecked:
            pass
    return broken


def factories_of_broken() -> list[str]:
    sys.path.insert(0, str(BROKEN))
    module = import_module("advtransfer_broken")
    sys.path.remove(str(BROKEN))
    named = [f"{kind}_{rule}" for kind, rules in module.RULES.items() for rule in rules.split()]
    others = ["never_sees_test_labels", "documented", "options_serialisable", "builds", ""]
    return [*named, *(f"transfer_{rule}" for rule in others)]


def rule_of(factory: str) -> str:
    """Return the rule that a broken component breaks, without where it does."""
    return factory.partition("_")[2].partition("_in_")[0]


@pytest.mark.parametrize("factory", factories_of_broken())
def test_broken_component_is_named_by_its_rule_alone(factory: str) -> None:
    checks = plugin_checks(host_of("advtransfer_broken"), "broken", factory=factory)
    rule = rule_of(factory)

    assert broken_rules(checks) == ([f"{factory}.{rule}"] if rule else [])


@pytest.mark.parametrize(
    ("module", "rule"),
    [("advtransfer_heavy", "loads_lightly"), ("advtransfer_unregistered", "registers")],
)
def test_broken_plugin_is_named_by_its_rule_alone(module: str, rule: str) -> None:
    assert broken_rules(plugin_checks(host_of(module), "broken")) == [f"broken.{rule}"]


def test_plugin_of_event_hooks_alone_registers_and_one_of_none_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = "from advtransfer.hookspecs import hookimpl\n\n"
    hooks = {
        "follows_runs": "@hookimpl\ndef record_written(record):\n    pass\n",
        "has_nothing": "",
        "returns_nothing": "@hookimpl\ndef register_adapters():\n    return []\n",
    }
    for module, hook in hooks.items():
        (tmp_path / f"{module}.py").write_text(text + hook)
    monkeypatch.syspath_prepend(str(tmp_path))
    reasons = {}
    for module in hooks:
        registers, *others = plugin_checks(host_of(module), "broken")
        try:
            registers()
        except CheckFailed as error:
            reasons[module] = str(error)
        assert ["broken.loads_lightly"] == [check.id for check in others]

    assert ["has_nothing", "returns_nothing"] == list(reasons)
    assert reasons["has_nothing"].startswith("found no hook; expected at least one")
    assert reasons["returns_nothing"].startswith("found no component; expected at least one")


@pytest.mark.parametrize("name", ["mlflow", "tensorboard", "wandb"])
def test_tracker_registers(name: str) -> None:
    registers, *_ = plugin_checks(Host.discover(), name)

    registers()


def test_module_that_hides_a_factory_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "advtransfer_hidden"
    package.mkdir()
    text = (BROKEN.parent / "lp_ft" / "lp_ft" / "__init__.py").read_text()
    (package / "__init__.py").write_text(text.replace("lp_ft.transfer", "advtransfer_hidden.other"))
    monkeypatch.syspath_prepend(str(tmp_path))
    checks = plugin_checks(host_of("advtransfer_hidden"), "broken")[:2]
    assert broken_rules(checks) == []

    (package / "lp_ft.py").write_text("")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(CheckFailed, match=r"advtransfer_hidden\.lp_ft beside factories"):
        checks[0]()


def test_a_rule_that_has_no_example_to_check_says_so() -> None:
    tiny: dict[str, dict[str, Json]] = {
        "pgd": {"norm": "linf", "eps": 1e-9, "step_size": 1e-9, "steps": 1}
    }
    unchecked = {}
    for check in plugin_checks(Host.discover(), "foolbox", options=tiny, factory="pgd"):
        try:
            check()
        except NotChecked as error:
            unchecked[check.id.partition(".")[2]] = str(error)

    assert "nothing to compare: no image is broken" in unchecked["examples_hold"]


def test_every_rule_has_a_component_that_breaks_it() -> None:
    checks = plugin_checks(host_of("advtransfer_broken"), "broken")
    rules = {check.id.partition(".")[2] for check in checks}
    broken = set(map(rule_of, factories_of_broken()))

    assert rules <= broken | {"registers", "loads_lightly", "same_as_recorded"}


def test_checks_have_ids_and_strict_expected_failures() -> None:
    reason = {"identity.maps_shapes": "why"}
    parameters = checks_for("adapters", expected_failures=reason)

    (expected,) = (each for each in parameters if each.id == "identity.maps_shapes")
    (mark,) = expected.marks
    assert isinstance(mark, pytest.MarkDecorator)
    assert mark.kwargs["strict"] is True
    assert len({each.id for each in parameters}) == len(parameters)


def test_unknown_names_are_reported_at_once() -> None:
    with pytest.raises(BadInput, match=r"nothing\.builds"):
        checks_for("adapters", expected_failures={"nothing.builds": "why"})
    with pytest.raises(BadInput, match="expected one of identity"):
        checks_for("adapters", options={"nothing": {}})
    with pytest.raises(UnknownName):
        checks_for("nothing")


def test_other_decisions_without_a_raised_version_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(BROKEN, tmp_path / "plugin")
    monkeypatch.setattr("advtransfer_broken.__file__", str(tmp_path / "plugin" / "module.py"))
    host = host_of("advtransfer_broken")
    honest = host.load_plugin("broken")["broken/transfer_"]
    monkeypatch.setattr(host, "load_plugin", lambda name: {"broken/transfer_": honest})
    path = record_decisions(host, "broken")
    checks = [check for check in plugin_checks(host, "broken") if "recorded" in check.id]
    recorded = json.loads(path.read_text())

    assert broken_rules(checks) == []
    entry = recorded["broken/transfer_"]
    labels = entry["decisions"]["classes"]
    assert labels.count(None) < len(labels)
    entry["decisions"]["classes"] = [None if one is None else 2 - one for one in labels]
    path.write_text(json.dumps(recorded))
    assert broken_rules(checks) == ["transfer_.same_as_recorded"]
    entry["version"] = 2
    path.write_text(json.dumps(recorded))
    assert broken_rules(checks) == []
