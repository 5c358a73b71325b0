"""Provisional ids: those of a plan without data that depend on the content of a missing file."""

from __future__ import annotations

from collections.abc import Mapping

from advtransfer.node import Node
from advtransfer.planning.nodes import SuiteIndex
from advtransfer.planning.trials import Plan
from advtransfer.suite import Suite


def provisional_trials(plan: Plan, suite: Suite) -> frozenset[str]:
    """Return the ids of trials that change when the missing content is there.

    A trial is one if the node of its fit, or of one of its results, has a placeholder's digest below
    it that the suite does not declare.
    """
    digests = {item.sha256 for item in suite.placeholders if not item.is_declared}
    if not digests:
        return frozenset()
    index = SuiteIndex(suite)
    search = _PlaceholderSearch(digests)
    provisional: set[str] = set()
    for trial in plan.trials:
        nodes = (index.trial_fit(trial), *index.trial_results(trial))
        if any(map(search.is_below, nodes)):
            provisional.add(trial.id)
    return frozenset(provisional)


class _PlaceholderSearch:
    """Search of nodes for digests, with the answers kept by the nodes' ids."""

    def __init__(self, digests: set[str]) -> None:
        self._digests = digests
        self._answers: dict[str, bool] = {}

    def is_below(self, node: Node) -> bool:
        """Return True if a node, or one that it is built from, names one of the digests."""
        if node.id not in self._answers:
            parts = _parts(node.inputs)
            named = not self._digests.isdisjoint(node.files)
            self._answers[node.id] = named or any(map(self.is_below, parts))
        return self._answers[node.id]


def _parts(inputs: Mapping[str, Node | tuple[Node, ...]]) -> list[Node]:
    parts: list[Node] = []
    for value in inputs.values():
        parts += [value] if isinstance(value, Node) else value
    return parts
