"""What ``advtransfer new`` writes and refuses; tests/packaging installs and runs it."""

from __future__ import annotations

import ast
import tomllib
from pathlib import Path
from textwrap import indent

import pytest
from click.testing import CliRunner

from advtransfer import suite as suites
from advtransfer.cli import main
from advtransfer.errors import BadInput
from advtransfer.hookspecs import COMPONENT_KINDS, ComponentKind
from advtransfer.host import Host
from advtransfer.host.plugin import Plugin
from advtransfer.scaffold.write import COMPONENTS, write_distribution


def write(tmp_path: Path, name: str, kind: ComponentKind) -> Path:
    write_distribution(name, kind, into=tmp_path, version="0.2.1", plugins=["vision"])
    return tmp_path / name


@pytest.mark.parametrize("kind", COMPONENT_KINDS)
def test_distribution_states_its_plugin_and_is_python(tmp_path: Path, kind: ComponentKind) -> None:
    folder = write(tmp_path, "my-method", kind)
    project = tomllib.loads((folder / "pyproject.toml").read_text())

    assert project["project"]["name"] == "advtransfer-my-method"
    assert project["project"]["dependencies"] == ["advtransfer>=0.2,<0.3"]
    entry_points = project["project"]["entry-points"]["advtransfer"]
    assert entry_points == {"my_method": "advtransfer_my_method"}
    sources = sorted(folder.rglob("*.py"))
    assert len(sources) == 3
    for path in sources:
        ast.parse(path.read_text())
    assert (folder / "src" / "advtransfer_my_method" / "py.typed").is_file()
    assert (folder / ".github" / "workflows" / "ci.yml").is_file()
    texts = [path.read_text() for path in folder.rglob("*") if path.is_file()]
    assert not any("{{" in text for text in texts)


@pytest.mark.parametrize("kind", COMPONENT_KINDS)
def test_plugin_registers_and_its_suite_is_read(
    tmp_path: Path, kind: ComponentKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write(tmp_path, f"my-{kind}", kind)
    monkeypatch.syspath_prepend(str(folder / "src"))
    mine = Plugin(f"my_{kind}", f"advtransfer_my_{kind}", f"advtransfer-my-{kind}", "0.1.0")
    installed = Host.discover()
    host = Host([mine, *map(installed.plugin, installed.plugin_names)])

    (component,) = host.load_plugin(f"my_{kind}").values()
    assert component.name == f"my_{kind}/{COMPONENTS[kind]}"
    assert component.kind == kind
    assert suites.load(str(folder / "suite.yaml"), host).transfers


def test_all_problems_of_a_name_are_reported_at_once(tmp_path: Path) -> None:
    (tmp_path / "Class").mkdir()
    with pytest.raises(BadInput) as caught:
        write(tmp_path, "Class", "transfer")
    assert len(caught.value.problems) == 2

    with pytest.raises(BadInput, match="a word of Python"):
        write(tmp_path, "class", "transfer")
    with pytest.raises(BadInput, match="an installed plugin"):
        write(tmp_path, "vision", "transfer")
    with pytest.raises(BadInput, match="no folder"):
        write(tmp_path / "nowhere", "mine", "transfer")
    assert [path.name for path in tmp_path.iterdir()] == ["Class"]


def test_command_prints_what_to_do_next(tmp_path: Path) -> None:
    arguments = ["new", "mine", "--kind", "executor", "--into", str(tmp_path)]
    result = CliRunner().invoke(main, arguments)

    assert result.exit_code == 0, result.output
    commands = (
        "advtransfer run suite.yaml --executor mine/serial\nadvtransfer leaderboard runs/suite\n"
    )
    assert result.output.endswith(commands)
    assert indent(commands, 4 * " ") in (tmp_path / "mine" / "README.md").read_text()
    again = CliRunner().invoke(main, arguments)
    assert again.exit_code == 2
    assert "which is there already" in again.output
