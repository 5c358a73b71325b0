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
from advtransfer.suite.extends import (
    find_shipped,
    read_with_parents,
    replace_entries,
    shipped_suites,
)
from advtransfer.suite.further_tests import axis_with_further_names, further_evaluations
from advtransfer.suite.grid_entries import GridEntries
from advtransfer.suite.leaderboard_settings import LeaderboardReader
from advtransfer.suite.located import Located, Problems, did_you_mean, quote_name
from advtransfer.suite.resources import RESOURCES, read_resources
from advtransfer.suite.sections import (
    ADAPTERS,
    CHOOSE,
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
from advtransfer.suite.suite import GridEntry, Leaderboard, Suite, Target
from advtransfer.suite.targets import TargetReading, read_target
from advtransfer.suite.yaml_core import dump_yaml
from advtransfer.types import Json

NOTHING_OVER: Mapping[str, Json] = {}


def load(
    name: str,
    host: Host,
    *,
    over: Mapping[str, Json] = NOTHING_OVER,
    may_extend: bool = True,
    without_data: bool = False,
) -> Suite:
    """Return the suite in a file, or a shipped one by its name.

    Only the plugins that the suite names are imported.

    Args:
        name: The path or the name.
        host: The plugins.
        over: Sections whose entries replace those of the suite, or are added to them.
        may_extend: Whether it may have a parent: False for the suite of a run or submission.
        without_data: Whether a missing file or folder becomes one of the suite's placeholders. Such
            a suite can be planned but not run.

    Raises:
        BadInput: There is no such suite, or it has mistakes. The error holds all of them, in the
            order of the file.
    """
    path, file = find_suite(name)
    problems = Problems(file)
    _check_file_name(path, file, problems)
    top, text = read_with_parents(path, file=file, problems=problems, may_extend=may_extend)
    if over:
        top, text = replace_entries(top, over), None
    # Every problem is collected before the first one is raised.
    suite = _build_suite(path, top, text, host=host, problems=problems, without_data=without_data)
    problems.raise_if_any()
    return suite


def load_text(
    text: str,
    name: str,
    host: Host,
    *,
    over: Mapping[str, Json] = NOTHING_OVER,
    without_data: bool = False,
) -> Suite:
    """Return the suite in a text, as if the file ``NAME.yaml`` in the current folder held it.

    `over` and `without_data` are those of `load`.

    Raises:
        BadInput: The text has mistakes, as in `load`; messages call it ``<NAME>``.
    """
    path, file = Path(f"{name}.yaml"), f"<{name}>"
    problems = Problems(file)
    if "/" in name or "\0" in name:
        problems.add_and_raise(
            None,
            found=f"the suite name {quote_name(name)}",
            expected="the name of a folder, without a slash",
            next_step="choose the folder of the run by `runs`",
        )
    _check_file_name(path, file, problems)
    top, own_text = read_with_parents(path, file=file, problems=problems, text=text)
    if over:
        top, own_text = replace_entries(top, over), None
    suite = _build_suite(
        path, top, own_text, host=host, problems=problems, without_data=without_data
    )
    problems.raise_if_any()
    return suite


def find_suite(name: str) -> tuple[Path, str]:
    """Return the file of a suite and its name in messages.

    The name is the path as given, or the path of the shipped suite; a name that a suite had in an
    earlier release is warned of (`SuiteRenamed`).

    Raises:
        BadInput: There is no such suite.
    """
    if Path(name).is_file():
        return Path(name), name
    found = find_shipped(name)
    if found is not None:
        return found, str(found)
    shipped = shipped_suites()
    neighbours = map(str, Path(name).parent.glob("*.yaml"))
    problem = Problem(
        f"no suite {name!r} (neither the file {Path(name).absolute()} nor shipped)",
        f"a suite file, or a shipped suite: {', '.join(shipped)}",
        did_you_mean(name, [*shipped, *neighbours], otherwise="correct the path"),
    )
    raise BadInput([problem])


def _check_file_name(path: Path, file: str, problems: Problems) -> None:
    """Add a problem for a file name that cannot be the name of a run's folder.

    The page links to that folder, and users give it to commands as an argument.
    """
    name = path.stem
    is_printable = name.isprintable() and name == name.strip() and name.strip(".")
    if not is_printable or name.startswith("-"):
        problems.add(
            Location(file, 1, 1),
            found=f"the file name {quote_name(path.name)}",
            expected=(
                "a name of printable UTF-8, which is more than dots, and neither begins with a "
                "minus nor with a space"
            ),
            next_step="rename it",
        )


def _build_suite(
    path: Path,
    top: Located,
    text: str | None,
    *,
    host: Host,
    problems: Problems,
    without_data: bool,
) -> Suite:
    """Return the suite, as far as it has no mistakes."""
    values = validators.require_known_names(
        top.value if isinstance(top.value, Mapping) else {},
        TOP_LEVEL_KEYS,
        of="a suite",
        problems=problems,
    )
    written = {name: value for name, value in values.items() if value.value is not None}
    sections = {name: _read_section(written, name, problems) for name in NAMED_SECTIONS}
    entries = GridEntries(sections, host=host, problems=problems, without_data=without_data)
    readings = _read_targets(sections["targets"], entries, problems)
    targets = [reading.target for reading in readings if reading.target]
    # `only`, `exclude` and `leaderboard` name what is on the axes, so the grid comes before them.
    # A target with mistakes still counts there, or each of its names would be a second mistake.
    grid = _build_grid(sections["targets"], readings, entries, written, problems)
    cells = {section.name: entries.restricted_entries(section, grid) for section in SECTIONS}
    check_required_sections(top, written, sections, cells["transfers"], problems)
    check_references(targets, sections["targets"], cells["evaluations"], problems)
    check_compatibility(
        sources=cells["sources"],
        targets=targets,
        transfers=cells["transfers"],
        evaluations=cells["evaluations"],
        entries=entries,
    )
    further_data = [data for reading in readings for data in reading.also]
    cells["evaluations"] += further_evaluations(cells["evaluations"], further_data)
    if text is None:
        text = f"# {path.name}, with what it extends filled in.\n{dump_yaml(top)}"
    return Suite(
        name=path.stem,
        title=_read_title(written, path.stem, problems),
        path=path,
        text=text,
        targets=tuple(targets),
        exclude=_read_exclusions(written, grid, problems),
        leaderboard=_read_leaderboard(written, grid, cells, targets, entries, problems),
        resources=read_resources(written.get(RESOURCES), problems=problems),
        section_locations={name: value.name_location for name, value in written.items()},
        placeholders=entries.placeholders,
        **cells,
    )


def _read_section(
    written: Mapping[str, Located], name: str, problems: Problems
) -> Mapping[str, Located]:
    if name not in written:
        return {}
    entries = validators.require_mapping(
        written[name], expected=f"`{name}`: a mapping of names to entries", problems=problems
    )
    if name != "defaults":
        reserved = {section.name: section.reserved for section in SECTIONS}
        check_names(entries, reserved=reserved.get(name, frozenset()), problems=problems)
    return entries


def _read_targets(
    section: Mapping[str, Located], entries: GridEntries, problems: Problems
) -> list[TargetReading]:
    """Return what is known of the targets.

    Reading stops where the targets so far have more subsets than a suite may have trials.
    """
    readings: list[TargetReading] = []
    for key, value in section.items():
        readings.append(read_target(key, value, entries=entries, problems=problems))
        count = sum(len(reading.subsets) for reading in readings)
        if count > MAX_TRIALS:
            problems.add(
                value.name_location,
                found=f"{count:,} subsets",
                expected=f"at most {MAX_TRIALS:,} trials in all",
                next_step="ask for fewer seeds",
            )
            break
    return readings


def _build_grid(
    target_keys: Iterable[str],
    readings: Sequence[TargetReading],
    entries: GridEntries,
    written: Mapping[str, Located],
    problems: Problems,
) -> Grid:
    """Return the axes of the suite.

    A target without subsets has mistakes, so its n and seeds are not known.
    """
    subsets = [subset for reading in readings for subset in reading.subsets]
    complete = all(reading.subsets for reading in readings)
    evaluations = axis_with_further_names(
        entries.section_axis(EVALUATIONS),
        entries.section_entries(EVALUATIONS),
        [data for reading in readings for data in reading.also],
        complete=all(reading.knows_also for reading in readings),
        location=written["targets"].name_location if "targets" in written else None,
        problems=problems,
    )
    return Grid(
        {
            "source": entries.section_axis(SOURCES),
            "adapter": entries.section_axis(ADAPTERS),
            "target": Axis.of_values(target_keys),
            "n": Axis.of_values([subset.n for subset in subsets], complete=complete),
            "seed": Axis.of_values([subset.seed for subset in subsets], complete=complete),
            "transfer": entries.section_axis(TRANSFERS),
            "evaluation": evaluations,
        }
    )


def _read_title(written: Mapping[str, Located], name: str, problems: Problems) -> str:
    """Return the title, by default the suite's name; check the version as well."""
    version = written.get("version")
    if version is not None:
        _check_version(version, problems)
    if "title" not in written:
        return " ".join(name.split())
    title = validators.require_text(written["title"], expected="a text", problems=problems)
    if title is not None and len(title) > MAX_TITLE_LENGTH:
        problems.add(
            written["title"].location,
            found=f"a title of {len(title):,} characters",
            expected=f"at most {MAX_TITLE_LENGTH}",
            next_step="shorten it; comments hold more",
        )
    # YAML may fold a title over several lines; the page shows it on one.
    return " ".join((title or name).split())


def _check_version(version: Located, problems: Problems) -> None:
    # In Python, `True == 1`.
    if version.value != SUITE_FORMAT or isinstance(version.value, bool):
        validators.add_mismatch(
            version,
            expected=str(SUITE_FORMAT),
            next_step="write `version: 1`; a later version needs a later advtransfer",
            problems=problems,
        )


def _read_exclusions(
    written: Mapping[str, Located], grid: Grid, problems: Problems
) -> tuple[Selection, ...]:
    listed = written.get("exclude")
    if listed is None or listed.value == ():
        return ()
    items = validators.require_list(listed, expected="a list of selections", problems=problems)
    return tuple(grid.compile_selection(item, problems=problems) for item in items)


def _read_leaderboard(
    written: Mapping[str, Located],
    grid: Grid,
    cells: Mapping[str, tuple[GridEntry, ...]],
    targets: Sequence[Target],
    entries: GridEntries,
    problems: Problems,
) -> Leaderboard:
    if "leaderboard" not in written:
        return Leaderboard()
    has_choice = any(CHOOSE in cell.node.options for cell in cells["transfers"])
    has_validation = any(subset.validation for target in targets for subset in target.subsets)
    reader = LeaderboardReader(
        grid,
        cells["sources"],
        problems,
        cells["evaluations"],
        entries.outlines,
        holds_out=has_choice or has_validation,
        transfers=cells["transfers"],
        host=entries.host,
    )
    return reader.read(written["leaderboard"])
