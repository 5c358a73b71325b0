"""The checks of the kit as parameters of a pytest test."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import pytest

from advtransfer.host import Host
from advtransfer.testing.kit import CheckFailed, KitCheck, NotChecked, plugin_checks, require_known
from advtransfer.types import Json

if TYPE_CHECKING:
    from _pytest.mark import ParameterSet


def check_parameters(
    plugin: str,
    *,
    options: Mapping[str, Mapping[str, Json]],
    expected_failures: Mapping[str, str],
) -> list[ParameterSet]:
    """Return the checks of a plugin, named and marked; see `advtransfer.testing.checks_for`."""
    checks = plugin_checks(Host.discover(), plugin, options=options)
    require_known("an expected failure of", expected_failures, [check.id for check in checks])
    parameters = []
    for check in checks:
        reason = expected_failures.get(check.id)
        marks = []
        if reason is not None:
            marks = [pytest.mark.xfail(reason=reason, raises=CheckFailed, strict=True)]
        parameters.append(pytest.param(SkippingCheck(check), id=check.id, marks=marks))
    return parameters


class SkippingCheck:
    """A check that pytest skips where it cannot be applied."""

    def __init__(self, check: KitCheck) -> None:
        self.check = check

    def __call__(self) -> None:
        """Apply the rule."""
        try:
            self.check()
        except NotChecked as error:
            pytest.skip(str(error))
