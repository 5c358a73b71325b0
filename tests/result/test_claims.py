"""What a job publishes is held to its claim."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from advtransfer.cache.lock import LEASE_SECONDS
from advtransfer.errors import Busy, ClaimLost
from advtransfer.result import Run
from advtransfer.result.claims import binding_job_claims, hold_job_claim

ID = "ab" * 32


def all_files(run: Path) -> list[str]:
    paths = [path for path in run.rglob("*") if path.is_file() and "claims" not in path.parts]
    return sorted(path.relative_to(run).as_posix() for path in paths)


def test_job_is_claimed_once_in_a_run_folder(tmp_path: Path) -> None:
    with hold_job_claim(tmp_path, ID) as claim:
        assert [ID] == list(binding_job_claims(tmp_path))
        assert LEASE_SECONDS == claim.seconds
        with pytest.raises(Busy, match="found job"), hold_job_claim(tmp_path, ID):
            pass
    assert {} == binding_job_claims(tmp_path)


def test_process_that_lost_its_claim_writes_no_record_attempt_array_or_file(
    tmp_path: Path,
) -> None:
    with hold_job_claim(tmp_path, ID) as claim:
        run = Run(tmp_path, claim)
        run.write_record({"id": ID})
        content = json.loads(claim.path.read_text())
        content["owner"]["host"] = "elsewhere"
        claim.path.write_text(json.dumps(content))
        os.utime(claim.path, (0, 0))
        with hold_job_claim(tmp_path, ID) as other:
            for write in (run.write_record, run.write_attempt):
                with pytest.raises(ClaimLost):
                    write({"id": "cd" * 32})
            with pytest.raises(ClaimLost):
                run.publish(tmp_path / "samples" / "cd", b"array")

            assert other.token > claim.token
    assert [f"records/ab/{ID}.json"] == all_files(tmp_path)
