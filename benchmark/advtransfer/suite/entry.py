"""One entry of a section as written: its component, and its options over its preset, over the suite's defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from advtransfer.errors import Mark, MissingLibrary, PluginError, UnknownName
from advtransfer.hookspecs import Kind
from advtransfer.host import Component, Host
from advtransfer.printable import article
from advtransfer.suite import expect
from advtransfer.suite.marked import Marked, marked, merged
from advtransfer.suite.problems import Problems, did_you_mean
from advtransfer.suite.sections import BY_KIND, Section

DIGEST = "sha256"


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry: `options` holds what it sets, views of data sets included; `words` its reserved words."""

    key: str
    where: Mark
    section: Section
    component: Component
    options: Marked
    words: Mapping[str, Marked]


@dataclass(frozen=True, slots=True)
class EntryReader:
    """Reads entries with one host, over one suite's defaults."""

    host: Host
    defaults: Mapping[str, Marked]
    problems: Problems

    def read(self, value: Marked, *, key: str, section: Section, words: tuple[str, ...]) -> Entry | None:
        """The entry, or None and a problem where its component is not known; `words` are those it may use."""
        own = expect.mapping(value, expected=f"an entry of {section.name}", problems=self.problems)
        if not own and value.value != {}:
            return None
        component = self._component(own.get("use"), where=value.name_mark, kind=section.kind)
        if component is None:
            return None
        names = option_names(component)
        said = expect.known(own, (*names, *words), of=component.name, problems=self.problems)
        used = {name: one for name, one in said.items() if name in words and one.value is not None}
        options = replace(value, value={name: one for name, one in said.items() if name in names})
        below = merged(self._default(component), self._preset(component, used.get("preset")))
        return Entry(key, value.name_mark, section, component, merged(below, options), used)

    def check_defaults(self) -> None:
        """Note unknown components and options in the defaults, whether an entry uses them or not."""
        for name, value in self.defaults.items():
            use = Marked(name, value.name_mark)
            component = self._component(use, where=value.name_mark, kind=None)
            if component is not None:
                own = expect.mapping(value, expected="a mapping of options", problems=self.problems)
                of = f"the defaults of {name}"
                expect.known(own, option_names(component), of=of, problems=self.problems)

    def _component(self, use: Marked | None, *, where: Mark, kind: Kind | None) -> Component | None:
        noun = kind or "component"
        what = article(noun)
        if use is None or use.value is None:
            next_step = f"add `use: plugin/factory`; `advtransfer list` shows each {noun}"
            self.problems.add(where, found="an entry without `use`", expected=what, next_step=next_step)
            return None
        name = expect.text(use, expected=f"{what}, written plugin/factory", problems=self.problems)
        try:
            return self.host.component(name, kind) if name else None
        except UnknownName as error:
            expected = f"{what} of an installed plugin ({', '.join(self.host.plugins)})"
            next_step = did_you_mean(name, error.near, otherwise=f"`advtransfer list` shows each {noun}")
        except (MissingLibrary, PluginError) as error:
            expected, next_step = "a plugin that loads", str(error)
        self.problems.add(use.mark, found=use.shown(), expected=expected, next_step=next_step)
        return None

    def _default(self, component: Component) -> Marked:
        value = self.defaults.get(component.name)
        own = value.value if value and isinstance(value.value, Mapping) else {}
        names = option_names(component)
        mark = value.mark if value else Mark("", 0, 0)
        return Marked({name: one for name, one in own.items() if name in names}, mark)

    def _preset(self, component: Component, named: Marked | None) -> Marked:
        if named is None:
            return Marked({}, Mark("", 0, 0))
        presets = component.facts.presets
        if isinstance(named.value, str) and named.value in presets:
            return marked(presets[named.value], named.mark)
        self.problems.add(
            named.mark,
            found=f"the preset {named.shown()}",
            expected=f"one of {', '.join(presets)}" if presets else f"no preset, since {component.name} has none",
            next_step=did_you_mean(named.value, presets, otherwise=f"`advtransfer show {component.name}` lists them"),
        )
        return Marked({}, named.mark)


def option_names(component: Component) -> tuple[str, ...]:
    """What may stand in an entry as an option: the factory's options, a data set's views, a file's digest."""
    fields = component.options.fields
    views = BY_KIND[component.kind].views if component.kind in BY_KIND else ()
    files = [field for field in fields.values() if field.file]
    digest = (DIGEST,) if len(files) == 1 and not files[0].many and DIGEST not in fields else ()
    return (*fields, *views, *digest)
