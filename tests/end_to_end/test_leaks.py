from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from click.testing import Result

if TYPE_CHECKING:
    from advtransfer.testing.command import Command

SUITE = """\
datasets: {own: {use: vision/npz, file: own.npz}, other: {use: vision/npz, file: other.npz}}
sources: {random: {use: vision/random_init, data: other}}
targets: {own: {data: own, n: [20], leakage: POLICY}}
transfers: {probe: {use: finetune/linear_probe}}
evaluations: {clean: {use: foolbox/clean_accuracy}}
"""


@pytest.fixture
def planted(command: Command, inline: Callable[..., Result]) -> Callable[..., Result]:
    """Two data sets of noise that share images: 3 of the target's test images are in its train part, shifted; and 2
    are in the source's training data as they are.
    """
    rng = np.random.default_rng(0)
    own, other = (rng.integers(0, 256, (60, 16, 16, 1), dtype=np.uint8) for _ in range(2))
    own, other = (
        np.kron(images[:, ::4, ::4], np.ones((1, 4, 4, 1), np.uint8)) for images in (own, other)
    )
    test = np.kron(
        rng.integers(0, 256, (20, 4, 4, 1), dtype=np.uint8), np.ones((1, 4, 4, 1), np.uint8)
    )
    test[:3] = np.roll(own[:3], 1, axis=2)
    test[3:5] = other[:2]
    labels = np.arange(60) % 2
    np.savez(
        command.folder / "own.npz", x_train=own, y_train=labels, x_test=test, y_test=labels[:20]
    )
    np.savez(
        command.folder / "other.npz",
        x_train=other,
        y_train=labels,
        x_test=test[10:],
        y_test=labels[:10],
    )
    return inline


def test_shared_images_are_counted_to_the_image_and_shown(planted: Callable[..., Result]) -> None:
    Path("leaks.yaml").write_text(SUITE.replace("POLICY", "count"))
    planted("run", "leaks.yaml", "--quiet")
    run = Path("runs/leaks")
    found = [json.loads(path.read_text()) for path in run.glob("records/*/*.json")]
    fit = next(record for record in found if record["kind"] == "fit")
    shown = json.loads(planted("show", "leaks.yaml", "--leakage", "--json").stdout)
    counts = {
        "target test in source train": {"exact": 2, "near": 0, "of": 20},
        "target test in target train": {"exact": 0, "near": 3, "of": 20},
        "target train in source train": {"exact": 0, "near": 0, "of": 60},
    }

    assert counts == fit["leakage"]
    assert counts == {
        one["images"]: {key: one[key] for key in ("exact", "near", "of")} for one in shown
    }
    assert "## Leakage" in (run / "leaderboard.md").read_text()


@pytest.mark.slow
def test_shared_images_are_an_error_where_the_suite_says_so(planted: Callable[..., Result]) -> None:
    Path("leaks.yaml").write_text(SUITE.replace("POLICY", "error"))
    ended = planted("run", "leaks.yaml", "--quiet", exit_code=1)

    assert "found leaked images (target test in source train: 2 exact, 0 near;" in ended.stderr
    assert "target test in target train: 0 exact, 3 near" in ended.stderr


def test_a_word_that_is_no_policy_is_told_with_its_place(planted: Callable[..., Result]) -> None:
    Path("leaks.yaml").write_text(SUITE.replace("POLICY", "warn"))
    ended = planted("plan", "leaks.yaml", exit_code=2)

    assert "leaks.yaml:3:" in ended.stderr
    assert "one of count, error, off" in ended.stderr
