"""Installed distributions: their versions, and what they require. No library is imported."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, distribution

from packaging.requirements import InvalidRequirement, Requirement


def installed_version(name: str) -> str | None:
    """Return the version of an installed distribution; None where it is not installed."""
    try:
        return distribution(name).version
    except (PackageNotFoundError, ValueError):  # ValueError: a plugin without a distribution.
        return None


def direct_requirements(name: str) -> list[Requirement]:
    """Return what a distribution requires here, without extras; nothing where it is not installed."""
    try:
        lines: Iterable[str] = distribution(name).requires or ()
    except (PackageNotFoundError, ValueError):
        return []
    requirements = (_applicable_requirement(line) for line in lines)
    return [requirement for requirement in requirements if requirement is not None]


def _applicable_requirement(line: str) -> Requirement | None:
    try:
        requirement = Requirement(line)
    except InvalidRequirement:  # Old distributions hold lines that pip no longer accepts.
        return None
    if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
        return None
    return requirement
