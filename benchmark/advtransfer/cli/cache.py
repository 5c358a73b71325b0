"""``advtransfer cache``: list, verify and prune the artifact cache."""

from __future__ import annotations

import sys
from collections.abc import Callable
from datetime import datetime

import click

from advtransfer.cache import Cache, CacheEntry
from advtransfer.cli.arguments import size
from advtransfer.cli.completions import complete_suite
from advtransfer.cli.output import print_json, print_note, print_product
from advtransfer.errors import BadInput, Problem
from advtransfer.files import default_cache_root
from advtransfer.host import Host
from advtransfer.text import align_columns, format_bytes, pluralize

HEADERS = ("id", "kind", "component", "line", "size", "used")


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
    print_product(align_columns(HEADERS, map(_entry_row, entries)))
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
    help="Remove the least recently used of the selected down to this, such as 2GB.",
)
@click.option("--kind", metavar="KIND", help="Select artifacts of this kind, as `ls` shows it.")
@click.option("--plugin", metavar="NAME", help="Select artifacts that a plugin built.")
@click.option(
    "--suite",
    metavar="SUITE",
    shell_complete=complete_suite,
    help="Select sources, references and fits of a suite's plan.",
)
@click.option("--dry-run", is_flag=True, help="List what would be removed, and remove nothing.")
def prune(
    max_bytes: int | None, kind: str | None, plugin: str | None, suite: str | None, dry_run: bool
) -> None:
    """Remove leftovers of killed runs, and the artifacts that the options select.

    Of several selections, artifacts in all of them are removed. Without --max-bytes, a selection is
    removed whole; without any option only leftovers are. What a running worker uses stays.
    """
    selection = _selection(kind=kind, plugin=plugin, suite=suite)
    if max_bytes is None:
        max_bytes = sys.maxsize if selection is None else 0
    pruned = _open_cache().prune(
        max_bytes, is_selected=selection or (lambda entry: True), dry_run=dry_run
    )
    if dry_run and pruned.removed:
        print_product(align_columns(HEADERS, map(_entry_row, pruned.removed)))
    removed = f"{pluralize(len(pruned.removed), 'artifact')}, {format_bytes(pruned.removed_bytes)}"
    verb = "would remove" if dry_run else "removed"
    print_product(f"{verb} {removed}; {format_bytes(pruned.remaining_bytes)} left")


def _selection(
    *, kind: str | None, plugin: str | None, suite: str | None
) -> Callable[[CacheEntry], bool] | None:
    """Return whether an entry is in every selection that is given; None where none is.

    Raises:
        BadInput: No artifact is of this kind or plugin, or the suite has mistakes.
    """
    if kind is None and plugin is None and suite is None:
        return None
    entries = list(_open_cache().list_entries())
    _require_known("--kind", kind, {entry.kind for entry in entries})
    _require_known("--plugin", plugin, {_plugin_name(entry) for entry in entries})
    ids = None if suite is None else _suite_ids(suite)
    return lambda entry: (
        kind in (None, entry.kind)
        and plugin in (None, _plugin_name(entry))
        and (ids is None or entry.id in ids)
    )


def _require_known(option: str, value: str | None, known: set[str]) -> None:
    if value is None or value in known:
        return
    names = ", ".join(sorted(known - {""})) or "nothing, since the cache is empty"
    next_step = "`advtransfer cache ls` lists the artifacts"
    raise BadInput([Problem(f"{option} {value}", f"one of the cache's ({names})", next_step)])


def _plugin_name(entry: CacheEntry) -> str:
    return entry.use.partition("/")[0]


def _suite_ids(name: str) -> set[str]:
    """Return the ids of a suite's sources, references and fits."""
    from advtransfer import planning, suite

    host = Host.discover()
    plan = planning.make_plan(suite.load(name, host), host)
    return {id for trial in plan.trials for id in (trial.id, *trial.builds)}


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
