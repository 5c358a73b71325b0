"""``sweep`` and ``seeds``: the points of an entry's own little grid."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

from advtransfer.node import canonical
from advtransfer.suite import expect
from advtransfer.suite.entry import Entry, option_names
from advtransfer.suite.limits import MOST_CELLS
from advtransfer.suite.marked import Marked
from advtransfer.suite.problems import Problems, did_you_mean


@dataclass(frozen=True, slots=True)
class Point:
    """One point of a sweep: the entry's options with the swept ones set, and what was set, by dotted name."""

    options: Marked
    settings: Mapping[str, Marked]


def points(entry: Entry, problems: Problems) -> Iterator[Point]:
    """Every point of the entry's sweep, the last option fastest; one point where nothing is swept."""
    sweep = entry.words.get("sweep", Marked({}, entry.where))
    said = expect.mapping(sweep, expected="a mapping of options to lists", problems=problems)
    lists = {name: _values(name, value, entry, problems) for name, value in said.items()}
    swept = {name: values for name, values in lists.items() if values}
    count = math.prod(map(len, swept.values()))
    if count > MOST_CELLS:
        found, expected = f"a sweep of {count:,} cells", f"at most {MOST_CELLS:,}"
        problems.add(sweep.name_mark, found=found, expected=expected, next_step="shorten its lists")
        return
    for values in product(*swept.values()):
        settings = dict(zip(swept, values, strict=True))
        options = entry.options
        for name, value in settings.items():
            options = _set(options, name.split("."), value)
        yield Point(options, settings)


def replicates(entry: Entry, problems: Problems) -> tuple[Marked | None, ...]:
    """The values of the option `seed` that ``seeds`` asks for; (None,) where it does not stand in the entry."""
    seeds = entry.words.get("seeds")
    if seeds is None:
        return (None,)
    if "seed" not in entry.component.options.fields:
        expected, next_step = f"no `seeds`, since {entry.component.name} has no option `seed`", "remove it"
    elif entry.options.child("seed") or entry.words.get("sweep", seeds).child("seed"):
        expected, next_step = "`seed` or `seeds`, not both", "remove one of them"
    elif isinstance(seeds.value, tuple):
        return distinct(seeds.value, of="`seeds`", problems=problems)
    else:
        expected = f"a count from 1 to {MOST_CELLS:,}, or a list of seeds"
        count = expect.integer(seeds, at_least=1, at_most=MOST_CELLS, expected=expected, problems=problems)
        return tuple(Marked(seed, seeds.mark, text=str(seed)) for seed in range(count or 0))
    problems.add(seeds.name_mark, found="`seeds`", expected=expected, next_step=next_step)
    return ()


def with_seed(options: Marked, seed: Marked | None) -> Marked:
    """The options of one replicate."""
    return options if seed is None else _set(options, ("seed",), seed)


def _values(name: str, value: Marked, entry: Entry, problems: Problems) -> tuple[Marked, ...]:
    """The values to sweep an option over; none and a problem where it cannot be swept."""
    names = option_names(entry.component)
    head, *rest = name.split(".")
    if head not in names:
        problems.add(
            value.name_mark,
            found=f"the unknown option {name!r} in a sweep",
            expected=f"an option of {entry.component.name}, or option.part",
            next_step=did_you_mean(head, names, otherwise=f"`advtransfer show {entry.component.name}` lists them"),
        )
        return ()
    inner = entry.options.find((head, *rest[:-1]))
    if rest and not isinstance(inner.value, Mapping | None):
        expected = f"a mapping, since the sweep sets {name!r} in it"
        expect.wrong(inner, expected=expected, next_step="mend one of the two", problems=problems)
        return ()
    values = expect.listed(value, expected="a list of values to sweep over", problems=problems)
    return distinct(values, of="a sweep", problems=problems)


def distinct(values: Sequence[Marked], *, of: str, problems: Problems) -> tuple[Marked, ...]:
    """The values without those that came before, each of which is a problem."""
    kept: dict[str, Marked] = {}
    for value in values:
        first = kept.setdefault(canonical(value.plain()), value)
        if first is not value:
            expected = f"each value once in {of} (first in line {first.mark.line})"
            expect.wrong(value, expected=expected, next_step="remove it", problems=problems)
    return tuple(kept.values())


def _set(options: Marked, path: Sequence[str], value: Marked) -> Marked:
    """The options with the value at a path, mappings made on the way where there are none."""
    name, *rest = path
    own = options.value if isinstance(options.value, Mapping) else {}
    inner = _set(own.get(name, Marked({}, value.mark, value.key)), rest, value) if rest else value
    return replace(options, value={**own, name: inner})
