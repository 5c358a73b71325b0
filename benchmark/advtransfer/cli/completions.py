"""Completions of arguments in a shell: suites, components and run folders.

A name that cannot be looked up completes to nothing: an error would be printed into the user's command line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeAlias

import click
from click.shell_completion import CompletionItem

from advtransfer.hookspecs import ComponentKind

Completer: TypeAlias = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def complete_suite(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete the name of a shipped suite, or the path of a YAML file."""
    from advtransfer.suite import shipped_suites

    return [*_matching(shipped_suites(), incomplete), *_paths(incomplete, is_suite_file)]


def complete_component(kind: ComponentKind | None = None) -> Completer:
    """Return a completer of the components of a kind, or of all."""

    def complete(
        ctx: click.Context, parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        from advtransfer.host import Host

        components = Host.discover().components(kind)
        return [
            CompletionItem(component.name, help=component.summary)
            for component in components
            if component.name.startswith(incomplete)
        ]

    return complete


def complete_suite_or_component(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete what ``show`` explains."""
    components = complete_component()(ctx, parameter, incomplete)
    return [*complete_suite(ctx, parameter, incomplete), *components]


def complete_run(
    ctx: click.Context, parameter: click.Parameter, incomplete: str
) -> list[CompletionItem]:
    """Complete the path of a run folder; those in ``runs/`` are offered where nothing is written yet."""
    runs = [*_paths("runs/", is_run_folder)] if not incomplete else []
    return [*runs, *_paths(incomplete, is_run_folder)]


def is_run_folder(path: Path) -> bool:
    """Return whether a folder holds a run or a published bundle."""
    return (path / "plan.json").is_file()


def is_suite_file(path: Path) -> bool:
    """Return whether a path is a YAML file."""
    return path.suffix in (".yaml", ".yml")


def _matching(names: Iterable[str], incomplete: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in names if name.startswith(incomplete)]


def _paths(incomplete: str, is_wanted: Callable[[Path], bool]) -> list[CompletionItem]:
    """Return the wanted paths that begin with a text, and the folders on the way to others, with a slash."""
    folder, slash, start = incomplete.rpartition("/")
    prefix = folder + slash
    items = []
    try:
        entries = sorted(Path(prefix or ".").expanduser().iterdir())
    except OSError:
        return []
    for entry in entries:
        if not entry.name.startswith(start) or (entry.name.startswith(".") and not start):
            continue
        if is_wanted(entry):
            items.append(CompletionItem(prefix + entry.name))
        elif entry.is_dir():
            items.append(CompletionItem(f"{prefix}{entry.name}/"))
    return items
