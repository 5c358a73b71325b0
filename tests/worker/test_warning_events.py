from __future__ import annotations

import json
import warnings
from pathlib import Path

import pytest

from advtransfer.errors import AdvTransferWarning
from advtransfer.jobs import Job
from advtransfer.types import Json
from advtransfer.worker.process import warnings_as_events


def _warning_events(*given: Warning) -> list[dict[str, Json]]:
    """Return the events for warnings inside a job."""
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
            for warning in given:
                warnings.warn(warning, stacklevel=1)
    return events


def test_library_warning_is_sent_with_category_and_job(
    capsys: pytest.CaptureFixture[str],
) -> None:
    (event,) = _warning_events(RuntimeWarning("overflow encountered\n  in matmul"))

    assert ("warning", "s -> t probe") == (event["event"], event["name"])
    assert "RuntimeWarning: overflow encountered in matmul" == event["text"]
    assert ("", "") == tuple(capsys.readouterr())


def test_own_warning_is_sent_as_text_alone() -> None:
    (event,) = _warning_events(AdvTransferWarning("3 files are left out"))

    assert ("", "3 files are left out") == (event["name"], event["text"])


def test_long_warning_is_cut_to_the_size_of_an_event() -> None:
    (event,) = _warning_events(AdvTransferWarning("🐈" * 5000))

    assert len(json.dumps(event)) < 4000
    assert str(event["text"]).startswith("🐈" * 50)
    assert str(event["text"]).endswith("…")


def test_warnings_are_shown_again_afterwards() -> None:
    before = warnings.showwarning
    _warning_events(UserWarning("x"))

    assert before is warnings.showwarning
