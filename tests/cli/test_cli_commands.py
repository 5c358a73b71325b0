"""The group of subcommands: its table, its errors, its exit codes."""

from __future__ import annotations

from collections.abc import Callable

import click
import pytest
from click.testing import CliRunner

import advtransfer
from advtransfer.cli import commands, main
from advtransfer.errors import (
    AdvTransferError,
    BadInput,
    Location,
    PluginError,
    Problem,
    UnknownName,
)


@pytest.fixture
def raising(monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], None]:
    """Make ``advtransfer list`` raise what a test wants."""

    def arrange(error: BaseException) -> None:
        @click.command()
        def command() -> None:
            raise error

        monkeypatch.setattr("advtransfer.cli.list.command", command)

    return arrange


@pytest.mark.parametrize("name", sorted(commands.COMMANDS))
def test_the_table_says_of_each_command_what_the_command_says_itself(name: str) -> None:
    command = main.get_command(click.Context(main), name)

    assert command is not None
    assert commands.COMMANDS[name] == command.get_short_help_str(limit=200)


def test_every_command_and_every_option_has_help() -> None:
    silent = [
        f"{path} {option}" for path, option, help in _options(main, "advtransfer") if not help
    ]

    assert silent == []


def _options(command: click.Command, path: str) -> list[tuple[str, str, str | None]]:
    found = [
        (path, one.opts[-1], one.help) for one in command.params if isinstance(one, click.Option)
    ]
    found += [(path, "itself", command.help)]
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            below = command.get_command(click.Context(command), name)
            assert below is not None
            found += _options(below, f"{path} {name}")
    return found


def test_the_version_is_that_of_the_installed_distribution() -> None:
    done = CliRunner().invoke(main, ["--version"], prog_name="advtransfer")

    assert f"advtransfer {advtransfer.__version__}\n" == done.stdout


def test_an_attribute_that_the_package_lacks_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        advtransfer.nothing  # noqa: B018


def test_a_mistyped_command_is_answered_with_the_nearest() -> None:
    done = CliRunner().invoke(main, ["lsit"])

    assert done.exit_code == 2
    assert "no command 'lsit'; did you mean 'list'?" in done.stderr


def test_a_command_like_no_other_is_answered_with_all_of_them() -> None:
    done = CliRunner().invoke(main, ["xyzzy"])

    assert done.exit_code == 2
    assert f"no command 'xyzzy'; expected one of {', '.join(commands.COMMANDS)}" in done.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UnknownName("foolbox/pdg", "a component", ["foolbox/pgd"]), 2),
        (PluginError("wandb", "fails to import"), 1),
        (AdvTransferError("no disk"), 1),
    ],
)
def test_errors_raised_on_purpose_are_told_in_plain_words(
    raising: Callable[[BaseException], None], error: AdvTransferError, code: int
) -> None:
    raising(error)
    done = CliRunner().invoke(main, ["list"])

    assert (code, "", f"{error}\n") == (done.exit_code, done.stdout, done.stderr)


def test_every_problem_is_told_on_its_own_line_with_its_place_first(
    raising: Callable[[BaseException], None],
) -> None:
    raising(
        BadInput(
            [
                Problem(
                    "'pdg'", "a component", "did you mean 'pgd'?", Location("suite.yaml", 3, 7)
                ),
                Problem("no option 'eps'", "a number", "write one", Location("suite.yaml", 9, 3)),
            ]
        )
    )
    done = CliRunner().invoke(main, ["list"])

    assert done.exit_code == 2
    assert done.stderr.splitlines() == [
        "suite.yaml:3:7: found 'pdg'; expected a component; did you mean 'pgd'?",
        "suite.yaml:9:3: found no option 'eps'; expected a number; write one",
    ]


def test_an_unexpected_error_keeps_its_traceback(raising: Callable[[BaseException], None]) -> None:
    raising(ZeroDivisionError("division by zero"))

    with pytest.raises(ZeroDivisionError):
        CliRunner().invoke(main, ["list"], catch_exceptions=False)


def test_an_interruption_ends_with_130(raising: Callable[[BaseException], None]) -> None:
    raising(KeyboardInterrupt())
    done = CliRunner().invoke(main, ["list"])

    assert (done.exit_code, done.stderr) == (130, "interrupted\n")
