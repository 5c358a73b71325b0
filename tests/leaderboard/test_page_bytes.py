"""The same records give the same bytes in any order, folder, locale, time zone or hash seed."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from advtransfer.leaderboard import Page, RunRecords, make_page

if TYPE_CHECKING:
    from tests.leaderboard.conftest import Bench

PROGRAM = """
import hashlib, json, locale, sys
from advtransfer.leaderboard import RunRecords, make_page
locale.setlocale(locale.LC_ALL, "")
with open(sys.argv[1], encoding="utf-8") as file:
    page = make_page(RunRecords(**json.load(file)))
digest = hashlib.sha256(page.markdown.encode())
for name in sorted(page.figures):
    digest.update(page.figures[name])
print(digest.hexdigest())
"""


@pytest.fixture
def run(bench: Bench) -> RunRecords:
    bench.leaderboard["figures"] = [{"kind": "accuracy_vs_n", "metric": "clean.accuracy"}]
    draws = random.Random(0)
    for source in ("natural", "robust", "random"):
        for n in (20, 100, "all"):
            for seed in range(3):
                bench.trial(source, seed, round(draws.random(), 3), round(draws.random(), 3), n=n)
    for seed in range(4, 7):
        bench.attempt(bench.trial("robust", seed)["id"], f"reason {seed}")
    return bench.run()


def digest_of(page: Page) -> str:
    digest = hashlib.sha256(page.markdown.encode())
    for name in sorted(page.figures):
        digest.update(page.figures[name])
    return digest.hexdigest()


def test_order_of_records_attempts_and_trials_changes_no_byte(run: RunRecords) -> None:
    # Functions that draw are never equal; what they drew is in `figures`.
    before, draws = replace(make_page(run), drawings={}), random.Random(1)
    for _ in range(3):
        records, attempts, plan = (
            list(run.records),
            list(run.attempts),
            json.loads(json.dumps(run.plan)),
        )
        for items in (records, attempts, plan["trials"]):
            draws.shuffle(items)

        shuffled = make_page(replace(run, plan=plan, records=records, attempts=attempts))
        assert before == replace(shuffled, drawings={})


def test_folder_locale_clock_and_hash_seed_change_no_byte(run: RunRecords, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.json"
    parts = {"plan": run.plan, "records": list(run.records), "attempts": list(run.attempts)}
    bundle.write_text(
        json.dumps(parts | {"environments": dict(run.environments)}), encoding="utf-8"
    )
    surroundings = [
        {"PYTHONHASHSEED": "1", "TZ": "Asia/Kathmandu", "LC_ALL": "C.UTF-8", "HOME": str(tmp_path)},
        {
            "PYTHONHASHSEED": "2",
            "TZ": "UTC",
            "LC_ALL": "C",
            "SOURCE_DATE_EPOCH": "0",
            "MPLBACKEND": "agg",
        },
    ]
    digests = []
    for place, environment in enumerate(surroundings):
        folder = tmp_path / str(place)
        folder.mkdir()
        command = [sys.executable, "-c", PROGRAM, str(bundle)]
        process = subprocess.run(
            command,
            cwd=folder,
            env=os.environ | environment,
            capture_output=True,
            text=True,
            check=True,
        )
        digests.append(process.stdout.strip())

    assert [digest_of(make_page(run))] * 2 == digests


def test_making_a_page_imports_no_torch(run: RunRecords, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle.json"
    bundle.write_text(
        json.dumps({"plan": run.plan, "records": list(run.records)}), encoding="utf-8"
    )
    command = [sys.executable, "-c", f"{PROGRAM}\nprint('torch' in sys.modules)", str(bundle)]

    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()

    assert "False" == output[1]
