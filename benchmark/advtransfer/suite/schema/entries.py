"""The entries of each section as JSON Schema: closed, with the options of the component that `use` names."""

from __future__ import annotations

from advtransfer.host import Component, Host
from advtransfer.suite.limits import MOST_CELLS
from advtransfer.suite.scalars import FRACTION
from advtransfer.suite.schema.options import dotted, options
from advtransfer.suite.schema.words import Schema, choice, closed, described, listed, nullable, ref, typed
from advtransfer.suite.sections import INLINE, REFERENCE, SECTIONS, STARTS, Section

_USE = "The component, written plugin/factory (`advtransfer list`)."


def definitions(host: Host) -> dict[str, Schema]:
    """Of every kind: an entry, an entry over its parent's, an entry in place, and a name or an entry in place."""
    found: dict[str, Schema] = {"fraction": described(typed("string", pattern=f"^{FRACTION}$"), "A fraction: 8/255.")}
    every: list[Component] = []
    for section in SECTIONS:
        components = host.components(section.kind)
        every += components
        found |= {_key(one): {"type": "object", "properties": options(one)} for one in components}
        kind = section.kind
        found[f"{kind}_entry"] = _entry(section, components, words=section.words)
        found[f"{kind}_part"] = {
            "if": {"type": "object", "required": ["use"]},
            "then": ref(f"{kind}_entry"),
            "else": {"type": ["object", "null"]},
        }
        found[f"{kind}_inline"] = _entry(section, components, words=INLINE)
        found[f"{kind}_value"] = {"anyOf": [typed("string"), ref(f"{kind}_inline")]}
        if kind == "source":
            found["reference_inline"] = _entry(section, components, words=REFERENCE)
            found["reference_value"] = {"anyOf": [typed("string"), ref("reference_inline")]}
    found["defaults"] = nullable(closed({one.name: nullable(closed(options(one))) for one in every}))
    return found


def _entry(section: Section, components: list[Component], *, words: tuple[str, ...]) -> Schema:
    common = {"use": described(choice(one.name for one in components), _USE)}
    if "label" in words:
        text = "The cell's label; {option} stands for an option's value."
        common["label"] = nullable(described(typed("string"), text))
    if "only" in words:
        common["only"] = nullable(described(ref("selection"), "The cells that the entry applies to."))
    return {
        "type": "object",
        "properties": common,
        "required": ["use"],
        "allOf": [True, *(_of_component(one, words) for one in components)],  # never empty, as its own schema asks
        "unevaluatedProperties": False,
    }


def _of_component(component: Component, words: tuple[str, ...]) -> Schema:
    """What an entry may hold when it uses this component."""
    own = options(component)
    more: dict[str, Schema] = {}
    if "preset" in words and component.facts.presets:
        more["preset"] = nullable(described(choice(component.facts.presets), "A named table of options."))
    if "sweep" in words:
        lists = {name: listed(schema) for name, schema in dotted(own).items()}
        more["sweep"] = nullable(described(closed(lists), "A cell for each combination of values."))
    if "seeds" in words and "seed" in component.options.fields:
        count, some = typed("integer", minimum=1, maximum=MOST_CELLS), listed(typed("integer", minimum=0))
        more["seeds"] = nullable(described({"anyOf": [count, some]}, "Replicates, shown as one row."))
    if "start" in words and "seed" in component.options.fields:
        text = "Where its training starts: from weights of its own, or from those of a source of its seed."
        more["start"] = nullable(described(choice(STARTS), text))
    return {
        "if": {"properties": {"use": {"const": component.name}}, "required": ["use"]},
        "then": {**described(ref(_key(component)), component.summary), "properties": dict(more)},
    }


def _key(component: Component) -> str:
    return component.name.replace("/", ".")
