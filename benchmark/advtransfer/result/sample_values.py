"""Arrays stored beside a result record, one value per test sample, whose means are the record's metrics."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from math import isclose
from pathlib import Path
from typing import TYPE_CHECKING, cast

from advtransfer.errors import CacheError
from advtransfer.files import file_sha256, write_atomic
from advtransfer.result.record import Record, arrays_path
from advtransfer.result.validation import path_without_links
from advtransfer.types import Json

if TYPE_CHECKING:
    from advtransfer.statistics.correlation import FloatArray

MEAN_TOLERANCE = 1e-5
"""Largest relative difference of a metric from the mean of its array, which has fewer digits."""
FLOAT_DTYPES = ("F16", "F32", "F64")


def values_by_metric(
    folder: Path, record: Mapping[str, Json], metrics: Iterable[str]
) -> dict[str, FloatArray]:
    """Return the arrays ``(N,)`` in test order whose means are metrics, by metric; NaN for samples left out.

    A metric is left out if the run folder has no array of its name, or one with another mean.

    Raises:
        CacheError: The file is not the one that the record describes.
    """
    recorded = cast("Mapping[str, Mapping[str, float]]", record["metrics"])
    arrays = _read_arrays(folder, record, set(metrics))
    return {
        name: values
        for name, values in arrays.items()
        if _has_mean(values, recorded[name]["value"])
    }


def copy_arrays(record: Record, fields: Collection[str], *, run: Path, folder: Path) -> Record:
    """Copy some arrays of a record into another folder; return the record with the file there."""
    from safetensors import safe_open
    from safetensors.numpy import save

    name = _arrays_file(record)
    with safe_open(path_without_links(run, run / name), framework="numpy") as file:
        content = save({field: file.get_tensor(field) for field in sorted(fields)})
    write_atomic(folder / name, content)
    return record | {
        "samples": {"file": name, "sha256": file_sha256(folder / name), "fields": sorted(fields)}
    }


def _read_arrays(
    folder: Path, record: Mapping[str, Json], wanted: set[str]
) -> dict[str, FloatArray]:
    from safetensors import safe_open

    described = cast("Mapping[str, Json] | None", record.get("samples")) or {}
    fields = sorted(wanted & set(cast("list[str]", described.get("fields", []))))
    name = _arrays_file(record)
    path = path_without_links(folder, folder / name)
    if not fields or described["file"] != name or not path.is_file():
        return {}
    if file_sha256(path) != described["sha256"]:
        raise CacheError(
            f"{path} is not the file that its record describes; delete both and run again"
        )
    arrays: dict[str, FloatArray] = {}
    with safe_open(path, framework="numpy") as file:
        for field in fields:
            header = file.get_slice(field)
            if header.get_dtype() in FLOAT_DTYPES and len(header.get_shape()) == 1:
                arrays[field] = file.get_tensor(field).astype("float64")
    return arrays


def _has_mean(values: FloatArray, value: float) -> bool:
    import numpy as np

    included = values[~np.isnan(values)]
    return len(included) > 0 and isclose(float(included.mean()), value, rel_tol=MEAN_TOLERANCE)


def _arrays_file(record: Mapping[str, Json]) -> str:
    # A record from elsewhere must not name a file outside its run folder.
    return arrays_path(Path(str(record["id"])).name)
