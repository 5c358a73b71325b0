"""A deprecated hook or argument is warned of once, with plugin, hook, versions and what to do."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from types import ModuleType

import pytest
from click.testing import CliRunner

from advtransfer import __version__
from advtransfer.cli import main
from advtransfer.deprecation import HookDeprecation
from advtransfer.hookspecs import Hooks, hookimpl, hookspec
from advtransfer.host import Host, Plugin, registry
from advtransfer.types import Json

OLD_HOOK = HookDeprecation(since="0.3", removal="0.5", instead="implement run_finished")
OLD_ARGUMENT = HookDeprecation(since="0.4", removal="0.6", instead="use intervals")


class OlderHooks(Hooks):
    """The specifications of a later release, which deprecates a hook and an argument of another."""

    @hookspec(warn_on_impl=OLD_HOOK)
    def trial_failed(self, trial: Mapping[str, Json], reason: str) -> None: ...

    @hookspec(warn_on_impl_args={"upper_bounds": OLD_ARGUMENT})
    def trial_finished(
        self,
        trial: Mapping[str, Json],
        metrics: Mapping[str, float],
        upper_bounds: Sequence[str],
        intervals: Mapping[str, Sequence[float]],
    ) -> None: ...


@hookimpl
def trial_failed(trial: Mapping[str, Json], reason: str) -> None: ...


@hookimpl
def trial_finished(trial: Mapping[str, Json], upper_bounds: Sequence[str]) -> None: ...


TEXTS = [
    "the hook trial_failed, which plugin 'old' implements, "
    "is deprecated since advtransfer 0.3 and removed in 0.5; implement run_finished",
    "the argument 'upper_bounds' of trial_finished, which plugin 'old' takes, "
    "is deprecated since advtransfer 0.4 and removed in 0.6; use intervals",
]


def module(**members: object) -> ModuleType:
    made = ModuleType("made")
    vars(made).update(members)
    return made


def plugins() -> list[Plugin]:
    """Return two plugins that use what goes, one that uses neither."""

    @hookimpl(specname="trial_finished")
    def newer(trial: Mapping[str, Json], intervals: Mapping[str, Sequence[float]]) -> None: ...

    members = {
        "old": module(trial_failed=trial_failed, trial_finished=trial_finished),
        "new": module(newer=newer),
        "other": module(trial_failed=trial_failed),
    }
    return [Plugin(name, made, "example", "1.0") for name, made in members.items()]


@pytest.fixture
def older_hooks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "Hooks", OlderHooks)


@pytest.mark.usefixtures("older_hooks")
def test_each_use_is_warned_of_once_where_it_stands() -> None:
    hosted = Host(plugins())
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for name in ("old", "new", "old"):
            assert {} == hosted.load_plugin(name)

    assert TEXTS == [str(warning.message) for warning in caught]
    assert {HookDeprecation} == {warning.category for warning in caught}
    assert {__file__} == {warning.filename for warning in caught}
    assert trial_failed.__code__.co_firstlineno == caught[0].lineno
    assert hosted.hook.trial_failed.get_hookimpls(), "it is still called"


@pytest.mark.usefixtures("older_hooks")
def test_warnings_made_to_errors_leave_the_plugin_loaded() -> None:
    hosted = Host(plugins())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(
            HookDeprecation, match=r"trial_failed, .* deprecated since advtransfer 0\.3"
        ):
            hosted.load_plugin("old")

    assert {} == hosted.load_plugin("old")
    assert ["old"] == [hook.plugin_name for hook in hosted.hook.trial_failed.get_hookimpls()]


@pytest.mark.usefixtures("older_hooks")
def test_the_command_line_prints_one_line_for_each_use(monkeypatch: pytest.MonkeyPatch) -> None:
    def discover_twice() -> Host:
        Host(plugins()).load_plugin("old")  # Such as the worker that the command's own process is.
        return Host(plugins())

    monkeypatch.setattr(Host, "discover", discover_twice)
    done = CliRunner().invoke(main, ["list"])
    other = TEXTS[0].replace("'old'", "'other'")

    assert 0 == done.exit_code, done.output
    assert [f"warning: {text}" for text in (*TEXTS, other)] == done.stderr.splitlines()


def test_no_deprecation_of_this_release_is_overdue_or_too_quick() -> None:
    def minor(version: str) -> tuple[int, int]:
        major, second = version.split(".")[:2]
        return int(major), int(second)

    for member in vars(Hooks).values():
        options = getattr(member, "advtransfer_spec", None) or {}
        marks = [options.get("warn_on_impl"), *(options.get("warn_on_impl_args") or {}).values()]
        for mark in filter(None, marks):
            assert isinstance(mark, HookDeprecation)
            assert minor(mark.since) < minor(mark.removal)
            assert minor(__version__) < minor(mark.removal), f"remove it: {mark}"
