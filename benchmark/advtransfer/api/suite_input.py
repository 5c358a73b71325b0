"""Suites as callers give them: a shipped name, a path, a text or a mapping."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TypeAlias, cast

from advtransfer import suite as suites
from advtransfer.errors import BadInput, Location, Problem
from advtransfer.host import Host
from advtransfer.suite import Suite
from advtransfer.suite.located import Located, Problems, locate_plain, quote_name
from advtransfer.suite.yaml_core import LARGEST_INTEGER, dump_yaml
from advtransfer.suite.yaml_reader import parse_yaml
from advtransfer.text import type_text
from advtransfer.types import Json

SuiteInput: TypeAlias = "str | os.PathLike[str] | Mapping[str, object]"
"""The name of a shipped suite or a path, a text of several lines, or a mapping."""


def load_suite(
    suite: SuiteInput,
    name: str | None,
    host: Host,
    *,
    over: Mapping[str, Json] = suites.NOTHING_OVER,
    without_data: bool = False,
) -> Suite:
    """Return a suite that a caller names or writes.

    Args:
        suite: As `advtransfer.run` takes it.
        name: Name of a suite that is a text or a mapping; it names the folder of the run.
        host: The plugins.
        over: Sections whose entries replace those of the suite, or are added to them.
        without_data: Whether missing files and folders become placeholders, as in `suites.load`.

    Raises:
        BadInput: The suite has mistakes, or `name` is missing or must not be given.
    """
    problem = _name_problem(suite, name)
    if problem is not None:
        raise BadInput([problem])
    if isinstance(suite, Mapping):
        text = mapping_text(suite)
        try:
            return suites.load_text(text, str(name), host, over=over, without_data=without_data)
        except BadInput as error:
            raise _with_keys(error, text, f"<{name}>") from error
    if name is not None:
        return suites.load_text(str(suite), name, host, over=over, without_data=without_data)
    return suites.load(os.fspath(suite), host, over=over, without_data=without_data)


def mapping_text(suite: Mapping[str, object]) -> str:
    """Return a suite that is a mapping as YAML.

    Raises:
        BadInput: Names every key that is no text and every value that YAML suites do not have.
    """
    problems: list[Problem] = []
    value = _plain_value(suite, (), problems)
    if problems:
        raise BadInput(problems)
    return dump_yaml(locate_plain(value, Location("", 1, 1)))


def _name_problem(suite: SuiteInput, name: str | None) -> Problem | None:
    if not isinstance(suite, str | os.PathLike | Mapping):
        return Problem(
            f"{type_text(suite)} as a suite",
            "the name of a shipped suite, a path, a text or a mapping",
            'for example advtransfer.run("quickstart")',
        )
    is_written = isinstance(suite, Mapping) or (isinstance(suite, str) and "\n" in suite)
    if is_written and not (isinstance(name, str) and name):
        kind = "a mapping" if isinstance(suite, Mapping) else "a text"
        return Problem(
            f"{kind} as a suite, with name={name!r}",
            "its name, which a file has by itself",
            'write name="my_suite": it names the folder of the run',
        )
    if not is_written and name is not None:
        return Problem(
            f"name={name!r} for the suite {quote_name(os.fspath(cast(str, suite)))}",
            "no name, since a file and a shipped suite have theirs",
            "leave name out, or pass the text of the suite (with a line break in it)",
        )
    return None


def _plain_value(value: object, keys: tuple[str | int, ...], problems: list[Problem]) -> Json:
    """Return a value as JSON; a problem is added for each part that has no JSON."""
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                found = f"the key {quote_name(key)}{_where(keys)}"
                problems.append(Problem(found, "a text", "write it in quotes"))
        return {
            str(key): _plain_value(item, (*keys, str(key)), problems) for key, item in value.items()
        }
    if isinstance(value, list | tuple):
        return [_plain_value(item, (*keys, index), problems) for index, item in enumerate(value)]
    if isinstance(value, os.PathLike):
        return os.fspath(cast("os.PathLike[str]", value))
    number = value.item() if hasattr(value, "item") and hasattr(value, "dtype") else value
    if number is None or isinstance(number, str | bool):
        return number
    if isinstance(number, int) and abs(number) <= LARGEST_INTEGER:
        return int(number)
    if isinstance(number, float) and math.isfinite(number):
        return float(number)
    shown = quote_name(value) if isinstance(number, int | float) else type_text(value)
    expected = "a text, a finite number, True, False, None, a list or a mapping"
    problems.append(Problem(f"{shown}{_where(keys)}", expected, "write it as one of these"))
    return None


def _with_keys(error: BadInput, text: str, file: str) -> BadInput:
    """Return the problems of a mapping's text with the keys of the mapping in place of lines."""
    try:
        top = parse_yaml(text, file=file, problems=Problems(file))
    except BadInput:
        return error
    paths: dict[Location | None, tuple[str | int, ...]] = {}
    for keys, location in _key_locations(top, ()):
        paths.setdefault(location, keys)
    return BadInput(
        replace(problem, found=f"{problem.found}{_where(paths[problem.location])}", location=None)
        if problem.location in paths
        else problem
        for problem in error.problems
    )


def _key_locations(
    value: Located, keys: tuple[str | int, ...]
) -> Iterator[tuple[tuple[str | int, ...], Location]]:
    yield keys, value.location
    if value.key_location is not None:
        yield keys, value.key_location
    children = value.value
    if isinstance(children, Mapping):
        for name, item in children.items():
            yield from _key_locations(item, (*keys, name))
    elif isinstance(children, tuple):
        for index, item in enumerate(children):
            yield from _key_locations(item, (*keys, index))


def _where(keys: tuple[str | int, ...]) -> str:
    """Return the place of a value in the mapping: `` in suite["sources"]["linf"]``."""
    steps = "".join(f"[{key!r}]" for key in keys)
    return f" in suite{steps}" if keys else " in the suite"
