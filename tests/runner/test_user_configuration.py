"""The user's configuration switches on listeners, and says what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from advtransfer.errors import BadInput, UnknownName
from advtransfer.host import Host, Plugin
from advtransfer.runner.user_configuration import configured_plugins, load_listeners


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "config.toml"
    monkeypatch.setenv("ADVTRANSFER_CONFIG", str(path))
    return path


def test_its_plugins_are_loaded_beside_those_of_the_command(file: Path) -> None:
    file.write_text('[run]\nplugins = ["second", "first"]\n')
    host = Host([Plugin(name, object(), "example", "1.0") for name in ("first", "second")])
    load_listeners(["first"], host)

    assert ["second", "first"] == configured_plugins()
    file.write_text('[run]\nplugins = ["third"]\n')
    with pytest.raises(UnknownName, match="third"):
        load_listeners([], host)


def test_without_a_file_there_are_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ADVTRANSFER_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))

    assert [] == configured_plugins()


def test_a_user_without_a_home_folder_has_none(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> Path:
        raise RuntimeError("Could not determine home directory.")

    for name in ("ADVTRANSFER_CONFIG", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "home", refuse)

    assert [] == configured_plugins()


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (None, "no such file"),
        ("[run", "Expected"),
        ("[runs]\n", "'runs'"),
        ("run = 3\n", "'run'"),
        ("[run]\nplugin = 'wandb'\n", "'plugin'"),
        ("[run]\nplugins = 'wandb'\n", "plugins = 'wandb'"),
    ],
)
def test_a_wrong_file_is_refused_with_its_path(file: Path, text: str | None, found: str) -> None:
    if text is not None:
        file.write_text(text)
    with pytest.raises(BadInput) as caught:
        configured_plugins()

    assert str(file) in str(caught.value)
    assert found in str(caught.value)
