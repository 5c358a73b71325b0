"""From the name of a suite to the checked `Suite`: every problem at once, or all of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from advtransfer.errors import BadInput, Mark, Problem
from advtransfer.host import Host
from advtransfer.suite import expect
from advtransfer.suite.board import BoardReader
from advtransfer.suite.entries import Entries
from advtransfer.suite.fit import check_fit
from advtransfer.suite.inherit import inherited
from advtransfer.suite.limits import LONGEST_TITLE, MOST_TRIALS
from advtransfer.suite.marked import Marked
from advtransfer.suite.names import check_names
from advtransfer.suite.problems import Problems, did_you_mean, quoted
from advtransfer.suite.sections import ADAPTERS, EVALUATIONS, FORMAT, NAMED, SECTIONS, SOURCES, TOP, TRANSFERS
from advtransfer.suite.selection import Axis, Grid, Selection
from advtransfer.suite.shipped import shipped
from advtransfer.suite.suite import Cell, Leaderboard, Subset, Suite, Target
from advtransfer.suite.targets import target
from advtransfer.suite.written import written


def load(name: str, host: Host) -> Suite:
    """The suite in a file, or a shipped one by its name; only the plugins that it names are imported.

    Raises:
        BadInput: There is no such suite, or it has mistakes; holds all of them, in the order of the file.
    """
    path, file = find(name)
    problems = Problems(file)
    _check_name(path, file, problems)
    top, text = inherited(path, file=file, problems=problems)
    suite = _suite(path, top, text, host=host, problems=problems)
    problems.check()
    return suite


def find(name: str) -> tuple[Path, str]:
    """The file of a suite, and what messages call it: the path as given, or where the shipped suite lies."""
    known = shipped()
    if Path(name).is_file():
        return Path(name), name
    if name in known:
        return known[name], str(known[name])
    place = Path(name).absolute()
    next_step = did_you_mean(name, [*known, *map(str, Path(name).parent.glob("*.yaml"))], otherwise="correct the path")
    found = f"no suite {name!r} (neither the file {place} nor shipped)"
    raise BadInput([Problem(found, f"a suite file, or a shipped suite: {', '.join(known)}", next_step)])


def _check_name(path: Path, file: str, problems: Problems) -> None:
    """Note a file whose name cannot be that of a run's folder, in which a page and its links stand."""
    name = path.stem
    if not name.strip(".") or not name.isprintable() or name != name.strip() or name.startswith("-"):
        expected = (
            "a name of printable UTF-8, which is more than dots, and neither begins with a minus nor with a space"
        )
        problems.add(
            Mark(file, 1, 1), found=f"the file name {quoted(path.name)}", expected=expected, next_step="rename it"
        )


def _suite(path: Path, top: Marked, text: str | None, *, host: Host, problems: Problems) -> Suite:
    """The suite, as far as it has no mistakes."""
    said = expect.known(top.value if isinstance(top.value, Mapping) else {}, TOP, of="a suite", problems=problems)
    said = {name: one for name, one in said.items() if one.value is not None}
    sections = {name: _section(said, name, problems) for name in NAMED}
    entries = Entries(sections, host=host, problems=problems)
    targets = _targets(sections["targets"], entries, problems)
    grid = _grid(sections["targets"], [subsets for _, subsets in targets], entries)
    cells = {section.name: entries.finished(section, grid) for section in SECTIONS}
    found = [one for one, _ in targets if one]
    _check_whole(top, said, sections, cells["transfers"], problems)
    _check_references(found, sections["targets"], cells["evaluations"], problems)
    check_fit(
        sources=cells["sources"],
        targets=found,
        transfers=cells["transfers"],
        evaluations=cells["evaluations"],
        entries=entries,
    )
    return Suite(
        name=path.stem,
        title=_head(said, path.stem, problems),
        path=path,
        text=f"# {path.name}, with what it extends filled in.\n{written(top)}" if text is None else text,
        targets=tuple(found),
        exclude=_exclude(said, grid, problems),
        leaderboard=_leaderboard(said, grid, cells, entries, problems),
        marks={name: one.name_mark for name, one in said.items()},
        **cells,
    )


def _section(said: Mapping[str, Marked], name: str, problems: Problems) -> Mapping[str, Marked]:
    if name not in said:
        return {}
    entries = expect.mapping(said[name], expected=f"`{name}`: a mapping of names to entries", problems=problems)
    if name != "defaults":
        check_names(entries, problems=problems)
    return entries


def _targets(
    section: Mapping[str, Marked], entries: Entries, problems: Problems
) -> list[tuple[Target | None, tuple[Subset, ...]]]:
    """The targets; no further ones where those so far have more subsets than a suite may have trials."""
    found: list[tuple[Target | None, tuple[Subset, ...]]] = []
    for key, value in section.items():
        found.append(target(key, value, entries=entries, problems=problems))
        count = sum(len(subsets) for _, subsets in found)
        if count > MOST_TRIALS:
            expected, next_step = f"at most {MOST_TRIALS:,} trials in all", "ask for fewer seeds"
            problems.add(value.name_mark, found=f"{count:,} subsets", expected=expected, next_step=next_step)
            break
    return found


def _grid(keys: Iterable[str], drawn: Sequence[Sequence[Subset]], entries: Entries) -> Grid:
    """The axes of the suite; the subsets of a target that has none for its mistakes are not known."""
    subsets = [subset for some in drawn for subset in some]
    complete = all(drawn)
    return Grid(
        {
            "source": entries.axis(SOURCES),
            "adapter": entries.axis(ADAPTERS),
            "target": Axis.of_values(keys),
            "n": Axis.of_values([subset.n for subset in subsets], complete=complete),
            "seed": Axis.of_values([subset.seed for subset in subsets], complete=complete),
            "transfer": entries.axis(TRANSFERS),
            "evaluation": entries.axis(EVALUATIONS),
        }
    )


def _head(said: Mapping[str, Marked], name: str, problems: Problems) -> str:
    """The title; the version is checked on the way."""
    version = said.get("version")
    if version is not None and (version.value != FORMAT or isinstance(version.value, bool)):
        next_step = "write `version: 1`; a later version needs a later advtransfer"
        expect.wrong(version, expected=str(FORMAT), next_step=next_step, problems=problems)
    title = expect.text(said["title"], expected="a text", problems=problems) if "title" in said else None
    if title is not None and len(title) > LONGEST_TITLE:
        found, expected = f"a title of {len(title):,} characters", f"at most {LONGEST_TITLE}"
        next_step = "shorten it; comments hold more"
        problems.add(said["title"].mark, found=found, expected=expected, next_step=next_step)
    return " ".join((title or name).split())


def _exclude(said: Mapping[str, Marked], grid: Grid, problems: Problems) -> tuple[Selection, ...]:
    listed = said.get("exclude")
    if listed is None or listed.value == ():
        return ()
    items = expect.listed(listed, expected="a list of selections", problems=problems)
    return tuple(grid.selection(one, problems=problems) for one in items)


def _leaderboard(
    said: Mapping[str, Marked],
    grid: Grid,
    cells: Mapping[str, tuple[Cell, ...]],
    entries: Entries,
    problems: Problems,
) -> Leaderboard:
    if "leaderboard" not in said:
        return Leaderboard()
    reader = BoardReader(grid, cells["sources"], cells["evaluations"], entries.outlines, problems)
    return reader.read(said["leaderboard"])


def _check_whole(
    top: Marked,
    said: Mapping[str, Marked],
    sections: Mapping[str, Mapping[str, Marked]],
    transfers: Sequence[Cell],
    problems: Problems,
) -> None:
    """Note what keeps a suite from running anything at all."""
    for name in ("targets", "transfers", "evaluations"):
        if not sections[name]:
            mark = said[name].name_mark if name in said else top.mark
            problems.add(mark, found=f"no {name}", expected="at least one", next_step=f"add an entry to `{name}`")
    for key in dict.fromkeys(cell.key for cell in transfers if "source" in cell.facts.needs):
        if not sections["sources"]:
            found, mark = f"the transfer {key!r}, which needs a source", sections["transfers"][key].name_mark
            problems.add(mark, found=found, expected="a source", next_step="add an entry to `sources`")


def _check_references(
    targets: Iterable[Target], written: Mapping[str, Marked], evaluations: Iterable[Cell], problems: Problems
) -> None:
    """Note targets without a reference that an evaluation of every target needs."""
    needing = [cell.label for cell in evaluations if "reference" in cell.facts.needs and cell.only is None]
    for one in targets:
        if needing and not one.references:
            problems.add(
                written[one.key].name_mark,
                found=f"no `reference` in target {one.key!r}",
                expected=f"one, since evaluation {needing[0]!r} needs it",
                next_step="add `reference: {use: ...}` to the target, or `only:` to the evaluation",
            )
