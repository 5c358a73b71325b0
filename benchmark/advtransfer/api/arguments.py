"""Arguments of the Python functions, checked all at once, and values that the commands share."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import get_args

from advtransfer.errors import BadInput, Problem
from advtransfer.runner.shard import Shard
from advtransfer.text import BYTE_UNITS, parse_duration, type_text
from advtransfer.types import BatterySize, Json, Precision


def parse_bytes(text: str) -> int:
    """Return the number of bytes of a text such as ``20GB``.

    Raises:
        ValueError: The text is not a size.
    """
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    if match is None or match[2].upper() not in BYTE_UNITS:
        raise ValueError(
            f"{text!r} is not a size; expected a number of bytes, such as 2GB, 500MB or 1GiB"
        )
    return int(float(match[1]) * BYTE_UNITS[match[2].upper()])


class ArgumentChecker:
    """Reads arguments and collects their mistakes, so that all are reported at once."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []

    def raise_if_any(self) -> None:
        """Raise every mistake so far.

        Raises:
            BadInput: There are mistakes.
        """
        if self.problems:
            raise BadInput(self.problems)

    def refuse(self, name: str, value: object, expected: str) -> None:
        """Add a mistake in one argument."""
        shown = value if isinstance(value, str | int | float | bool | None) else type_text(value)
        text = repr(shown) if shown is value else str(shown)
        self.problems.append(Problem(f"{name}={text}", expected, "correct it"))

    def whole_number(
        self, name: str, value: object, *, least: int, expected: str = ""
    ) -> int | None:
        """Return a whole number from `least` on; None for None and where there is a mistake."""
        if value is None:
            return None
        if isinstance(value, int) and not isinstance(value, bool) and value >= least:
            return value
        self.refuse(name, value, expected or f"a whole number from {least} on, or None")
        return None

    def required_number(self, name: str, value: object, *, least: int) -> int:
        """Return a whole number from `least` on."""
        expected = f"a whole number from {least} on"
        if value is None:
            self.refuse(name, value, expected)
        number = self.whole_number(name, value, least=least, expected=expected)
        return least if number is None else number

    def flag(self, name: str, value: object) -> bool:
        """Return a truth value."""
        if not isinstance(value, bool):
            self.refuse(name, value, "True or False")
        return value is True

    def word(self, name: str, value: object, words: Sequence[str]) -> str:
        """Return one of `words`."""
        if isinstance(value, str) and value in words:
            return value
        self.refuse(name, value, f"one of {', '.join(map(repr, words))}")
        return words[0]

    def text(self, name: str, value: object, *, example: str) -> str:
        """Return a text."""
        if not isinstance(value, str):
            self.refuse(name, value, f"a text such as {example!r}")
        return str(value)

    def texts(self, name: str, value: object) -> tuple[str, ...]:
        """Return one text or several as a tuple."""
        if isinstance(value, str):
            return (value,)
        items = tuple(value) if isinstance(value, Iterable) else (value,)
        if not all(isinstance(item, str) for item in items):
            self.refuse(name, value, "a text, or a list of texts")
        return tuple(map(str, items))

    def options(self, name: str, value: object) -> Mapping[str, Json]:
        """Return options of a component by name."""
        if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
            return dict(value)
        self.refuse(name, value, "a mapping of options by name")
        return {}

    def shard(self, name: str, value: object, *, own_share: bool) -> Shard | None:
        """Return a shard ``(i, n)``; None for None."""
        if value is None and not own_share:
            return None
        match value:
            case (int(index), int(count)) if 1 <= index <= count:
                return Shard(index, count, own_share)
        self.refuse(name, value, "(i, n) with i from 1 to n, such as (2, 4)")
        return None

    def folder(self, name: str, value: object) -> Path:
        """Return the path of a folder, which need not exist."""
        if not isinstance(value, str | os.PathLike):
            self.refuse(name, value, "the path of a folder")
            return Path()
        path = Path(value)
        if path.exists() and not path.is_dir():
            self.refuse(name, str(value), "a folder, and this is a file")
        return path

    def byte_count(self, name: str, value: object, *, least: int = 0) -> int | None:
        """Return a number of bytes, also of a text such as ``20GB``; None for None."""
        if isinstance(value, str):
            with suppress(ValueError):
                value = parse_bytes(value)
        above = f" from {least} on" if least else ""
        expected = f"a number of bytes{above}, a text such as '20GB', or None"
        return self.whole_number(name, value, least=least, expected=expected)

    def duration(self, name: str, value: object) -> float | None:
        """Return a number of seconds, also of a text such as ``30m``; None for None."""
        if value is None or (
            isinstance(value, int | float) and not isinstance(value, bool) and value > 0
        ):
            return value
        if isinstance(value, str):
            with suppress(ValueError):
                return parse_duration(value)
        self.refuse(name, value, "a number of seconds above 0, a text such as '30m', or None")
        return None

    def worker_count(self, name: str, value: object) -> int | None:
        """Return a number of workers; None for ``"auto"``."""
        if value == "auto":
            return None
        expected = "a whole number from 1 on, or 'auto'"
        if value is None:
            self.refuse(name, value, expected)
        return self.whole_number(name, value, least=1, expected=expected)


PRECISIONS: tuple[str, ...] = get_args(Precision)
BATTERY_SIZES: tuple[str, ...] = get_args(BatterySize)
