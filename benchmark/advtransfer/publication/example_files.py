"""Files of adversarial examples from elsewhere: nothing is unpacked that the test part could not hold."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from advtransfer.errors import AdvTransferError, BadInput, Problem
from advtransfer.host import Host
from advtransfer.node import Node
from advtransfer.result.bounded_reading import MAX_NPY_HEADER_BYTES, read_npz
from advtransfer.types import Samples

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

ExampleArrays: TypeAlias = "Mapping[str, npt.NDArray[Any]]"
"""``keys`` int64 ``(M,)`` and ``inputs`` float32 ``(M, *shape)``. Any: two dtypes."""

EXAMPLE_KINDS = {"keys": "int64", "inputs": "float32"}
KEY_BYTES, VALUE_BYTES = 8, 4
ARCHIVE_BYTES = 2**16
"""More than an archive of numpy with two arrays needs beside them."""
NEXT_STEP = (
    "correct the arrays; the keys are those of the test samples, as their data set numbers them"
)


def read_examples(path: Path, *, count: int, shape: tuple[int, ...]) -> ExampleArrays:
    """Return the arrays of a file of examples.

    Args:
        path: An ``.npz`` with ``keys`` int64 ``(M,)`` and ``inputs`` float32 ``(M, *shape)``.
        count: Number of test samples, which bounds M.
        shape: Shape of one input.

    Raises:
        BadInput: Names every fault of the arrays that can be seen without the data: other shapes, more
            examples than test samples, repeated or negative keys.
        CacheError: The file is refused before it is unpacked.
    """

    def check_shapes(shapes: Mapping[str, tuple[int, ...]]) -> None:
        if problems := list(_shape_problems(shapes, count, shape)):
            raise BadInput(problems)

    content_bytes = count * (KEY_BYTES + VALUE_BYTES * math.prod(shape))
    # A file may be stored without compression.
    limit = content_bytes + 2 * MAX_NPY_HEADER_BYTES + ARCHIVE_BYTES
    arrays = read_npz(path, EXAMPLE_KINDS, limit=limit, check_shapes=check_shapes)
    if problems := list(_key_problems(arrays["keys"].tolist())):
        raise BadInput(problems)
    return arrays


def _shape_problems(
    shapes: Mapping[str, tuple[int, ...]], count: int, shape: tuple[int, ...]
) -> Iterator[Problem]:
    keys, inputs = shapes["keys"], shapes["inputs"]
    if len(keys) != 1 or not 0 < keys[0] <= count:
        expected = f"a key for each example, (M,), with 1 to {count} examples"
        yield Problem(f"keys of the shape {keys}"[:200], expected, NEXT_STEP)
    if inputs != (*keys, *shape):
        found = f"inputs of the shape {inputs}"[:200]
        yield Problem(found, f"(M, {str(shape)[1:-1]}), an image for each key", NEXT_STEP)


def _key_problems(keys: list[int]) -> Iterator[Problem]:
    repeated = [key for key, number in Counter(keys).items() if number > 1]
    if repeated:
        yield Problem(f"the keys {repeated[:5]} more than once", "each key once", NEXT_STEP)
    negative = [key for key in keys if key < 0]
    if negative:
        yield Problem(f"the keys {negative[:5]}", "keys of 0 or more", NEXT_STEP)


def unknown_keys(arrays: ExampleArrays, test: Samples) -> Iterator[Problem]:
    """Yield a problem if examples have keys of no test sample."""
    known = set(test.keys)
    unknown = [key for key in arrays["keys"].tolist() if key not in known]
    if unknown:
        expected = f"keys of the {len(known)} test samples, such as {sorted(known)[:3]}"
        yield Problem(f"{len(unknown)} other keys, such as {unknown[:3]}", expected, NEXT_STEP)


class MissingTestPart(Exception):
    """Why the test part behind a result is not at hand."""


def local_test_part(host: Host, node: Node, record: Mapping[str, Any]) -> Samples:  # Any: JSON
    """Return the test part of a result from the data on this machine.

    Raises:
        MissingTestPart: The data are not here, or are other ones than the record names.
    """
    from advtransfer.worker.object_builder import dataset_of, drawn_test_part, samples_digest

    try:
        test = drawn_test_part(dataset_of(host, cast("Node", node.inputs["data"])), node)
    except (AdvTransferError, OSError) as error:
        reason = str(error).splitlines()[0][:300]
        raise MissingTestPart(f"data not at hand ({reason})") from error
    if samples_digest(test) != record["provenance"]["data"].get("test"):
        raise MissingTestPart("other data here than the record names")
    return test
