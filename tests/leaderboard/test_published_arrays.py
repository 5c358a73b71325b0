"""Intervals over images, from a run folder and from its published bundle."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from advtransfer.files import file_sha256
from advtransfer.leaderboard import load_run_records, write_page
from advtransfer.leaderboard.questions_coefficients import answer_questions
from advtransfer.leaderboard.run_data import gather_run_data
from advtransfer.publication.publish import Origin
from advtransfer.publication.publish import publish_run as publish
from advtransfer.result import Run
from advtransfer.result.record import pack_outcomes, robust_share

if TYPE_CHECKING:
    from tests.leaderboard.conftest import Bench

SAMPLES = 60


@pytest.fixture
def folder(bench: Bench, written: Callable[[Bench, Run], Run], tmp_path: Path) -> Run:
    """Six sources in order, which differ less than a resample of the images changes them."""
    bench.leaderboard["questions"] = [
        {
            "predictor": ["align.alpha", "align.beta"],
            "outcome": "clean.accuracy",
            "across": "source",
        }
    ]
    run, draws = Run(tmp_path / "run"), np.random.RandomState(0)
    for place in range(6):
        right = 30 + place
        outcomes = [0] * right + [1] * (SAMPLES - right)
        values = (draws.standard_normal(SAMPLES) + 0.05 * place).astype(np.float32)
        values[place::7] = np.nan
        clean = bench.aligned(f"source {place}", [float(np.nanmean(values.astype(float)))], 0.5)
        bench.records[clean] |= {
            "outcomes": {"accuracy": pack_outcomes(outcomes)},
            "metrics": {"accuracy": robust_share(outcomes)},
        }
        aligned = bench.records[bench.trials[-1]["evaluations"]["align"][0]]
        file = f"samples/{aligned['id'][:2]}/{aligned['id']}.safetensors"
        (run.path / file).parent.mkdir(parents=True, exist_ok=True)
        save_file({"alpha": values, "gamma": values}, run.path / file)
        aligned["samples"] = {
            "file": file,
            "sha256": file_sha256(run.path / file),
            "fields": ["alpha", "gamma"],
        }
    return written(bench, run)


def test_alpha_is_resampled_over_its_images(folder: Run) -> None:
    (answer,) = answer_questions(gather_run_data(load_run_records(folder)))
    ((alpha, beta),) = answer.results.values()
    (answer,) = answer_questions(gather_run_data(replace(load_run_records(folder), root=None)))
    ((still, _),) = answer.results.values()
    text = write_page(folder).read_text("utf-8")

    assert ((), ("align.beta",)) == (alpha.fixed_columns, beta.fixed_columns)
    assert ("align.alpha",) == still.fixed_columns
    assert alpha.coefficients["Kendall"].value == still.coefficients["Kendall"].value
    assert alpha.coefficients["Kendall"].interval != still.coefficients["Kendall"].interval
    assert "In the intervals `align.beta` varies between sources, not over test images." in text
    assert "for `align.alpha`." not in text
    assert "for `clean.accuracy`." not in text


CITATION = Path(__file__).parents[2] / "CITATION.cff"


def publish_run(run: Run, out: Path) -> Path:
    """Publish a run as the founder of its board, and return the page of the board."""
    folder = publish(run, out, Origin("own", "A. Name", "MIT", CITATION), found=True)
    return out / folder.parent.name / "README.md"


def test_page_of_a_bundle_equals_that_of_the_run_and_only_needed_arrays_are_published(
    folder: Run, tmp_path: Path
) -> None:
    page, first = write_page(folder), publish_run(folder, tmp_path / "out")
    bundle = Run(tmp_path / "out" / "results" / "quick" / "own")
    again = publish_run(bundle, tmp_path / "copy")
    arrays = sorted(bundle.path.rglob("*.safetensors"))

    # A board's page has the list of its submissions below the page of the run.
    below = page.read_text().replace("## How this page was made", "")
    assert below.split("## ")[:3] == first.read_text().split("## ")[:3]
    assert (
        page.with_name("question_1.svg").read_bytes()
        == first.with_name("question_1.svg").read_bytes()
    )
    assert first.read_bytes() == again.read_bytes()
    assert [["alpha"]] * 6 == [list(load_file(path)) for path in arrays]
    assert arrays == [
        bundle.path / path.relative_to(folder.path)
        for path in sorted(folder.path.rglob("*.safetensors"))
    ]


def test_page_without_arrays_says_that_only_sources_are_resampled(folder: Run) -> None:
    for path in folder.path.rglob("*.safetensors"):
        path.unlink()

    assert (
        "In the intervals `align.alpha` varies between sources, not over test images."
        in write_page(folder).read_text("utf-8")
    )
