"""``advtransfer cache``.

What the artifact cache holds, whether it is intact, and what makes room.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime

import click

from advtransfer.cache import Cache, CacheEntry
from advtransfer.cli.arguments import format_bytes, size
from advtransfer.cli.output import align_columns, print_note, print_product
from advtransfer.console.formatting import pluralize
from advtransfer.files import default_cache_root


@click.group(short_help="The artifact cache: list, verify, prune.")
def command() -> None:
    """Look after the artifact cache: trained sources, frozen features, weights, shared by all runs.

    It lies in ADVTRANSFER_CACHE, else in the user's cache folder; what is removed is built again when needed.
    """


@command.command()
@click.option(
    "--json", "as_json", is_flag=True, help="A list of {id, line, kind, use, bytes, used, path}."
)
def ls(as_json: bool) -> None:
    """List what the cache holds, least recently used first."""
    entries = sorted(_open_cache().list_entries(), key=lambda entry: (entry.last_used, entry.id))
    if as_json:
        print_product(
            json.dumps([_entry_json(entry) for entry in entries], indent=2, ensure_ascii=False)
        )
        return
    print_product(
        align_columns(("id", "kind", "component", "line", "size", "used"), map(_entry_row, entries))
    )
    print_product(
        f"{pluralize(len(entries), 'artifact')}, {format_bytes(sum(entry.bytes for entry in entries))} in {default_cache_root()}"
    )


@command.command()
@click.pass_context
def verify(ctx: click.Context) -> None:
    """Hash everything; the exit code is 1 when something is corrupt (it is built again when needed)."""
    checked = _open_cache().verify()
    corrupt = [one for one in checked if one.reason is not None]
    for one in corrupt:
        print_note(f"{one.id} ({one.environment_key}) is corrupt: {one.reason}")
    print_product(f"{len(checked) - len(corrupt)} intact, {len(corrupt)} corrupt")
    ctx.exit(1 if corrupt else 0)


@command.command()
@click.option(
    "--max-bytes",
    type=size,
    help="Remove the least recently used until this much is left, such as 2GB; by default none is removed.",
)
def prune(max_bytes: int | None) -> None:
    """Make room: remove leftovers of killed runs and, above --max-bytes, what was not used for longest."""
    pruned = _open_cache().prune(sys.maxsize if max_bytes is None else max_bytes)
    print_product(
        f"removed {pluralize(len(pruned.removed), 'artifact')}, {format_bytes(pruned.removed_bytes)}; {format_bytes(pruned.remaining_bytes)} left"
    )


def _open_cache() -> Cache:
    """The cache as a whole: listing, checking and pruning go over every line, so which one is named has no effect."""
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
