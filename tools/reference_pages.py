"""The reference pages, made from docstrings, options, hook specifications and the help of commands.

`make docs` uses this file as a Sphinx extension: it writes ``docs/reference/`` before the pages are read. Nothing it
writes is committed.

python tools/reference_pages.py FOLDER     writes the pages into FOLDER
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from advtransfer.cli.commands import COMMANDS, CommandGroup
from advtransfer.hookspecs import COMPONENT_KINDS, HOOKS, ComponentKind, Hooks
from advtransfer.host import Component, Host
from advtransfer.options import Option

if TYPE_CHECKING:
    from sphinx.application import Sphinx

ROOT = Path(__file__).parents[1]
PLURALS: dict[ComponentKind, str] = {
    "dataset": "Data sets",
    "source": "Sources",
    "adapter": "Adapters",
    "transfer": "Transfers",
    "evaluation": "Evaluations",
    "executor": "Executors",
}


def escape_markdown(text: str) -> str:
    """Return a text of a plugin as Markdown that shows it as it is, but for code in backquotes."""
    code = r"(``.+?``|`[^`]+`)"
    parts = re.split(code, text, flags=re.DOTALL)
    shown = [
        part.replace("``", "`") if position % 2 else re.sub(r"([\\*_\[\]<>#|$])", r"\\\1", part)
        for position, part in enumerate(parts)
    ]
    return "".join(shown)


def table_lines(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """Return a Markdown table; the cells are already escaped."""
    heads = list(heads)
    lines = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    return lines + [f"| {' | '.join(cells)} |" for cells in rows]


def code_cell(text: str) -> str:
    """Return a text as code in a cell of a table."""
    return f"`{text}`".replace("|", r"\|") if text else ""


def argument_texts(help_text: str) -> dict[str, str]:
    """Return the section ``Args`` of a docstring in Google style: names and their texts."""
    _, found, section = help_text.partition("\nArgs:\n")
    if not found:
        return {}
    texts: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        if line and not line.startswith(" "):
            break
        start = re.match(r" {4}(\w+): (.*)", line)
        if start:
            name = start[1]
            texts[name] = start[2]
        elif name:
            texts[name] += f" {line.strip()}"
    return {name: text.strip() for name, text in texts.items()}


def component_lines(component: Component) -> Iterator[str]:
    """Yield the section of a component: help, options with types and defaults, presets."""
    metadata = component.metadata
    description, _, _ = component.help_text.partition("\nArgs:\n")
    texts = argument_texts(component.help_text)
    yield f"## `{component.name}`\n"
    yield escape_markdown(description.strip()) + "\n"
    needs = f" Needs {', '.join(sorted(metadata.needs))}." if metadata.needs else ""
    tasks = f" Tasks: {', '.join(sorted(metadata.tasks))}." if metadata.tasks else ""
    yield f"Version {metadata.version} of plugin `{component.plugin}`.{needs}{tasks}\n"
    options = list(component.options.fields.values())
    if options:
        rows = (option_cells(option, texts.get(option.name, "")) for option in options)
        yield from table_lines(("option", "type", "default", "meaning"), rows)
    else:
        yield "It has no options."
    yield ""
    if metadata.presets:
        presets = (
            (code_cell(name), code_cell(json.dumps(dict(values), ensure_ascii=False)))
            for name, values in metadata.presets.items()
        )
        yield from table_lines(("preset", "stands for"), presets)
        yield ""


def option_cells(option: Option, text: str) -> tuple[str, str, str, str]:
    """Return the row of an option."""
    default = "required"
    if not option.required:
        default = code_cell(json.dumps(option.default, ensure_ascii=False))
    return code_cell(option.name), code_cell(option.text), default, escape_markdown(text)


def kind_page(kind: ComponentKind, components: Iterable[Component]) -> str:
    """Return the page of all components of a kind."""
    lines = [f"# {PLURALS[kind]}\n"]
    for component in components:
        lines += component_lines(component)
    return "\n".join(lines)


def hooks_page() -> str:
    """Return the page of the hooks, with the arguments and the time of each call."""
    lines = [
        "# Hooks\n",
        "A plugin implements those that it needs, with `advtransfer.hookspecs.hookimpl`, and names only the arguments "
        "that it uses.\n",
    ]
    for name in HOOKS:
        function = getattr(Hooks, name)
        signature = inspect.signature(function)
        arguments = [argument for argument in signature.parameters if argument != "self"]
        lines.append(f"## `{name}({', '.join(arguments)})`\n")
        called = (
            "When: the plugin is loaded, before a suite that names it is planned."
            if name.startswith("register_")
            else "When: during a run, in the process of the runner."
        )
        lines += [called + "\n", escape_markdown(inspect.getdoc(function) or "") + "\n"]
    return "\n".join(lines)


def commands_page() -> str:
    """Return the page of all commands: the help that each prints."""
    group = CommandGroup("advtransfer")
    context = click.Context(
        group, info_name="advtransfer", max_content_width=100, terminal_width=100
    )
    lines = ["# Commands\n"]
    for name in COMMANDS:
        command = group.get_command(context, name)
        assert command is not None
        lines += [f"## `advtransfer {name}`\n", *command_lines(command, context, name)]
    return "\n".join(lines)


def command_lines(command: click.Command, parent: click.Context, name: str) -> list[str]:
    """Return the help of a command, and of its own commands, as blocks."""
    context = click.Context(
        command, info_name=name, parent=parent, max_content_width=100, terminal_width=100
    )
    lines = [f"```text\n{command.get_help(context)}\n```\n"]
    if isinstance(command, click.Group):
        for inner_name in command.list_commands(context):
            inner = command.get_command(context, inner_name)
            assert inner is not None
            lines += command_lines(inner, context, inner_name)
    return lines


def reference_pages() -> dict[str, str]:
    """Return all pages by file name.

    Raises:
        PluginError: A plugin cannot be loaded: its components would be missing.
    """
    host = Host.discover()
    for error in host.broken_plugins.values():
        raise error
    pages = {
        f"{kind}s.md": kind_page(kind, sorted(host.components(kind), key=lambda each: each.name))
        for kind in COMPONENT_KINDS
    }
    pages["hooks.md"] = hooks_page()
    pages["commands.md"] = commands_page()
    return pages


def write_pages(folder: Path) -> None:
    """Write the pages, those that changed only, so that a second build reads few files."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = reference_pages()
    for path in folder.glob("*.md"):
        if path.name not in pages:
            path.unlink()
    for name, text in pages.items():
        path = folder / name
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the extension: the pages are written before Sphinx looks for files."""
    app.connect("config-inited", lambda *_: write_pages(ROOT / "docs" / "reference"))
    return {"parallel_read_safe": True, "parallel_write_safe": True}


if __name__ == "__main__":
    write_pages(Path(sys.argv[1]))
