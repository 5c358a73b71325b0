"""Which console suits a stream."""

from __future__ import annotations

import io

import pytest

from advtransfer.console import console_for
from advtransfer.console.live import LiveConsole
from advtransfer.console.plain import PlainConsole


class Teletype(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _capable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")


def test_terminal_gets_the_live_display() -> None:
    assert isinstance(console_for(Teletype()), LiveConsole)


def test_pipe_gets_lines() -> None:
    assert isinstance(console_for(io.StringIO()), PlainConsole)


def test_quiet_and_dumb_terminals_get_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(console_for(Teletype(), quiet=True), PlainConsole)
    monkeypatch.setenv("TERM", "dumb")

    assert isinstance(console_for(Teletype()), PlainConsole)


def test_colour_is_left_out_where_the_user_asked_for_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    stream = Teletype()
    with console_for(stream) as console:
        console({"event": "trial_failed", "trial": {"name": "x"}, "reason": "y"})

    assert "failed: x: y" in stream.getvalue()
    assert "\x1b[31m" not in stream.getvalue()
