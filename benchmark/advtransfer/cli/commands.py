"""The group of subcommands, which imports each when it is used, and prints errors."""

from __future__ import annotations

import difflib
import importlib
from typing import IO, Any

import click

from advtransfer.cli.output import print_note, reserve_stdout
from advtransfer.deprecation import hook_deprecations_to
from advtransfer.errors import AdvTransferError, BadInput, Problem, UnknownName
from advtransfer.files import WRITE_REFUSAL_ERRNOS
from advtransfer.text import printable_text

EXIT_INTERRUPTED = 130

# The short helps are repeated here so that the group's help imports no subcommand. A test compares
# them with those of the subcommands.
COMMANDS = {
    "list": "List the installed components.",
    "show": "Show a component's options, or a suite's grid.",
    "plan": "Show the trials of a suite, and which are done.",
    "run": "Run a suite, or continue it.",
    "merge": "Join the run folders of one suite.",
    "status": "Show how far a run is, and why trials failed.",
    "leaderboard": "Render the pages of runs from their records.",
    "export": "Export a run as CSV, Parquet, JSON, LaTeX or HTML.",
    "verify": "Check a published bundle without trusting it.",
    "compare": "Show what differs between two runs or rows.",
    "challenge": "Lower a published number by examples that break it.",
    "publish": "Write a run as a submission to a board.",
    "pages": "Make the pages of all boards again.",
    "new": "Write an installable plugin to begin with.",
    "check": "Check a plugin by the kit, canaries or another attack.",
    "schema": "Print the JSON Schema of suites, for editors.",
    "cache": "List, verify or prune the artifact cache.",
    "doctor": "Examine the installation, and say what to do.",
    "completion": "Print the script that completes words in a shell.",
}


class CommandFailure(click.ClickException):
    """An expected error: its message is written to stderr without a traceback."""

    def show(self, file: IO[Any] | None = None) -> None:  # Any: as click declares it
        """Write the message without a prefix.

        Editors look for ``file:line:column:`` at the start of a line.
        """
        click.echo(printable_text(self.format_message()), file=file, err=True)


class UsageFailure(CommandFailure):
    """An error in the user's arguments or suite."""

    exit_code = 2


class Subcommand(click.Command):
    """A subcommand that has stdout to itself, whatever plugins print."""

    def invoke(self, ctx: click.Context) -> object:
        with reserve_stdout(), hook_deprecations_to(_print_warning):
            return super().invoke(ctx)


def _print_warning(text: str) -> None:
    print_note(f"warning: {text}")


class CommandGroup(click.Group):
    """The group of subcommands; ``advtransfer.cli.<name>`` holds each as ``command``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        # Only this subcommand is imported, so that it need not wait for the others.
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
            hint = f"expected one of {', '.join(COMMANDS)}"
            if near:
                hint = f"did you mean {near[0]!r}?"
            ctx.fail(f"no command {args[0]!r}; {hint}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> object:
        try:
            return super().invoke(ctx)
        except AdvTransferError as error:
            is_users_mistake = isinstance(error, BadInput | UnknownName)
            failure = UsageFailure if is_users_mistake else CommandFailure
            raise failure(str(error)) from error
        except OSError as error:
            # Any other errno is a fault of the program, and its traceback says where.
            if error.errno not in WRITE_REFUSAL_ERRNOS:
                raise
            path = error.filename2 or error.filename or "a file"
            problem = Problem(
                f"no way to use {str(path)!r} ({error.strerror})",
                "room and permission there",
                "make room, or choose another",
            )
            raise UsageFailure(str(problem)) from error
        except KeyboardInterrupt as error:
            print_note("interrupted")
            raise click.exceptions.Exit(EXIT_INTERRUPTED) from error
