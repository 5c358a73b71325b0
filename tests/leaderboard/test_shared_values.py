"""Results of a large run share equal options and texts, and keep what each record says."""

from __future__ import annotations

import json
from typing import Any

from advtransfer.leaderboard.run_data import _with_shared_values


def asked(model: str, steps: object) -> dict[str, Any]:  # Any: JSON
    """Return what a record asks, as it is read from a file of its own."""
    inputs = {"model": model, "test": "t" * 64, "references": ["r"]}
    value = {"use": "foolbox/pgd", "version": 3, "options": {"steps": steps}, "inputs": inputs}
    return dict(json.loads(json.dumps(value)))


def test_equal_values_become_one_object_and_no_value_changes() -> None:
    records = [asked("a", 10), asked("b", 10), asked("c", 1), asked("d", 1.0), asked("e", True)]
    options: dict[str, Any] = {}  # Any: JSON
    first, second, *others = shared = [_with_shared_values(record, options) for record in records]

    assert list(map(repr, records)) == list(map(repr, shared))
    assert first["options"] is second["options"]
    assert first["inputs"]["test"] is second["inputs"]["test"]
    assert 4 == len({id(each["options"]) for each in (first, *others)})
