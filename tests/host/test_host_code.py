"""What counts as the code of a plugin: its package, the modules of its distribution, and nobody else's."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import pytest

import advtransfer_vision
from advtransfer.host import Host, Plugin
from advtransfer.host.plugin import code_files
from advtransfer.node import Node

Write = Callable[[Mapping[str, str]], None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Writes files into a folder that modules are imported from."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(files: Mapping[str, str]) -> None:
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)

    return write


def code(entry: str | ModuleType, *, distribution: str = "nobody") -> str | None:
    return Host([Plugin("odd", entry, distribution, "1.0")]).plugin_code("odd")


def files(entry: str, *, distribution: str = "nobody") -> set[str]:
    return set(code_files(Plugin("odd", entry, distribution, "1.0")))


def test_every_file_of_a_package_counts_and_nothing_is_imported(write: Write) -> None:
    package = {
        f"odd_package/{name}": ""
        for name in ("__init__.py", "a.py", "deep/__init__.py", "deep/b.py", "data.txt")
    }
    write({**package, "odd_package/__init__.py": "raise RuntimeError", "odd_other.py": ""})

    assert {
        f"odd_package/{name}" for name in ("__init__.py", "a.py", "deep/__init__.py", "deep/b.py")
    } == files("odd_package.deep:plugin.inner")
    assert "odd_package" not in sys.modules


@pytest.mark.parametrize("changed", ["odd_single.py", "odd_models.py", "odd_layers/__init__.py"])
def test_a_module_counts_with_those_beside_it_that_it_imports(write: Write, changed: str) -> None:
    texts = {
        "odd_single.py": "import os\n\n\ndef later():\n    from odd_models import Model\n",
        "odd_models.py": "import odd_layers.deep, torch\n",
        "odd_layers/__init__.py": "",
        "odd_unused.py": "",
    }
    write(texts)
    before = code("odd_single")

    assert {"odd_single.py", "odd_models.py", "odd_layers/__init__.py"} == files("odd_single")
    write({"odd_unused.py": "x = 1"})
    assert before == code("odd_single")
    write({changed: texts[changed] + "x = 1\n"})
    assert before != code("odd_single")


def test_modules_of_other_distributions_do_not_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = tmp_path / "site-packages"
    info = site / "odd_one-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: odd-one\nVersion: 1.0\n")
    (info / "RECORD").write_text("odd_wheel.py,,\nodd_wheel_parts.py,,\n")
    (site / "odd_wheel.py").write_text("import odd_wheel_parts, odd_neighbour\n")
    (site / "odd_wheel_parts.py").touch()
    (site / "odd_neighbour.py").touch()
    monkeypatch.syspath_prepend(str(site))

    assert {"odd_wheel.py", "odd_wheel_parts.py"} == files("odd_wheel", distribution="odd-one")
    assert {"odd_wheel.py"} == files("odd_wheel", distribution="another")


def test_what_was_made_in_memory_or_is_not_there_has_no_code() -> None:
    assert code(ModuleType("made")) is None
    assert code("no_such_module") is None
    assert Host([]).plugin_code("odd") is None


def test_a_built_in_plugins_code_is_its_package_without_the_host() -> None:
    folder = Path(advtransfer_vision.__file__).parent.parent

    assert {
        path.relative_to(folder).as_posix() for path in folder.glob("advtransfer_vision/**/*.py")
    } == set(code_files(Plugin("vision", "advtransfer_vision", "advtransfer", "1")))


def test_a_node_has_the_code_of_all_that_it_is_made_from(monkeypatch: pytest.MonkeyPatch) -> None:
    host = Host(
        [Plugin(name, ModuleType(name), "odd", "1") for name in ("vision", "odd", "finetune")]
    )
    monkeypatch.setattr(host, "_code_digests", {"vision": "v", "odd": "o", "finetune": None})
    subset = Node("subset", "host/subset", inputs={"data": Node("data", "vision/digits")})
    source = Node("source", "odd/made")
    fit = Node(
        "fit", "finetune/probe", inputs={"subset": subset, "source": source, "more": (source,)}
    )

    assert {"odd": "o", "vision": "v"} == host.node_code(fit)
    assert {"vision": "v"} == host.node_code(subset)
    assert [] == host.changed_plugins(host.node_code(fit))
    assert ["odd"] == host.changed_plugins(
        {"odd": "other", "vision": "v", "finetune": "gone", "absent": "x"}
    )
    assert [] == host.changed_plugins(None)
