from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from advtransfer.testing.command import Command


def records(run: Path, kind: str) -> dict[str, dict[str, Any]]:  # Any: JSON of records
    found = [json.loads(path.read_text()) for path in run.glob("records/*/*.json")]
    return {record["id"]: record for record in found if record["kind"] == kind}


@pytest.mark.slow
def test_training_in_bfloat16_gives_other_weights_that_are_as_good_and_says_so(
    command: Command,
) -> None:
    command("run", "small.yaml", "--only", "source=natural,n=30", "--quiet")
    run = command.folder / "runs" / "small"
    refused = command("run", "small.yaml", "--only", "n=30", "--precision", "bfloat16", exit_code=2)
    run.rename(run.with_name("exact"))
    command(
        "run", "small.yaml", "--only", "source=natural,n=30", "--precision", "bfloat16", "--quiet"
    )
    exact, rounded = (records(run.with_name(name), "fit") for name in ("exact", "small"))
    before, after = (records(run.with_name(name), "result") for name in ("exact", "small"))
    accuracies = [
        [one["metrics"]["accuracy"]["value"] for one in (before[id], after[id])]
        for id in before
        if "accuracy" in before[id]["metrics"]
    ]

    assert "precision bfloat16" in refused.stderr
    assert exact.keys() == rounded.keys()
    assert before.keys() == after.keys()
    assert {"bfloat16"} == {record["provenance"]["precision"] for record in after.values()}
    assert {"float32"} == {record["provenance"]["precision"] for record in before.values()}
    assert all(exact[id]["weights"] != rounded[id]["weights"] for id in exact)
    assert 3 == len(accuracies)
    assert all(abs(one - other) < 0.1 for one, other in accuracies)
