from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest

from advtransfer.errors import AdvTransferWarning
from advtransfer.jobs import Job
from advtransfer.types import Json
from advtransfer.worker.process import warnings_as_events


def _told(*given: Warning) -> list[dict[str, Json]]:
    """What is told of warnings that a job gives."""
    job = Job(
        "ab" * 32,
        {},
        Path("run"),
        Path("cache"),
        "",
        {"name": "s -> t probe"},
        "cpu",
        1,
        "float32",
        "small",
    )
    events: list[dict[str, Json]] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        with warnings_as_events(lambda event: events.append(dict(event)), job):
            for one in given:
                warnings.warn(one, stacklevel=1)
    return events


def test_a_warning_of_a_library_is_told_with_its_kind_and_the_job(
    capsys: pytest.CaptureFixture[str],
) -> None:
    (told,) = _told(RuntimeWarning("overflow encountered\n  in matmul"))

    assert ("warning", "s -> t probe") == (told["event"], told["name"])
    assert "RuntimeWarning: overflow encountered in matmul" == told["text"]
    assert ("", "") == tuple(capsys.readouterr())


def test_a_warning_of_the_project_speaks_for_itself() -> None:
    (told,) = _told(AdvTransferWarning("3 files are left out"))

    assert ("", "3 files are left out") == (told["name"], told["text"])


def test_a_long_text_is_cut_to_what_workers_can_send() -> None:
    (told,) = _told(AdvTransferWarning("🐈" * 5000))

    assert len(json.dumps(told)) < 4000
    assert str(told["text"]).startswith("🐈" * 50)
    assert str(told["text"]).endswith("…")


def test_afterwards_warnings_are_shown_as_before() -> None:
    before = warnings.showwarning
    _told(UserWarning("x"))

    assert before is warnings.showwarning
