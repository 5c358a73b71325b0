"""Facts of a plan on its targets' data, for the table of data sets on a page."""

from __future__ import annotations

from advtransfer.suite import Suite
from advtransfer.suite.outlines import Outlines
from advtransfer.types import Json


def dataset_facts(suite: Suite, outlines: Outlines) -> dict[str, dict[str, Json]]:
    """Return what is known of each target's data before it is read, by target and name."""
    facts: dict[str, dict[str, Json]] = {}
    for target in sorted(suite.targets, key=lambda target: target.key):
        outline = outlines.outline_of(target.data.node)
        known: dict[str, Json] = {
            "use": target.data.node.use,
            "classes": outline.outputs if outline.task == "classes" else None,
            "shape": None if outline.shape is None else list(outline.shape),
            "train": outline.train,
            "test": outline.test,
        }
        facts[target.key] = {name: value for name, value in known.items() if value is not None}
    return facts
