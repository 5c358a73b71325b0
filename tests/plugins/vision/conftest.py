"""Set-ups that several tests of the vision plugin share."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from advtransfer.errors import AdvTransferWarning


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache of digests, so that files of other tests are not remembered."""
    monkeypatch.setenv("ADVTRANSFER_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def warnings_of() -> Callable[..., list[str]]:
    """A function that calls another one and returns the texts of its warnings, which must all be about data."""

    def collect(load: Callable[..., object], *args: object, **options: object) -> list[str]:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            load(*args, **options)
        assert all(issubclass(warning.category, AdvTransferWarning) for warning in caught)
        return [str(warning.message) for warning in caught]

    return collect
