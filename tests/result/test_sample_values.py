"""Arrays beside a record: only those that a metric is the mean of, and only as they were recorded."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from advtransfer.errors import CacheError
from advtransfer.files import file_sha256
from advtransfer.result import Record
from advtransfer.result.sample_values import copy_arrays, values_by_metric
from advtransfer.types import Json

VALUES = np.array([0.25, np.nan, 0.75, 1.0], dtype=np.float32)
MEAN = 2 / 3


def record(
    folder: Path, arrays: Mapping[str, np.ndarray], metrics: Mapping[str, float], *, id: str = "ab"
) -> Record:
    """A result with arrays beside it, as a run folder keeps them."""
    name = f"samples/{id[:2]}/{id}.safetensors"
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    save_file(dict(arrays), folder / name)
    described: Json = {"file": name, "sha256": file_sha256(folder / name), "fields": sorted(arrays)}
    return {
        "id": id,
        "samples": described,
        "metrics": {key: {"value": value} for key, value in metrics.items()},
    }


def test_the_array_that_a_metric_is_the_mean_of_is_read_in_float64(tmp_path: Path) -> None:
    one = record(
        tmp_path, {"alpha": VALUES, "loss@5": VALUES[::-1].copy()}, {"alpha": MEAN, "loss@5": MEAN}
    )
    found = values_by_metric(tmp_path, one, ["alpha", "loss@5"])

    assert np.array_equal(VALUES, found["alpha"], equal_nan=True)
    assert ["alpha", "loss@5"] == list(found)
    assert np.float64 == found["alpha"].dtype
    assert ["alpha"] == list(values_by_metric(tmp_path, one, ["alpha", "other"]))


@pytest.mark.parametrize(
    ("value", "used"), [(MEAN * (1 + 0.9e-5), True), (MEAN * (1 + 1.1e-5), False), (0.5, False)]
)
def test_an_array_with_another_mean_is_not_used(tmp_path: Path, value: float, used: bool) -> None:
    one = record(tmp_path, {"alpha": VALUES}, {"alpha": value})

    assert used == ("alpha" in values_by_metric(tmp_path, one, ["alpha"]))


@pytest.mark.parametrize(
    "array",
    [
        np.array([0, 1, 1, 0], dtype=np.uint8),
        np.full((4, 2), 0.5, dtype=np.float32),
        np.full(4, np.nan, dtype=np.float32),
        np.array([0.5, np.inf, 0.5, 0.5], dtype=np.float32),
    ],
)
def test_an_array_that_is_no_number_a_sample_is_not_used(tmp_path: Path, array: np.ndarray) -> None:
    one = record(tmp_path, {"alpha": array}, {"alpha": 0.5})

    assert {} == values_by_metric(tmp_path, one, ["alpha"])


def test_a_record_without_arrays_or_whose_file_is_elsewhere_has_none(tmp_path: Path) -> None:
    one = record(tmp_path, {"alpha": VALUES}, {"alpha": MEAN})

    assert {} == values_by_metric(tmp_path / "other", one, ["alpha"])
    assert {} == values_by_metric(tmp_path, one | {"samples": None}, ["alpha"])
    assert {} == values_by_metric(
        tmp_path / "a" / "b", one | {"id": "../../samples/ab/ab"}, ["alpha"]
    )


def test_a_file_that_is_not_the_one_recorded_is_an_error(tmp_path: Path) -> None:
    one = record(tmp_path, {"alpha": VALUES}, {"alpha": MEAN})
    record(tmp_path, {"alpha": VALUES[::-1].copy()}, {"alpha": MEAN})

    with pytest.raises(CacheError, match="not the file that its record describes"):
        values_by_metric(tmp_path, one, ["alpha"])


def test_some_arrays_are_kept_elsewhere_under_a_record_that_describes_them(tmp_path: Path) -> None:
    one = record(
        tmp_path / "run",
        {"alpha": VALUES, "beta": VALUES, "gamma": VALUES},
        {"alpha": MEAN, "beta": MEAN},
    )
    kept = copy_arrays(one, ["gamma", "alpha"], run=tmp_path / "run", folder=tmp_path / "out")
    path = tmp_path / "out" / "samples" / "ab" / "ab.safetensors"

    assert {"alpha", "gamma"} == set(load_file(path))
    expected = {
        "file": "samples/ab/ab.safetensors",
        "sha256": file_sha256(path),
        "fields": ["alpha", "gamma"],
    }
    assert one | {"samples": expected} == kept
    assert ["alpha"] == list(values_by_metric(tmp_path / "out", kept, ["alpha", "beta"]))


def test_reading_arrays_imports_no_torch(tmp_path: Path) -> None:
    one = record(tmp_path, {"alpha": VALUES}, {"alpha": MEAN})
    program = f"""
import json, sys
from pathlib import Path
from advtransfer.result.sample_values import copy_arrays, values_by_metric
record, folder = json.loads({json.dumps(one)!r}), Path({str(tmp_path)!r})
copied = copy_arrays(record, ["alpha"], run=folder, folder=folder)
print(len(values_by_metric(folder, copied, ["alpha"])), "torch" in sys.modules)
"""
    told = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    ).stdout.split()

    assert ["1", "False"] == told
