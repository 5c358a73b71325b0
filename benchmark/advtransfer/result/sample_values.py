"""Arrays stored beside a result record, one value per test sample, whose means are the record's metrics."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from math import isclose
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, cast

from advtransfer.errors import CacheError
from advtransfer.files import file_sha256, write_atomic
from advtransfer.result.record import Record
from advtransfer.result.validation import path_without_links
from advtransfer.types import Json

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    FloatArray: TypeAlias = NDArray[np.float64]

MEAN_TOLERANCE = 1e-5
"""How far, as a share of it, a metric may be from the mean of its array, which is kept in fewer digits."""
FLOAT_DTYPES = ("F16", "F32", "F64")


def values_by_metric(
    folder: Path, record: Mapping[str, Json], metrics: Iterable[str]
) -> dict[str, FloatArray]:
    """By metric, the array ``(N,)`` in test order that its value is the mean of, NaN where a sample is left out.

    A metric has none where no array of its name lies in the run folder, or one with another mean (of squares, say).

    Raises:
        CacheError: The file is not the one that the record describes.
    """
    told = cast("Mapping[str, Mapping[str, float]]", record["metrics"])
    found = _read_arrays(folder, record, set(metrics))
    return {
        name: values for name, values in found.items() if _has_mean(values, told[name]["value"])
    }


def copy_arrays(record: Record, fields: Collection[str], *, run: Path, folder: Path) -> Record:
    """Write some arrays of a record into another folder; gives the record with the file it has there."""
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
    found: dict[str, FloatArray] = {}
    with safe_open(path, framework="numpy") as file:
        for field in fields:
            kind = file.get_slice(field)
            if kind.get_dtype() in FLOAT_DTYPES and len(kind.get_shape()) == 1:
                found[field] = file.get_tensor(field).astype("float64")
    return found


def _has_mean(values: FloatArray, value: float) -> bool:
    import numpy as np

    taken = values[~np.isnan(values)]
    return len(taken) > 0 and isclose(float(taken.mean()), value, rel_tol=MEAN_TOLERANCE)


def _arrays_file(record: Mapping[str, Json]) -> str:
    """Where a run folder keeps the arrays of a record."""
    id = Path(str(record["id"])).name  # a record that another wrote names no other folder
    return f"samples/{id[:2]}/{id}.safetensors"
