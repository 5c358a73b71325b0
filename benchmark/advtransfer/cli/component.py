"""One component in words: what it is, its help, its options and presets."""

from __future__ import annotations

import json
from collections.abc import Iterator

from advtransfer.cli.columns import columns
from advtransfer.host import Component
from advtransfer.options import Option
from advtransfer.types import Json


def as_text(component: Component) -> str:
    """The component as a reader wants it, from its name down to its presets."""
    return "\n\n".join(_paragraphs(component))


def as_json(component: Component) -> dict[str, Json]:
    """The same as plain data."""
    return {
        "name": component.name,
        "kind": component.kind,
        "plugin": component.plugin,
        "distribution": component.distribution,
        "distribution_version": component.version,
        "version": component.facts.version,
        "summary": component.summary,
        "help": component.help,
        "needs": sorted(component.facts.needs),
        "tasks": sorted(component.facts.tasks),
        "options": [_option(one) for one in component.options.fields.values()],
        "presets": {name: dict(values) for name, values in component.facts.presets.items()},
    }


def _paragraphs(component: Component) -> Iterator[str]:
    facts = component.facts
    origin = f"{component.kind} of plugin {component.plugin} ({component.distribution} {component.version})"
    needs = f"; needs {', '.join(sorted(facts.needs))}" if facts.needs else ""
    yield f"{component.name}: {origin}, version {facts.version}{needs}; tasks: {', '.join(sorted(facts.tasks))}"
    yield component.help
    options = component.options.fields.values()
    yield columns(("option", "type", "default"), [_row(one) for one in options]) if options else "It has no options."
    if facts.presets:
        presets = [(name, json.dumps(values, ensure_ascii=False)) for name, values in facts.presets.items()]
        yield columns(("preset", "stands for"), presets)


def _row(option: Option) -> tuple[str, str, str]:
    default = "required" if option.required else json.dumps(option.default, ensure_ascii=False)
    return option.name, option.text, default


def _option(option: Option) -> dict[str, Json]:
    return {
        "name": option.name,
        "type": option.text,
        "required": option.required,
        "default": option.default,
        "kind": option.kind or option.file,
        "many": option.many,
    }
