"""The group of subcommands: imports one when it is asked for, and says errors in plain words."""

from __future__ import annotations

import difflib
import importlib
from typing import IO, Any

import click

from advtransfer.cli.output import print_note, reserve_stdout
from advtransfer.errors import AdvTransferError, BadInput, Problem, UnknownName
from advtransfer.files import WRITE_REFUSAL_ERRNOS
from advtransfer.text import printable_text

EXIT_INTERRUPTED = 130

# Name and short help, kept here so that the group's help imports no subcommand; a test holds both to be the same.
COMMANDS = {
    "list": "Every component that is installed.",
    "show": "A component's options, or a suite's grid.",
    "plan": "What a suite asks for, and what of it is done.",
    "run": "Run a suite, or continue it.",
    "status": "How far a run is, and why trials failed.",
    "leaderboard": "The pages of one or more runs, from their records.",
    "check": "Score an evaluation by the canaries that it catches.",
    "schema": "The JSON Schema of suites, for editors.",
    "cache": "The artifact cache: list, verify, prune.",
}


class CommandFailure(click.ClickException):
    """An error that was raised on purpose: its message on stderr as it is, without a traceback."""

    def show(self, file: IO[Any] | None = None) -> None:  # Any: as click declares it
        """Write the problems bare: editors look for ``file:line:column:`` at the start of a line."""
        click.echo(printable_text(self.format_message()), file=file, err=True)  # as click calls it


class UsageFailure(CommandFailure):
    """The user's words were wrong."""

    exit_code = 2


class Subcommand(click.Command):
    """A subcommand whose product is alone on stdout, whatever plugins print."""

    def invoke(self, ctx: click.Context) -> object:
        with reserve_stdout():
            return super().invoke(ctx)


class CommandGroup(click.Group):
    """The subcommands: ``advtransfer.cli.<name>`` holds each as ``command``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command = importlib.import_module(f"advtransfer.cli.{cmd_name}").command
        return command if isinstance(command, click.Command) else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in COMMANDS and not args[0].startswith("-"):
            near = difflib.get_close_matches(args[0], COMMANDS, n=1)
            hint = (
                f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(COMMANDS)}"
            )
            ctx.fail(f"no command {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except AdvTransferError as error:
            wrong = isinstance(error, BadInput | UnknownName)
            raise (UsageFailure if wrong else CommandFailure)(str(error)) from error
        except OSError as error:
            if error.errno not in WRITE_REFUSAL_ERRNOS:
                raise
            found = f"no way to use {str(error.filename2 or error.filename or 'a file')!r} ({error.strerror})"
            raise UsageFailure(
                str(Problem(found, "room and permission there", "make room, or choose another"))
            ) from error
        except KeyboardInterrupt as error:
            print_note("interrupted")
            raise click.exceptions.Exit(EXIT_INTERRUPTED) from error
