"""``advtransfer completion``: print the script that completes words in a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from advtransfer.cli.commands import Subcommand
from advtransfer.cli.output import print_product

PROGRAM = "advtransfer"
SHELLS = ("bash", "zsh", "fish")
ENVIRONMENT_VARIABLE = "_ADVTRANSFER_COMPLETE"
"""The variable by which click asks for completions, made from the program's name."""


@click.command(cls=Subcommand, short_help="Print the script that completes words in a shell.")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print the script that completes commands, options, suites, components and runs in SHELL.

    \b
    bash: eval "$(advtransfer completion bash)"       in ~/.bashrc
    zsh:  eval "$(advtransfer completion zsh)"        in ~/.zshrc, after compinit
    fish: advtransfer completion fish | source        in ~/.config/fish/config.fish
    """  # noqa: D301  # click reads the backspace
    completion_class = get_completion_class(shell)
    assert completion_class is not None, shell
    completion = completion_class(ctx.find_root().command, {}, PROGRAM, ENVIRONMENT_VARIABLE)
    # click's own `source` of bash starts bash to ask for its version, and warns below 4.4.
    print_product(completion.source_template % completion.source_vars())
