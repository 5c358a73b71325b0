"""``advtransfer doctor``: examine the installation and say what to do."""

from __future__ import annotations

from dataclasses import asdict

import click

from advtransfer.cli.commands import Subcommand
from advtransfer.cli.output import print_json, print_product
from advtransfer.doctor import Finding, examine_installation
from advtransfer.host import Host
from advtransfer.text import pluralize


@click.command(cls=Subcommand, short_help="Examine the installation, and say what to do.")
@click.option("--json", "as_json", is_flag=True, help="A list of {area, status, found, next_step}.")
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Examine plugins, versions, devices, threads, data folders, the cache and free disk.

    Each finding is ok, a note or a problem, and says what to do. Nothing is changed. The exit code is
    1 when there is a problem.
    """
    findings = examine_installation(Host.discover())
    problems = [finding for finding in findings if finding.status == "problem"]
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        lines = [line for finding in findings for line in _finding_lines(finding)]
        print_product("\n".join([*lines, pluralize(len(problems), "problem")]))
    ctx.exit(1 if problems else 0)


def _finding_lines(finding: Finding) -> list[str]:
    lines = [f"{finding.status:<8} {finding.area:<9} {finding.found}"]
    if finding.next_step:
        lines.append(f"{'':<18} -> {finding.next_step}")
    return lines
