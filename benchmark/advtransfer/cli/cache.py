"""``advtransfer cache``: what the artifact cache holds, whether it is intact, and what makes room."""

from __future__ import annotations

import json
import sys
from datetime import datetime

import click

from advtransfer.cache import Cache, Entry, default_root
from advtransfer.cli.columns import columns
from advtransfer.cli.output import echo, note
from advtransfer.cli.sizes import size, written
from advtransfer.console.words import many


@click.group(short_help="The artifact cache: list, verify, prune.")
def command() -> None:
    """Look after the artifact cache: trained sources, frozen features, weights, shared by all runs.

    It lies in ADVTRANSFER_CACHE, else in the user's cache folder; what is removed is built again when needed.
    """


@command.command()
@click.option("--json", "as_json", is_flag=True, help="A list of {id, line, kind, use, bytes, used, path}.")
def ls(as_json: bool) -> None:
    """List what the cache holds, least recently used first."""
    entries = sorted(_cache().entries(), key=lambda entry: (entry.used, entry.id))
    if as_json:
        echo(json.dumps([_plain(entry) for entry in entries], indent=2, ensure_ascii=False))
        return
    echo(columns(("id", "kind", "component", "line", "size", "used"), map(_row, entries)))
    echo(f"{many(len(entries), 'artifact')}, {written(sum(entry.bytes for entry in entries))} in {default_root()}")


@command.command()
@click.pass_context
def verify(ctx: click.Context) -> None:
    """Hash everything; the exit code is 1 when something is corrupt (it is built again when needed)."""
    checked = _cache().verify()
    corrupt = [one for one in checked if one.reason is not None]
    for one in corrupt:
        note(f"{one.id} ({one.line}) is corrupt: {one.reason}")
    echo(f"{len(checked) - len(corrupt)} intact, {len(corrupt)} corrupt")
    ctx.exit(1 if corrupt else 0)


@command.command()
@click.option(
    "--max-bytes",
    type=size,
    help="Remove the least recently used until this much is left, such as 2GB; by default none is removed.",
)
def prune(max_bytes: int | None) -> None:
    """Make room: remove leftovers of killed runs and, above --max-bytes, what was not used for longest."""
    pruned = _cache().prune(sys.maxsize if max_bytes is None else max_bytes)
    echo(f"removed {many(len(pruned.removed), 'artifact')}, {written(pruned.bytes)}; {written(pruned.left)} left")


def _cache() -> Cache:
    """The cache as a whole: listing, checking and pruning go over every line, so which one is named has no effect."""
    return Cache(default_root(), line="any")


def _row(entry: Entry) -> tuple[str, ...]:
    used = datetime.fromtimestamp(entry.used).astimezone().strftime("%Y-%m-%d %H:%M")
    return entry.id[:12], entry.kind, entry.use, entry.line, written(entry.bytes), used


def _plain(entry: Entry) -> dict[str, str | int | float]:
    return {
        "id": entry.id,
        "line": entry.line,
        "kind": entry.kind,
        "use": entry.use,
        "bytes": entry.bytes,
        "used": entry.used,
        "path": str(entry.path),
    }
