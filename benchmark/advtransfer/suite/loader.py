"""Loading of suites: from a name to a checked `Suite`, or to an error with every problem in it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from advtransfer.errors import BadInput, Location, Problem
from advtransfer.host import Host
from advtransfer.suite import validators
from advtransfer.suite.cross_checks import (
    check_compatibility,
    check_references,
    check_required_sections,
)
from advtransfer.suite.extends import read_with_parents, shipped_suites
from advtransfer.suite.grid_entries import GridEntries
from advtransfer.suite.leaderboard_settings import LeaderboardReader
from advtransfer.suite.located import Located, Problems, did_you_mean, quote_name
from advtransfer.suite.sections import (
    ADAPTERS,
    EVALUATIONS,
    MAX_TITLE_LENGTH,
    MAX_TRIALS,
    NAMED_SECTIONS,
    SECTIONS,
    SOURCES,
    SUITE_FORMAT,
    TOP_LEVEL_KEYS,
    TRANSFERS,
    check_names,
)
from advtransfer.suite.selection import Axis, Grid, Selection
from advtransfer.suite.suite import GridEntry, Leaderboard, Subset, Suite, Target
from advtransfer.suite.targets import read_target
from advtransfer.suite.yaml_core import dump_yaml


def load(name: str, host: Host) -> Suite:
    """The suite in a file, or a shipped one by its name; only the plugins that it names are imported.

    Raises:
        BadInput: There is no such suite, or it has mistakes; holds all of them, in the order of the file.
    """
    path, file = find_suite(name)
    problems = Problems(file)
    _check_file_name(path, file, problems)
    top, text = read_with_parents(path, file=file, problems=problems)
    suite = _build_suite(path, top, text, host=host, problems=problems)
    problems.raise_if_any()
    return suite


def find_suite(name: str) -> tuple[Path, str]:
    """The file of a suite, and what messages call it: the path as given, or where the shipped suite lies."""
    known = shipped_suites()
    if Path(name).is_file():
        return Path(name), name
    if name in known:
        return known[name], str(known[name])
    place = Path(name).absolute()
    next_step = did_you_mean(
        name, [*known, *map(str, Path(name).parent.glob("*.yaml"))], otherwise="correct the path"
    )
    found = f"no suite {name!r} (neither the file {place} nor shipped)"
    raise BadInput(
        [Problem(found, f"a suite file, or a shipped suite: {', '.join(known)}", next_step)]
    )


def _check_file_name(path: Path, file: str, problems: Problems) -> None:
    """Note a file whose name cannot be that of a run's folder, in which a page and its links stand."""
    name = path.stem
    if (
        not name.strip(".")
        or not name.isprintable()
        or name != name.strip()
        or name.startswith("-")
    ):
        expected = "a name of printable UTF-8, which is more than dots, and neither begins with a minus nor with a space"
        problems.add(
            Location(file, 1, 1),
            found=f"the file name {quote_name(path.name)}",
            expected=expected,
            next_step="rename it",
        )


def _build_suite(
    path: Path, top: Located, text: str | None, *, host: Host, problems: Problems
) -> Suite:
    """The suite, as far as it has no mistakes."""
    said = validators.require_known_names(
        top.value if isinstance(top.value, Mapping) else {},
        TOP_LEVEL_KEYS,
        of="a suite",
        problems=problems,
    )
    said = {name: one for name, one in said.items() if one.value is not None}
    sections = {name: _read_section(said, name, problems) for name in NAMED_SECTIONS}
    entries = GridEntries(sections, host=host, problems=problems)
    targets = _read_targets(sections["targets"], entries, problems)
    grid = _build_grid(sections["targets"], [subsets for _, subsets in targets], entries)
    cells = {section.name: entries.restricted_entries(section, grid) for section in SECTIONS}
    found = [one for one, _ in targets if one]
    check_required_sections(top, said, sections, cells["transfers"], problems)
    check_references(found, sections["targets"], cells["evaluations"], problems)
    check_compatibility(
        sources=cells["sources"],
        targets=found,
        transfers=cells["transfers"],
        evaluations=cells["evaluations"],
        entries=entries,
    )
    return Suite(
        name=path.stem,
        title=_read_title(said, path.stem, problems),
        path=path,
        text=f"# {path.name}, with what it extends filled in.\n{dump_yaml(top)}"
        if text is None
        else text,
        targets=tuple(found),
        exclude=_read_exclusions(said, grid, problems),
        leaderboard=_read_leaderboard(said, grid, cells, entries, problems),
        section_locations={name: one.name_location for name, one in said.items()},
        **cells,
    )


def _read_section(
    said: Mapping[str, Located], name: str, problems: Problems
) -> Mapping[str, Located]:
    if name not in said:
        return {}
    entries = validators.require_mapping(
        said[name], expected=f"`{name}`: a mapping of names to entries", problems=problems
    )
    if name != "defaults":
        check_names(entries, problems=problems)
    return entries


def _read_targets(
    section: Mapping[str, Located], entries: GridEntries, problems: Problems
) -> list[tuple[Target | None, tuple[Subset, ...]]]:
    """The targets; no further ones where those so far have more subsets than a suite may have trials."""
    found: list[tuple[Target | None, tuple[Subset, ...]]] = []
    for key, value in section.items():
        found.append(read_target(key, value, entries=entries, problems=problems))
        count = sum(len(subsets) for _, subsets in found)
        if count > MAX_TRIALS:
            expected, next_step = f"at most {MAX_TRIALS:,} trials in all", "ask for fewer seeds"
            problems.add(
                value.name_location,
                found=f"{count:,} subsets",
                expected=expected,
                next_step=next_step,
            )
            break
    return found


def _build_grid(
    keys: Iterable[str], drawn: Sequence[Sequence[Subset]], entries: GridEntries
) -> Grid:
    """The axes of the suite; the subsets of a target that has none for its mistakes are not known."""
    subsets = [subset for some in drawn for subset in some]
    complete = all(drawn)
    return Grid(
        {
            "source": entries.section_axis(SOURCES),
            "adapter": entries.section_axis(ADAPTERS),
            "target": Axis.of_values(keys),
            "n": Axis.of_values([subset.n for subset in subsets], complete=complete),
            "seed": Axis.of_values([subset.seed for subset in subsets], complete=complete),
            "transfer": entries.section_axis(TRANSFERS),
            "evaluation": entries.section_axis(EVALUATIONS),
        }
    )


def _read_title(said: Mapping[str, Located], name: str, problems: Problems) -> str:
    """The title; the version is checked on the way."""
    version = said.get("version")
    if version is not None and (version.value != SUITE_FORMAT or isinstance(version.value, bool)):
        next_step = "write `version: 1`; a later version needs a later advtransfer"
        validators.add_mismatch(
            version, expected=str(SUITE_FORMAT), next_step=next_step, problems=problems
        )
    title = (
        validators.require_text(said["title"], expected="a text", problems=problems)
        if "title" in said
        else None
    )
    if title is not None and len(title) > MAX_TITLE_LENGTH:
        found, expected = f"a title of {len(title):,} characters", f"at most {MAX_TITLE_LENGTH}"
        next_step = "shorten it; comments hold more"
        problems.add(said["title"].location, found=found, expected=expected, next_step=next_step)
    return " ".join((title or name).split())


def _read_exclusions(
    said: Mapping[str, Located], grid: Grid, problems: Problems
) -> tuple[Selection, ...]:
    listed = said.get("exclude")
    if listed is None or listed.value == ():
        return ()
    items = validators.require_list(listed, expected="a list of selections", problems=problems)
    return tuple(grid.compile_selection(one, problems=problems) for one in items)


def _read_leaderboard(
    said: Mapping[str, Located],
    grid: Grid,
    cells: Mapping[str, tuple[GridEntry, ...]],
    entries: GridEntries,
    problems: Problems,
) -> Leaderboard:
    if "leaderboard" not in said:
        return Leaderboard()
    reader = LeaderboardReader(
        grid, cells["sources"], cells["evaluations"], entries.outlines, problems
    )
    return reader.read(said["leaderboard"])
