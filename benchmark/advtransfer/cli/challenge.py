"""``advtransfer challenge``: adversarial examples against a published robust accuracy."""

from __future__ import annotations

from pathlib import Path

import click

from advtransfer.cli.commands import Subcommand
from advtransfer.cli.completions import complete_run
from advtransfer.cli.output import print_product
from advtransfer.files import default_cache_root
from advtransfer.host import Host


@click.command(cls=Subcommand, short_help="Lower a published number by examples that break it.")
@click.argument(
    "bundle",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    shell_complete=complete_run,
)
@click.argument("trial")
@click.argument("examples", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@click.option(
    "--metric",
    required=True,
    metavar="EVALUATION.METRIC@EPS",
    help="The robust accuracy, such as auto.robust_accuracy@0.1.",
)
@click.option("--who", required=True, metavar="NAME", help="Who challenges; the page credits it.")
@click.option("--device", default="cpu", show_default=True, help="cpu, cuda or cuda:1.")
@click.option(
    "--trust-plugins",
    "trusted",
    multiple=True,
    metavar="NAME==VERSION",
    help="A plugin of others whose code may be run.",
)
@click.pass_context
def command(
    ctx: click.Context,
    bundle: Path,
    trial: str,
    examples: Path,
    metric: str,
    who: str,
    device: str,
    trusted: tuple[str, ...],
) -> None:
    """Hold EXAMPLES against the model of TRIAL in BUNDLE, a published bundle or a run folder.

    TRIAL is a name, or the beginning of an id. EXAMPLES is an .npz with keys (int64, the keys of test
    samples) and inputs (float32, images in the bounds of the data set). The model is loaded from the cache
    or fitted again. A sample falls if its example lies in ball and box (float64) and the model
    misclassifies it. What falls is written to BUNDLE/challenges, and pages count it as broken.

    The exit code is 0 if a sample falls, and 1 if none does or the model cannot be reproduced here.
    """
    # Here alone, since it imports what fits models.
    from advtransfer.publication.challenge import challenge_result

    result = challenge_result(
        bundle,
        trial=trial,
        metric=metric,
        examples=examples,
        who=who,
        host=Host.discover(),
        cache=default_cache_root(),
        trusted=trusted,
        device=device,
    )
    print_product("\n".join(result.lines()))
    ctx.exit(0 if result.path is not None else 1)
