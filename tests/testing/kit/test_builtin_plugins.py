"""The built-in plugins keep every rule of the kit."""

from __future__ import annotations

import pytest

from advtransfer.host import Host
from advtransfer.testing.kit import CheckFailed, NotChecked, plugin_checks

WITHOUT_EXAMPLE = {
    "torchvision.builds",
    "robustness_checkpoint.builds",
    "huggingface.builds",
    "module.builds",
}
"""Components that need data or weights that are downloaded, or a module that a program holds."""

SLOW = [
    pytest.param(name, marks=pytest.mark.slow)
    for name in ("alignment", "finetune", "foolbox", "igam", "interpret", "vision")
]


@pytest.mark.parametrize("plugin", ["adapters", "local", *SLOW])
def test_built_in_plugin_keeps_every_rule(plugin: str) -> None:
    passed = 0
    broken = {}
    for check in plugin_checks(Host.discover(), plugin):
        try:
            check()
            passed += 1
        except CheckFailed as error:
            broken[check.id] = str(error)
        except NotChecked:
            pass

    assert {name: reason for name, reason in broken.items() if name not in WITHOUT_EXAMPLE} == {}
    assert passed > 5
