"""``advtransfer cache``: list, verify and prune the artifact cache."""

from __future__ import annotations

import sys
from datetime import datetime

import click

from advtransfer.cache import Cache, CacheEntry
from advtransfer.cli.arguments import format_bytes, size
from advtransfer.cli.output import print_json, print_note, print_product
from advtransfer.console.formatting import pluralize
from advtransfer.files import default_cache_root
from advtransfer.text import align_columns


@click.group(short_help="List, verify or prune the artifact cache.")
def command() -> None:
    """Look after the artifact cache, which all runs share.

    It holds trained sources, frozen features and weights, in ADVTRANSFER_CACHE or else in the
    user's cache folder. Removed artifacts are built again when they are needed.
    """


@command.command()
@click.option(
    "--json", "as_json", is_flag=True, help="A list of {id, line, kind, use, bytes, used, path}."
)
def ls(as_json: bool) -> None:
    """List the artifacts in the cache, least recently used first."""
    entries = sorted(_open_cache().list_entries(), key=lambda entry: (entry.last_used, entry.id))
    if as_json:
        print_json([_entry_json(entry) for entry in entries])
        return
    headers = ("id", "kind", "component", "line", "size", "used")
    print_product(align_columns(headers, map(_entry_row, entries)))
    total = format_bytes(sum(entry.bytes for entry in entries))
    print_product(f"{pluralize(len(entries), 'artifact')}, {total} in {default_cache_root()}")


@command.command()
@click.pass_context
def verify(ctx: click.Context) -> None:
    """Hash every artifact.

    The exit code is 1 if one is corrupt; it is built again when it is needed.
    """
    checked = _open_cache().verify()
    corrupt = [artifact for artifact in checked if artifact.reason is not None]
    for artifact in corrupt:
        print_note(f"{artifact.id} ({artifact.environment_key}) is corrupt: {artifact.reason}")
    print_product(f"{len(checked) - len(corrupt)} intact, {len(corrupt)} corrupt")
    ctx.exit(1 if corrupt else 0)


@command.command()
@click.option(
    "--max-bytes",
    type=size,
    help="Remove the least recently used down to this, such as 2GB; by default keep all.",
)
def prune(max_bytes: int | None) -> None:
    """Remove leftovers of killed runs and, above --max-bytes, the least recently used artifacts."""
    pruned = _open_cache().prune(sys.maxsize if max_bytes is None else max_bytes)
    removed = f"{pluralize(len(pruned.removed), 'artifact')}, {format_bytes(pruned.removed_bytes)}"
    print_product(f"removed {removed}; {format_bytes(pruned.remaining_bytes)} left")


def _open_cache() -> Cache:
    # Listing, verifying and pruning cover the artifacts of every environment, so any `line` will
    # do.
    return Cache(default_cache_root(), line="any")


def _entry_row(entry: CacheEntry) -> tuple[str, ...]:
    used = datetime.fromtimestamp(entry.last_used).astimezone().strftime("%Y-%m-%d %H:%M")
    return (
        entry.id[:12],
        entry.kind,
        entry.use,
        entry.environment_key,
        format_bytes(entry.bytes),
        used,
    )


def _entry_json(entry: CacheEntry) -> dict[str, str | int | float]:
    return {
        "id": entry.id,
        "line": entry.environment_key,
        "kind": entry.kind,
        "use": entry.use,
        "bytes": entry.bytes,
        "used": entry.last_used,
        "path": str(entry.path),
    }
