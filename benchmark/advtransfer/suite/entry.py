"""One entry of a section.

Its component and options, the points of its ``sweep`` and ``seeds``, and the labels of these.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from advtransfer.errors import Location, MissingLibrary, PluginError, UnknownName
from advtransfer.hookspecs import ComponentKind
from advtransfer.host import Component, Host
from advtransfer.node import canonical_json
from advtransfer.suite import validators
from advtransfer.suite.located import (
    Located,
    Problems,
    did_you_mean,
    locate_plain,
    merge_located,
    quote_name,
)
from advtransfer.suite.sections import MAX_GRID_ENTRIES, SECTIONS_BY_KIND, Section, label_fault
from advtransfer.text import with_article
from advtransfer.types import Json

DIGEST_OPTION = "sha256"


@dataclass(frozen=True, slots=True)
class SuiteEntry:
    """An entry: `options` holds what it sets, views of data sets included; `words` its reserved words."""

    key: str
    location: Location
    section: Section
    component: Component
    options: Located
    words: Mapping[str, Located]


@dataclass(frozen=True, slots=True)
class EntryReader:
    """Reads entries with one host, over one suite's defaults."""

    host: Host
    defaults: Mapping[str, Located]
    problems: Problems

    def read_entry(
        self, value: Located, *, key: str, section: Section, words: tuple[str, ...]
    ) -> SuiteEntry | None:
        """The entry, or None and a problem where its component is not known; `words` are those it may use."""
        own = validators.require_mapping(
            value, expected=f"an entry of {section.name}", problems=self.problems
        )
        if not own and value.value != {}:
            return None
        component = self._find_component(
            own.get("use"), where=value.name_location, kind=section.kind
        )
        if component is None:
            return None
        names = option_names(component)
        said = validators.require_known_names(
            own, (*names, *words), of=component.name, problems=self.problems
        )
        used = {name: one for name, one in said.items() if name in words and one.value is not None}
        options = replace(value, value={name: one for name, one in said.items() if name in names})
        below = merge_located(
            self._default_options(component), self._preset_options(component, used.get("preset"))
        )
        return SuiteEntry(
            key, value.name_location, section, component, merge_located(below, options), used
        )

    def check_defaults(self) -> None:
        """Note unknown components and options in the defaults, whether an entry uses them or not."""
        for name, value in self.defaults.items():
            use = Located(name, value.name_location)
            component = self._find_component(use, where=value.name_location, kind=None)
            if component is not None:
                own = validators.require_mapping(
                    value, expected="a mapping of options", problems=self.problems
                )
                of = f"the defaults of {name}"
                validators.require_known_names(
                    own, option_names(component), of=of, problems=self.problems
                )

    def _find_component(
        self, use: Located | None, *, where: Location, kind: ComponentKind | None
    ) -> Component | None:
        noun = kind or "component"
        what = with_article(noun)
        if use is None or use.value is None:
            next_step = f"add `use: plugin/factory`; `advtransfer list` shows each {noun}"
            self.problems.add(
                where, found="an entry without `use`", expected=what, next_step=next_step
            )
            return None
        name = validators.require_text(
            use, expected=f"{what}, written plugin/factory", problems=self.problems
        )
        try:
            return self.host.component(name, kind) if name else None
        except UnknownName as error:
            expected = f"{what} of an installed plugin ({', '.join(self.host.plugin_names)})"
            next_step = did_you_mean(
                name, error.near, otherwise=f"`advtransfer list` shows each {noun}"
            )
        except (MissingLibrary, PluginError) as error:
            expected, next_step = "a plugin that loads", str(error)
        self.problems.add(
            use.location, found=use.shown_text(), expected=expected, next_step=next_step
        )
        return None

    def _default_options(self, component: Component) -> Located:
        value = self.defaults.get(component.name)
        own = value.value if value and isinstance(value.value, Mapping) else {}
        names = option_names(component)
        mark = value.location if value else Location("", 0, 0)
        return Located({name: one for name, one in own.items() if name in names}, mark)

    def _preset_options(self, component: Component, named: Located | None) -> Located:
        if named is None:
            return Located({}, Location("", 0, 0))
        presets = component.metadata.presets
        if isinstance(named.value, str) and named.value in presets:
            return locate_plain(presets[named.value], named.location)
        self.problems.add(
            named.location,
            found=f"the preset {named.shown_text()}",
            expected=f"one of {', '.join(presets)}"
            if presets
            else f"no preset, since {component.name} has none",
            next_step=did_you_mean(
                named.value, presets, otherwise=f"`advtransfer show {component.name}` lists them"
            ),
        )
        return Located({}, named.location)


def option_names(component: Component) -> tuple[str, ...]:
    """What may stand in an entry as an option: the factory's options, a data set's views, a file's digest."""
    fields = component.options.fields
    views = SECTIONS_BY_KIND[component.kind].views if component.kind in SECTIONS_BY_KIND else ()
    files = [field for field in fields.values() if field.file]
    digest = (
        (DIGEST_OPTION,)
        if len(files) == 1 and not files[0].many and DIGEST_OPTION not in fields
        else ()
    )
    return (*fields, *views, *digest)


@dataclass(frozen=True, slots=True)
class SweepPoint:
    """One point of a sweep: the entry's options with the swept ones set, and what was set, by dotted name."""

    options: Located
    settings: Mapping[str, Located]


def sweep_points(entry: SuiteEntry, problems: Problems) -> Iterator[SweepPoint]:
    """Every point of the entry's sweep, the last option fastest; one point where nothing is swept."""
    sweep = entry.words.get("sweep", Located({}, entry.location))
    said = validators.require_mapping(
        sweep, expected="a mapping of options to lists", problems=problems
    )
    lists = {name: _swept_values(name, value, entry, problems) for name, value in said.items()}
    swept = {name: values for name, values in lists.items() if values}
    count = math.prod(map(len, swept.values()))
    if count > MAX_GRID_ENTRIES:
        found, expected = f"a sweep of {count:,} cells", f"at most {MAX_GRID_ENTRIES:,}"
        problems.add(
            sweep.name_location, found=found, expected=expected, next_step="shorten its lists"
        )
        return
    for values in product(*swept.values()):
        settings = dict(zip(swept, values, strict=True))
        options = entry.options
        for name, value in settings.items():
            options = _set_option(options, name.split("."), value)
        yield SweepPoint(options, settings)


def replicate_seeds(entry: SuiteEntry, problems: Problems) -> tuple[Located | None, ...]:
    """The values of the option `seed` that ``seeds`` asks for; (None,) where it does not stand in the entry."""
    seeds = entry.words.get("seeds")
    if seeds is None:
        return (None,)
    if "seed" not in entry.component.options.fields:
        expected, next_step = (
            f"no `seeds`, since {entry.component.name} has no option `seed`",
            "remove it",
        )
    elif entry.options.child("seed") or entry.words.get("sweep", seeds).child("seed"):
        expected, next_step = "`seed` or `seeds`, not both", "remove one of them"
    elif isinstance(seeds.value, tuple):
        return distinct_values(seeds.value, of="`seeds`", problems=problems)
    else:
        expected = f"a count from 1 to {MAX_GRID_ENTRIES:,}, or a list of seeds"
        count = validators.require_integer(
            seeds, at_least=1, at_most=MAX_GRID_ENTRIES, expected=expected, problems=problems
        )
        return tuple(Located(seed, seeds.location, text=str(seed)) for seed in range(count or 0))
    problems.add(seeds.name_location, found="`seeds`", expected=expected, next_step=next_step)
    return ()


def with_seed(options: Located, seed: Located | None) -> Located:
    """The options of one replicate."""
    return options if seed is None else _set_option(options, ("seed",), seed)


def _swept_values(
    name: str, value: Located, entry: SuiteEntry, problems: Problems
) -> tuple[Located, ...]:
    """The values to sweep an option over; none and a problem where it cannot be swept."""
    names = option_names(entry.component)
    head, *rest = name.split(".")
    if head not in names:
        problems.add(
            value.name_location,
            found=f"the unknown option {name!r} in a sweep",
            expected=f"an option of {entry.component.name}, or option.part",
            next_step=did_you_mean(
                head, names, otherwise=f"`advtransfer show {entry.component.name}` lists them"
            ),
        )
        return ()
    inner = entry.options.find_innermost((head, *rest[:-1]))
    if rest and not isinstance(inner.value, Mapping | None):
        expected = f"a mapping, since the sweep sets {name!r} in it"
        validators.add_mismatch(
            inner, expected=expected, next_step="mend one of the two", problems=problems
        )
        return ()
    values = validators.require_list(
        value, expected="a list of values to sweep over", problems=problems
    )
    return distinct_values(values, of="a sweep", problems=problems)


def distinct_values(
    values: Sequence[Located], *, of: str, problems: Problems
) -> tuple[Located, ...]:
    """The values without those that came before, each of which is a problem."""
    kept: dict[str, Located] = {}
    for value in values:
        first = kept.setdefault(canonical_json(value.to_plain()), value)
        if first is not value:
            expected = f"each value once in {of} (first in line {first.location.line})"
            validators.add_mismatch(
                value, expected=expected, next_step="remove it", problems=problems
            )
    return tuple(kept.values())


def _set_option(options: Located, path: Sequence[str], value: Located) -> Located:
    """The options with the value at a path, mappings made on the way where there are none."""
    name, *rest = path
    own = options.value if isinstance(options.value, Mapping) else {}
    inner = (
        _set_option(own.get(name, Located({}, value.location, value.key_location)), rest, value)
        if rest
        else value
    )
    return replace(options, value={**own, name: inner})


_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


def check_label(entry: SuiteEntry, problems: Problems) -> None:
    """Note what stands in braces in the entry's ``label`` and is no option, or is one that replicates differ in."""
    template = entry.words.get("label", Located(None, entry.location))
    names = _template_names(entry)
    for place in _PLACEHOLDER.findall(template.value) if isinstance(template.value, str) else ():
        if place.partition(".")[0] not in names:
            _add_unknown_placeholder(place, template, entry, problems)


def unresolved_labels(key: str, template: Located | None) -> re.Pattern[str]:
    """What the names of an entry with mistakes can look like, as far as its key and its label tell."""
    text = template.value if template and isinstance(template.value, str) else key
    stem = ".*".join(map(re.escape, re.split(r"\{[^{}]*\}", text)))
    return re.compile(rf"({re.escape(key)}|{stem})(\[.*\])?")


def row_label(
    entry: SuiteEntry, point: SweepPoint, *, options: Mapping[str, Json], problems: Problems
) -> str | None:
    """The label of a point of the entry's sweep; `options` are its validated ones, for what the entry leaves out."""
    template = entry.words.get("label")
    if template is None:
        return _checked_label(
            bracketed_label(entry.key, point.settings),
            entry.location,
            "give the entry a `label`",
            problems,
        )
    text = validators.require_text(template, expected="a text", problems=problems)
    if text is None:
        return None
    unknown = [
        name
        for name in _PLACEHOLDER.findall(text)
        if _option_text(name, point.options, options) is None
    ]
    if unknown:
        _add_unknown_placeholder(unknown[0], template, entry, problems)
        return None
    name = _PLACEHOLDER.sub(
        lambda match: _option_text(match[1], point.options, options) or "", text
    )
    return _checked_label(
        name, template.location, "correct `label`, or what its braces stand for", problems
    )


def _checked_label(name: str, mark: Location, next_step: str, problems: Problems) -> str | None:
    fault = label_fault(name)
    if fault is not None:
        problems.add(
            mark, found=f"the label {quote_name(name)}", expected=fault, next_step=next_step
        )
    return None if fault else name


def bracketed_label(name: str, settings: Mapping[str, Located]) -> str:
    """``name[option=value,...]``, or the name alone; further settings join the brackets already there."""
    inside = ",".join(f"{option}={_value_text(value)}" for option, value in settings.items())
    if not inside:
        return name
    return f"{name[:-1]},{inside}]" if name.endswith("]") else f"{name}[{inside}]"


def _template_names(entry: SuiteEntry) -> list[str]:
    return [
        name
        for name in option_names(entry.component)
        if name != "seed" or "seeds" not in entry.words
    ]


def _add_unknown_placeholder(
    place: str, template: Located, entry: SuiteEntry, problems: Problems
) -> None:
    show = f"`advtransfer show {entry.component.name}` lists them"
    problems.add(
        template.location,
        found=f"{{{place}}} in a label",
        expected=f"options of {entry.component.name} in braces",
        next_step=did_you_mean(place, _template_names(entry), otherwise=show),
    )


def _option_text(name: str, written: Located, options: Mapping[str, Json]) -> str | None:
    """A dotted option as the suite writes it, or else its default."""
    path = name.split(".")
    found: Located | None = written
    for step in path:
        found = found.child(step) if found else None
    if found is not None:
        return _value_text(found)
    value: Json = options
    for step in path:
        if not isinstance(value, Mapping) or step not in value:
            return None
        value = value[step]
    return value if isinstance(value, str) else json.dumps(value)


def _value_text(value: Located) -> str:
    if isinstance(value.value, tuple):
        return f"[{','.join(map(_value_text, value.value))}]"
    if isinstance(value.value, Mapping):
        return (
            "{" + ",".join(f"{name}:{_value_text(one)}" for name, one in value.value.items()) + "}"
        )
    if isinstance(value.value, str):
        return value.value
    return value.text or json.dumps(value.value)
