from __future__ import annotations

from typing import Annotated

from annotated_types import Ge

from advtransfer.options import Fault, Options
from advtransfer.types import Dataset, NotAsked


def fetched(
    *,
    name: str,
    root: Annotated[str | None, NotAsked()] = None,
    tries: Annotated[int, Ge(1), NotAsked()] = 3,
) -> Dataset:
    """A data set that can be fetched."""
    raise AssertionError((name, root, tries))


OPTIONS = Options.of(fetched)


def test_an_option_that_is_not_asked_is_told_apart() -> None:
    assert {"name": True, "root": False, "tries": False} == {name: one.asked for name, one in OPTIONS.fields.items()}


def test_it_is_checked_and_built_as_any_other() -> None:
    assert [Fault(("tries",), "0", "greater than or equal to 1")] == OPTIONS.validate({"name": "a", "tries": 0})[1]
    assert {"name": "a", "root": "b", "tries": 3} == OPTIONS.build({"name": "a", "root": "b"})


def test_readers_are_told_that_it_is_in_no_id() -> None:
    assert "str | None (never in an id)" == OPTIONS.fields["root"].text
    assert "int >= 1 (never in an id)" == OPTIONS.fields["tries"].text
