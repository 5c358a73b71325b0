"""Fixtures of the runner's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from advtransfer.host import Host, Plugin
from advtransfer.worker.object_builder import installed_host


@pytest.fixture
def host(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[Host]:
    """A host with the test module as the plugin ``odd``, which workers in this process use too."""
    names = ("vision", "finetune", "foolbox")
    plugins = [Plugin(name, f"advtransfer_{name}", "advtransfer", "1.0") for name in names]
    plugins += [Plugin("local", "advtransfer.executors", "advtransfer", "1.0")]
    host = Host([*plugins, Plugin("odd", request.module, "odd", "1.0")])
    monkeypatch.setattr(Host, "discover", lambda: host)
    installed_host.cache_clear()
    yield host
    installed_host.cache_clear()
