"""``advtransfer show SUITE --leakage``.

Images that a suite's data sets share, counted without running it.
"""

from __future__ import annotations

from collections.abc import Iterator

from advtransfer.cache import Cache
from advtransfer.cli.output import align_columns
from advtransfer.console.formatting import ABSENT
from advtransfer.files import default_cache_root
from advtransfer.host import Host
from advtransfer.node import Node
from advtransfer.suite import Suite
from advtransfer.types import Json
from advtransfer.worker.leakage import compared_parts, count_leaks

LEAKAGE_HEADERS = ("target", "source", "images", "exact", "near", "of")


def leakage_rows(suite: Suite, host: Host) -> list[dict[str, Json]]:
    """A row for each target, source and pair of parts; counts are kept in the cache, as a run keeps them."""
    cache = Cache(default_cache_root(), line="cpu-1-float32")
    rows: list[dict[str, Json]] = []
    for target in suite.targets:
        for label, source in _sources_with_data(suite):
            for name, (a, b) in compared_parts(source, target.data.node).items():
                place: dict[str, Json] = {"target": target.key, "source": label, "images": name}
                rows.append(place | count_leaks(a, b, host=host, cache=cache, always=True))
    return rows


def leakage_text(rows: list[dict[str, Json]]) -> str:
    """The rows as columns."""
    return align_columns(
        LEAKAGE_HEADERS,
        [
            [ABSENT if row[name] is None else str(row[name]) for name in LEAKAGE_HEADERS]
            for row in rows
        ],
    )


def _sources_with_data(suite: Suite) -> Iterator[tuple[str | None, Node | None]]:
    """Every source that names its data, once a row; then the target by itself, for what needs no source."""
    told: set[str] = set()
    for cell in suite.sources:
        if cell.row not in told and isinstance(cell.node.inputs.get("data"), Node):
            told.add(cell.row)
            yield cell.row, cell.node
    if not told:
        yield None, None
