from __future__ import annotations

import hashlib

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from advtransfer.node import Node, canonical_json
from advtransfer.types import Json

DATA = Node("data", "vision/digits", 1, {"classes": [0, 1]})
SUBSET = Node("subset", "host/subset", 1, {"n": 20, "seed": 0}, {"data": DATA})

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def test_an_id_is_the_sha256_of_what_was_asked_as_rfc_8785() -> None:
    expected = hashlib.sha256(rfc8785.dumps(SUBSET.id_fields())).hexdigest()

    assert SUBSET.id == expected
    assert SUBSET.id_fields()["inputs"] == {"data": DATA.id}


@given(st.dictionaries(st.text(), VALUES, max_size=4))
def test_any_options_give_the_id_of_their_canonical_text(options: dict[str, Json]) -> None:
    node = Node("fit", "a/b", 1, options, {"source": DATA, "parts": (DATA, SUBSET)})

    assert node.id == hashlib.sha256(canonical_json(node.id_fields()).encode()).hexdigest()
    assert Node.from_json(node.to_json()) == node


def test_equal_numbers_are_one_number() -> None:
    assert Node("data", "a/b", 1, {"eps": 1}).id == Node("data", "a/b", 1, {"eps": 1.0}).id


def test_files_are_not_in_the_id() -> None:
    here = Node("data", "a/b", 1, {"file": {"sha256": "ab"}}, files={"ab": "/here"})

    assert here.id == Node("data", "a/b", 1, {"file": {"sha256": "ab"}}, files={"ab": "/there"}).id


def test_a_new_version_changes_the_id_and_redraws_nothing() -> None:
    newer = Node(
        "subset",
        "host/subset",
        1,
        {"n": 20, "seed": 0},
        {"data": Node("data", "vision/digits", 2, {"classes": [0, 1]})},
    )

    assert newer.id != SUBSET.id
    assert newer.unversioned_id() == SUBSET.unversioned_id()


def test_nan_has_no_id() -> None:
    with pytest.raises(rfc8785.FloatDomainError):
        Node("data", "a/b", 1, {"eps": float("nan")})


@pytest.mark.parametrize("name", ["a", "data", "model", "z"])
def test_the_text_around_an_input_gives_the_id_with_it(name: str) -> None:
    before, after = SUBSET.id_text_around(name)
    given = Node("fit", "a/b")

    expected = hashlib.sha256(f"{before}{given.id}{after}".encode()).hexdigest()
    assert SUBSET.with_inputs({name: given}).id == expected
