"""The kit's part of `advtransfer.check`: apply the rules, and a line for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from advtransfer.api.tables import CheckTable
from advtransfer.errors import BadInput, Problem
from advtransfer.host import Host
from advtransfer.text import align_columns
from advtransfer.types import Json

if TYPE_CHECKING:
    from advtransfer.testing.kit.check import KitCheck

RuleOutcome = Literal["passed", "broken", "not checked"]


@dataclass(frozen=True, slots=True)
class CheckedRule:
    """How a check of the kit ended; `reason` is empty where it passed."""

    check: KitCheck
    outcome: RuleOutcome
    reason: str = ""


def apply_kit(
    name: str, options: Mapping[str, Json], *, progress: Callable[[str], None]
) -> CheckTable:
    """Apply the kit to a plugin or a component; `ok` of the table is False where a rule is broken.

    Args:
        name: The plugin, or the component as plugin/factory.
        options: Options of the component.
        progress: Called with a line for each rule that is broken.

    Raises:
        UnknownName: There is no such plugin or component.
        BadInput: Options are given without a component.
    """
    host = Host.discover()
    plugin, _, factory = name.partition("/")
    if factory:
        host.component(name)
    else:
        host.plugin(plugin)
    if options and not factory:
        found = f"options ({', '.join(options)}) of the whole plugin {plugin!r}"
        raise BadInput([Problem(found, "PLUGIN/COMPONENT", "name the component that has them")])
    # Imported late, since the kit imports torch.
    from advtransfer.testing.kit import plugin_checks

    given = {factory: options} if factory else {}
    checks = plugin_checks(host, plugin, factory=factory or None, options=given)
    rows = []
    for check in checks:
        rows.append(_apply_check(check))
        if rows[-1].outcome == "broken":
            progress(f"broken: {check.id}")
    data: list[Json] = [_row_json(row) for row in rows]
    columns = ("check", "outcome", "rule", "reason")
    table = CheckTable(
        [_row_json(row) for row in rows], columns=columns, text=_rules_table(rows), data=data
    )
    table.ok = all(row.outcome != "broken" for row in rows)
    return table


def record_plugin(name: str, *, into: Path | None) -> Path:
    """Write the decisions of a plugin's components; return the file.

    Raises:
        BadInput: The name is that of a component.
    """
    if "/" in name:
        found = f"the component {name!r}"
        plugin = name.partition("/")[0]
        raise BadInput([Problem(found, "a plugin", f"record all of {plugin!r} at once")])
    host = Host.discover()
    host.plugin(name)
    from advtransfer.testing.kit import record_decisions

    return record_decisions(host, name, into=into)


def _apply_check(check: KitCheck) -> CheckedRule:
    from advtransfer.testing.kit import CheckFailed, NotChecked

    try:
        check()
    except CheckFailed as error:
        return CheckedRule(check, "broken", str(error))
    except NotChecked as error:
        return CheckedRule(check, "not checked", str(error))
    return CheckedRule(check, "passed")


def _rules_table(rows: list[CheckedRule]) -> str:
    """Return a line for each check, the broken ones again with their reasons, and the counts."""
    lines = [
        (row.check.id, row.outcome, row.reason if row.outcome == "not checked" else row.check.text)
        for row in rows
    ]
    broken = [row for row in rows if row.outcome == "broken"]
    reasons = [f"{row.check.id}: {row.reason}" for row in broken]
    passed = sum(row.outcome == "passed" for row in rows)
    counts = (
        f"{passed} passed, {len(broken)} broken, {len(rows) - passed - len(broken)} not checked"
    )
    return "\n".join([align_columns(("check", "outcome", "rule"), lines), "", *reasons, counts])


def _row_json(row: CheckedRule) -> dict[str, Json]:
    return {
        "check": row.check.id,
        "rule": row.check.text,
        "outcome": row.outcome,
        "reason": row.reason,
    }
