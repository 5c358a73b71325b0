"""One entry of a section.

Its component and options, and the points of its ``sweep`` and ``seeds``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product

from advtransfer.errors import Location, MissingLibrary, PluginError, UnknownName
from advtransfer.hookspecs import ComponentKind
from advtransfer.host import Component, Host
from advtransfer.suite import validators
from advtransfer.suite.located import (
    Located,
    Problems,
    did_you_mean,
    locate_plain,
    merge_located,
    set_at_path,
)
from advtransfer.suite.resources import RESOURCES
from advtransfer.suite.sections import (
    CHOICE_STEP,
    CHOOSE,
    CHOOSE_KEYS,
    MAX_GRID_ENTRIES,
    SECTIONS_BY_KIND,
    Section,
)
from advtransfer.text import parse_duration, with_article

DIGEST_OPTION = "sha256"
TIMEOUT_STEP = "write it in an entry of sources, transfers or evaluations, whose work it limits"


@dataclass(frozen=True, slots=True)
class SuiteEntry:
    """An entry of a section: its component, its options, and its reserved words.

    The options include the views of a data set.
    """

    key: str
    location: Location
    section: Section
    component: Component
    options: Located
    words: Mapping[str, Located]


@dataclass(frozen=True, slots=True)
class EntryReader:
    """Reader of entries, with one host and the defaults of one suite."""

    host: Host
    defaults: Mapping[str, Located]
    problems: Problems

    def read_entry(
        self, value: Located, *, key: str, section: Section, words: tuple[str, ...]
    ) -> SuiteEntry | None:
        """Return the entry, or add a problem and return None where its component is unknown.

        `words` are the reserved words that it may use.
        """
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
        values = validators.require_known_names(
            own,
            (*names, *words),
            of=component.name,
            problems=self.problems,
            moved={
                RESOURCES: "write it in an entry of sources, adapters, transfers or evaluations",
                "timeout": TIMEOUT_STEP,
                **(dict.fromkeys(CHOOSE_KEYS, CHOICE_STEP) if CHOOSE in words else {}),
            },
        )
        used_words = {
            name: item for name, item in values.items() if name in words and item.value is not None
        }
        written = {name: item for name, item in values.items() if name in names}
        # An entry's own options win over its preset, and a preset over the suite's defaults.
        inherited = merge_located(
            self._default_options(component),
            self._preset_options(component, used_words.get("preset")),
        )
        options = merge_located(inherited, replace(value, value=written))
        return SuiteEntry(key, value.name_location, section, component, options, used_words)

    def check_defaults(self) -> None:
        """Add problems for unknown components and options in the defaults, used or not."""
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
        component_noun = with_article(noun)
        if use is None or use.value is None:
            next_step = f"add `use: plugin/factory`; `advtransfer list` shows each {noun}"
            self.problems.add(
                where, found="an entry without `use`", expected=component_noun, next_step=next_step
            )
            return None
        name = validators.require_text(
            use, expected=f"{component_noun}, written plugin/factory", problems=self.problems
        )
        try:
            return self.host.component(name, kind) if name else None
        except UnknownName as error:
            plugins = ", ".join(self.host.plugin_names)
            expected = f"{component_noun} of an installed plugin ({plugins})"
            next_step = did_you_mean(
                name, error.near, otherwise=f"`advtransfer list` shows each {noun}"
            )
        except (MissingLibrary, PluginError) as error:
            expected = "a plugin that loads"
            next_step = str(error)
        self.problems.add(
            use.location, found=use.shown_text(), expected=expected, next_step=next_step
        )
        return None

    def _default_options(self, component: Component) -> Located:
        value = self.defaults.get(component.name)
        own = value.value if value and isinstance(value.value, Mapping) else {}
        names = option_names(component)
        mark = value.location if value else Location("", 0, 0)
        # Unknown options are dropped here and reported by `check_defaults`, once and not for each
        # entry.
        return Located({name: item for name, item in own.items() if name in names}, mark)

    def _preset_options(self, component: Component, preset: Located | None) -> Located:
        if preset is None:
            return Located({}, Location("", 0, 0))
        presets = component.metadata.presets
        if isinstance(preset.value, str) and preset.value in presets:
            return locate_plain(presets[preset.value], preset.location)
        self.problems.add(
            preset.location,
            found=f"the preset {preset.shown_text()}",
            expected=f"one of {', '.join(presets)}"
            if presets
            else f"no preset, since {component.name} has none",
            next_step=did_you_mean(
                preset.value, presets, otherwise=f"`advtransfer show {component.name}` lists them"
            ),
        )
        return Located({}, preset.location)


def option_names(component: Component) -> tuple[str, ...]:
    """Return the names of the options that an entry may set.

    They are the factory's options, the views of a data set, and the digest of a file option.
    """
    fields = component.options.fields
    section = SECTIONS_BY_KIND.get(component.kind)
    views = section.views if section else ()
    files = [field for field in fields.values() if field.file]
    # With several files it would be open which of them the digest is of.
    has_one_file = len(files) == 1 and not files[0].many
    if has_one_file and DIGEST_OPTION not in fields:
        return (*fields, *views, DIGEST_OPTION)
    return (*fields, *views)


@dataclass(frozen=True, slots=True)
class SweepPoint:
    """One point of a sweep: the entry's options with the swept ones set.

    `settings` holds the swept ones alone, by dotted name.
    """

    options: Located
    settings: Mapping[str, Located]


def sweep_points(entry: SuiteEntry, problems: Problems) -> Iterator[SweepPoint]:
    """Yield every point of the entry's sweep, the last option fastest; one without a sweep."""
    sweep = entry.words.get("sweep", Located({}, entry.location))
    listed = validators.require_mapping(
        sweep, expected="a mapping of options to lists", problems=problems
    )
    values_by_name = {
        name: listed_values(name, value, entry, problems, of="a sweep")
        for name, value in listed.items()
    }
    swept = {name: values for name, values in values_by_name.items() if values}
    # The product is counted before it is made: a few lists can have billions of combinations.
    count = math.prod(map(len, swept.values()))
    if count > MAX_GRID_ENTRIES:
        problems.add(
            sweep.name_location,
            found=f"a sweep of {count:,} cells",
            expected=f"at most {MAX_GRID_ENTRIES:,}",
            next_step="shorten its lists",
        )
        return
    for values in product(*swept.values()):
        settings = dict(zip(swept, values, strict=True))
        options = entry.options
        for name, value in settings.items():
            options = set_at_path(options, name.split("."), value)
        yield SweepPoint(options, settings)


def replicate_seeds(entry: SuiteEntry, problems: Problems) -> tuple[Located | None, ...]:
    """Return the seeds that ``seeds`` asks for, or (None,) where the entry has no ``seeds``."""
    seeds = entry.words.get("seeds")
    if seeds is None:
        return (None,)
    if "seed" not in entry.component.options.fields:
        expected = f"no `seeds`, since {entry.component.name} has no option `seed`"
        next_step = "remove it"
    elif entry.options.child("seed") or entry.words.get("sweep", seeds).child("seed"):
        expected = "`seed` or `seeds`, not both"
        next_step = "remove one of them"
    # A repeated seed would be a replicate that tells nothing new.
    elif isinstance(seeds.value, tuple):
        return validators.require_distinct(seeds.value, of="`seeds`", problems=problems)
    else:
        expected = f"a count from 1 to {MAX_GRID_ENTRIES:,}, or a list of seeds"
        count = validators.require_integer(
            seeds, at_least=1, at_most=MAX_GRID_ENTRIES, expected=expected, problems=problems
        )
        return tuple(Located(seed, seeds.location, text=str(seed)) for seed in range(count or 0))
    problems.add(seeds.name_location, found="`seeds`", expected=expected, next_step=next_step)
    return ()


def entry_timeout(entry: SuiteEntry, problems: Problems) -> float | None:
    """Return the seconds of the entry's ``timeout``; None where it has none, or after a problem."""
    written = entry.words.get("timeout")
    if written is None:
        return None
    try:
        return parse_duration(written.value if isinstance(written.value, str) else "")
    except ValueError:
        validators.add_mismatch(
            written,
            expected="a duration above 0 with its unit, such as 90s, 30m or 1h30m",
            next_step="correct it",
            problems=problems,
        )
        return None


def with_seed(options: Located, seed: Located | None) -> Located:
    """Return the options of one replicate."""
    return options if seed is None else set_at_path(options, ("seed",), seed)


def listed_values(
    name: str, value: Located, entry: SuiteEntry, problems: Problems, *, of: str
) -> tuple[Located, ...]:
    """Return the values that ``sweep`` or ``choose`` (`of`) lists for an option, or add a problem."""
    names = option_names(entry.component)
    head, *rest = name.split(".")
    if head not in names:
        problems.add(
            value.name_location,
            found=f"the unknown option {name!r} in {of}",
            expected=f"an option of {entry.component.name}, or option.part",
            next_step=did_you_mean(
                head, names, otherwise=f"`advtransfer show {entry.component.name}` lists them"
            ),
        )
        return ()
    inner = entry.options.find_innermost((head, *rest[:-1]))
    if rest and not isinstance(inner.value, Mapping | None):
        expected = f"a mapping, since {of} sets {name!r} in it"
        validators.add_mismatch(
            inner, expected=expected, next_step="change one of the two", problems=problems
        )
        return ()
    values = validators.require_list(
        value, expected="a list of values to sweep over", problems=problems
    )
    return validators.require_distinct(values, of=of, problems=problems)
