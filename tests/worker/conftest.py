"""Fixtures of the worker's tests."""

from __future__ import annotations

import pytest

import advtransfer_finetune
import advtransfer_foolbox
import advtransfer_vision
from advtransfer import executors
from advtransfer.host import Host, Plugin
from advtransfer.worker import object_builder


@pytest.fixture
def host(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Host:
    """A host with the test module as the plugin ``odd``, which workers in this process use too."""
    modules = {
        "vision": advtransfer_vision,
        "finetune": advtransfer_finetune,
        "foolbox": advtransfer_foolbox,
        "local": executors,
        "odd": request.module,
    }
    host = Host([Plugin(name, module, "advtransfer", "1.0") for name, module in modules.items()])
    monkeypatch.setattr(object_builder, "installed_host", lambda: host)
    return host
