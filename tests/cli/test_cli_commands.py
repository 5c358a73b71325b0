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
def test_command_table_repeats_each_commands_short_help(name: str) -> None:
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


def test_version_is_that_of_the_installed_distribution() -> None:
    result = CliRunner().invoke(main, ["--version"], prog_name="advtransfer")

    assert f"advtransfer {advtransfer.__version__}\n" == result.stdout


def test_attribute_that_the_package_lacks_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        advtransfer.nothing  # noqa: B018


def test_mistyped_command_is_answered_with_the_nearest() -> None:
    result = CliRunner().invoke(main, ["lsit"])

    assert result.exit_code == 2
    assert "no command 'lsit'; did you mean 'list'?" in result.stderr


def test_unknown_command_without_a_near_name_lists_all_commands() -> None:
    result = CliRunner().invoke(main, ["xyzzy"])

    assert result.exit_code == 2
    assert f"no command 'xyzzy'; expected one of {', '.join(commands.COMMANDS)}" in result.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UnknownName("foolbox/pdg", "a component", ["foolbox/pgd"]), 2),
        (PluginError("wandb", "fails to import"), 1),
        (AdvTransferError("no disk"), 1),
    ],
)
def test_expected_errors_are_printed_without_traceback(
    raising: Callable[[BaseException], None], error: AdvTransferError, code: int
) -> None:
    raising(error)
    result = CliRunner().invoke(main, ["list"])

    assert (code, "", f"{error}\n") == (result.exit_code, result.stdout, result.stderr)


def test_every_problem_is_a_line_that_begins_with_its_position(
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
    result = CliRunner().invoke(main, ["list"])

    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        "suite.yaml:3:7: found 'pdg'; expected a component; did you mean 'pgd'?",
        "suite.yaml:9:3: found no option 'eps'; expected a number; write one",
    ]


def test_unexpected_error_keeps_its_traceback(raising: Callable[[BaseException], None]) -> None:
    raising(ZeroDivisionError("division by zero"))

    with pytest.raises(ZeroDivisionError):
        CliRunner().invoke(main, ["list"], catch_exceptions=False)


def test_interruption_ends_with_130(raising: Callable[[BaseException], None]) -> None:
    raising(KeyboardInterrupt())
    result = CliRunner().invoke(main, ["list"])

    assert (result.exit_code, result.stderr) == (130, "interrupted\n")
