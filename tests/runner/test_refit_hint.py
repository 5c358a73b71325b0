"""A changed attack fits again where weights were not kept, and the run says so once."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.runner.test_run_recovery import PGD, Bench

from advtransfer.host import Host


@pytest.mark.parametrize("keep", [False, True])
def test_changed_attack_that_fits_again_is_told(tmp_path: Path, host: Host, keep: bool) -> None:
    bench = Bench(tmp_path, host)
    bench.write({})
    bench(keep_models=keep)
    first = [event["text"] for event in bench.emitted("warning")]
    bench.write({}, more=PGD)
    bench()
    texts = [event["text"] for event in bench.emitted("warning")]
    told = [text for text in texts if "1 fit with a record will be fitted again" in text]

    assert first == []
    assert (0 if keep else 1) == len(told)
    assert all("--keep models" in text for text in told)
