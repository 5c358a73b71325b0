from __future__ import annotations

from typing import Annotated

from annotated_types import Ge

from advtransfer.options import OptionFault, Options
from advtransfer.types import Dataset, NotInId


def fetched(
    *,
    name: str,
    root: Annotated[str | None, NotInId()] = None,
    tries: Annotated[int, Ge(1), NotInId()] = 3,
) -> Dataset:
    """A data set that can be fetched."""
    raise AssertionError((name, root, tries))


OPTIONS = Options(fetched)


def test_an_option_that_is_not_asked_is_told_apart() -> None:
    assert {"name": True, "root": False, "tries": False} == {
        name: one.in_id for name, one in OPTIONS.fields.items()
    }


def test_it_is_checked_and_built_as_any_other() -> None:
    assert [OptionFault(("tries",), "0", "greater than or equal to 1")] == OPTIONS.validate(
        {"name": "a", "tries": 0}
    )[1]
    assert {"name": "a", "root": "b", "tries": 3} == OPTIONS.python_values(
        {"name": "a", "root": "b"}
    )


def test_readers_are_told_that_it_is_in_no_id() -> None:
    assert "str | None (never in an id)" == OPTIONS.fields["root"].text
    assert "int >= 1 (never in an id)" == OPTIONS.fields["tries"].text
