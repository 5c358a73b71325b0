"""Suites of the papers' claims, each with small stand-ins for its data and networks, run to answered claims.

Every component stays in its place. Images have a pattern of their class, so that fits learn it and rows are ranked.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from advtransfer.cli import main
from advtransfer.leaderboard import load_run_records, make_page
from advtransfer.result import Run
from advtransfer.suite import shipped_suites

Entry: TypeAlias = dict[str, Any]  # Any: YAML

IMAGES_A_CLASS = 20
TRAININGS = 3
SHAPES = {"MNIST": (28, 28)}
OPTIONS = {"epochs": 6, "batch_size": 20, "n_train": 300, "n_test": 60, "steps": 3, "end": 0.5}


def write_archive(folder: Path, name: str, shape: tuple[int, ...]) -> str:
    """Write images of ten classes, each a pattern with noise, and return the file's name."""
    drawn = np.random.default_rng(zlib.crc32(name.encode()))
    patterns = drawn.uniform(0, 255, (10, *shape))
    arrays: dict[str, Any] = {}
    for part, count in (("train", IMAGES_A_CLASS), ("test", 4)):
        labels = np.arange(10 * count) % 10
        noisy = 0.7 * patterns[labels] + 0.3 * drawn.uniform(0, 255, (len(labels), *shape))
        arrays[f"x_{part}"] = noisy.astype(np.uint8)
        arrays[f"y_{part}"] = labels
    np.savez(folder / f"{name}.npz", **arrays)
    return f"{name}.npz"


def small_suite(name: str, folder: Path) -> Entry:
    """Return a suite with small data, few trainings and short fits."""
    suite: Entry = yaml.safe_load(shipped_suites()[name].read_text("utf-8"))
    for label in [label for label in suite["sources"] if label.startswith("training ")]:
        number = label.removeprefix("training ")
        if int(number) >= TRAININGS:
            del suite["sources"][label], suite["targets"][f"rbf {number}"]
    for entry in suite["datasets"].values():
        if entry["use"] == "vision/torchvision":
            set_name = entry.pop("name")
            entry |= {
                "use": "vision/npz",
                "file": write_archive(folder, set_name, SHAPES[set_name]),
            }
        elif entry["use"] == "vision/npz":
            entry.pop("sha256")
            entry["file"] = write_archive(folder, "cifar", (32, 32, 3))
        elif entry["use"] == "vision/portion":
            entry |= {key: 0.5 for key in ("start", "end") if key in entry}
    small: Entry = shrunk(suite)
    return small


def shrunk(value: Any, key: str = "") -> Any:  # noqa: ANN401  # Any: YAML
    """Return a part of a suite with smaller numbers, by the names of its keys."""
    if isinstance(value, Mapping):
        return {name: shrunk(each, str(name)) for name, each in value.items()}
    if isinstance(value, list):
        return [shrunk(each, key) for each in (value[:TRAININGS] if key == "seeds" else value)]
    if key == "test" and isinstance(value, int):
        return 40
    if key == "scale":
        return value
    return min(value, OPTIONS[key]) if key in OPTIONS and value != "all" else value


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adversarial-knowledge-mini", "source-quality-mini"])
def test_every_claim_of_a_small_stand_in_is_answered(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADVTRANSFER_DATA", str(tmp_path))
    monkeypatch.setenv("ADVTRANSFER_CACHE", str(tmp_path / "cache"))
    file = tmp_path / f"{name}.yaml"
    file.write_text(yaml.safe_dump(small_suite(name, tmp_path), sort_keys=False))
    runs = tmp_path / "runs"

    done = CliRunner().invoke(
        main, ["run", str(file), "--executor", "local/inline", "--runs", str(runs), "--quiet"]
    )

    assert done.exit_code == 0, done.output
    page = make_page(load_run_records(Run(runs / name)))
    assert page.problems == ()
    reasons = {answer.claim.name: answer.reason for answer in page.claims if answer.claim.kind}
    # Which rows are ranked hangs on how well a stand-in learns; that every metric is recorded does not.
    assert [reason for reason in reasons.values() if reason.startswith("not in the records")] == []
    assert "## Claims" in page.markdown
