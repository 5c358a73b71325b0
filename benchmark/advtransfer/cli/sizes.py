"""Sizes in bytes as people write them: ``2GB``, ``500 MB``, ``1GiB``."""

from __future__ import annotations

import re

import click

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_UNITS |= {"KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


def size(value: str) -> int:
    """The bytes that a command-line value asks for; a click type, so that a mistake is told with its option."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", value)
    if found is None or found[2].upper() not in _UNITS:
        raise click.BadParameter(f"{value!r} is not a size; expected a number of bytes, such as 2GB, 500MB or 1GiB")
    return int(float(found[1]) * _UNITS[found[2].upper()])


def written(bytes: int) -> str:
    """Bytes in the largest unit that leaves a number above 1: ``1.2 GB``."""
    for unit in ("TB", "GB", "MB", "KB"):
        if bytes >= _UNITS[unit]:
            return f"{bytes / _UNITS[unit]:.1f} {unit}"
    return f"{bytes} B"
