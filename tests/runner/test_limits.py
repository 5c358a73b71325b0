"""Limits that an executor does not keep are refused by name."""

from __future__ import annotations

import pytest

from advtransfer.errors import BadInput
from advtransfer.host import Host
from advtransfer.runner import RunSettings
from advtransfer.runner.limits import require_enforced_limits


def test_limits_in_this_process_are_refused_all_at_once() -> None:
    inline = Host.discover().component("local/inline", "executor")
    with pytest.raises(BadInput) as raised:
        require_enforced_limits(RunSettings(timeout=60, memory=2**30), inline)

    timeout, memory = map(str, raised.value.problems)
    assert "found --timeout with local/inline; expected an executor whose processes" in timeout
    assert "found --memory with local/inline; expected an executor that watches" in memory


def test_the_pool_keeps_both() -> None:
    pool = Host.discover().component("local/pool", "executor")

    require_enforced_limits(RunSettings(timeout=60, memory=2**30), pool)
