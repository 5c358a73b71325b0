"""Plugins of others, whose code is run only if they are named with their version."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from advtransfer.errors import BadInput, Problem
from advtransfer.host import Host
from advtransfer.host.plugin import plugins_of
from advtransfer.planning import Trial
from advtransfer.planning.nodes import SuiteIndex

OWN_DISTRIBUTION = "advtransfer"


def require_trusted(
    cells: SuiteIndex, drawn: Sequence[Trial], trusted: Collection[str], host: Host
) -> None:
    """Refuse to run plugins of others that the verifier does not name with their version.

    Raises:
        BadInput: Names each of them with the option that trusts it.
    """
    names: set[str] = set()
    for trial in drawn:
        names |= plugins_of(cells.trial_fit(trial))
        for node in cells.trial_results(trial):
            names |= plugins_of(node)
    problems = [
        Problem(
            f"the plugin {plugin.name} {plugin.version} of {plugin.distribution}, which the trials need",
            "plugins of advtransfer, or ones that you trust",
            f"read its code, and add --trust-plugins {plugin.name}=={plugin.version}",
        )
        for plugin in map(host.plugin, sorted(names))
        if plugin.distribution != OWN_DISTRIBUTION
        and f"{plugin.name}=={plugin.version}" not in trusted
    ]
    if problems:
        raise BadInput(problems)
