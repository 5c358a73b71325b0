"""``advtransfer show SUITE --leakage``: count images that a suite's data sets share."""

from __future__ import annotations

from collections.abc import Iterator

from advtransfer.cache import Cache
from advtransfer.files import default_cache_root
from advtransfer.host import Host
from advtransfer.leaderboard.caveats import LEAKAGE_HEADERS
from advtransfer.node import Node
from advtransfer.suite import Suite
from advtransfer.text import ABSENT, align_columns
from advtransfer.types import Json
from advtransfer.worker.leakage import compared_parts, count_leaks, further_pairs


def leakage_rows(suite: Suite, host: Host) -> list[dict[str, Json]]:
    """Return a row for each target, source and pair of parts; counts are cached."""
    # Counts do not depend on device, threads or precision; any environment key of this form will
    # do.
    cache = Cache(default_cache_root(), line="cpu-1-float32")
    rows: list[dict[str, Json]] = []
    for target in suite.targets:
        for label, source in _sources_with_data(suite):
            pairs = compared_parts(source, target.data.node)
            for data in target.also:
                own = further_pairs(source, target.data.node, data.node)
                pairs |= {name.replace("also", data.label, 1): pair for name, pair in own.items()}
            for name, (a, b) in pairs.items():
                row: dict[str, Json] = {"target": target.key, "source": label, "images": name}
                rows.append(row | count_leaks(a, b, host=host, cache=cache, always=True))
    return rows


def leakage_text(rows: list[dict[str, Json]]) -> str:
    """Return the rows in aligned columns."""
    lines = [
        [ABSENT if row[name] is None else str(row[name]) for name in LEAKAGE_HEADERS]
        for row in rows
    ]
    return align_columns(LEAKAGE_HEADERS, lines)


def _sources_with_data(suite: Suite) -> Iterator[tuple[str | None, Node | None]]:
    """Yield each row of sources that declare their data; without any, the target alone.

    The replicates of a row have the same data, so one of them is enough.
    """
    rows: set[str] = set()
    for source in suite.sources:
        if source.row not in rows and isinstance(source.node.inputs.get("data"), Node):
            rows.add(source.row)
            yield source.row, source.node
    if not rows:
        yield None, None
