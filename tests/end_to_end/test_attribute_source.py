"""A source of several attributes, as those of CelebA in Liang et al. (2021): aligned and transferred as one model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result

ATTRIBUTES = """\
version: 1
datasets:
  faces: {use: vision/npz, file: faces.npz}
sources:
  own: &own {use: vision/trained, data: faces, epochs: 2, network: {name: small_cnn, width: 4}}
  random: {use: vision/random_init, data: faces, network: {name: small_cnn, width: 4}}
targets:
  faces: {data: faces, n: [60], seeds: 1, reference: *own}
transfers:
  affine: {use: finetune/logit_affine}
evaluations:
  clean: {use: foolbox/clean_accuracy}
  loss: {use: alignment/transfer_loss}
  alignment: {use: alignment/alignment, attack: {norm: linf, eps: 0.1, steps: 3}}
leaderboard: {baseline: random, rank_by: clean.accuracy, columns: [clean.accuracy, loss.loss, alignment.alpha_1_ts]}
"""


def write_faces(folder: Path) -> None:
    """Attribute k is whether the k-th third of an image is bright."""
    drawn = np.random.default_rng(0)
    labels = drawn.integers(0, 2, (160, 3), dtype=np.uint8)
    bright = np.repeat(60 + 120 * labels, 3, axis=1)[:, :, None]
    images = (bright + drawn.integers(0, 40, (160, 9, 9))).astype(np.uint8)
    np.savez(
        folder / "faces.npz",
        x_train=images[:100],
        y_train=labels[:100],
        x_test=images[100:],
        y_test=labels[100:],
    )


@pytest.mark.slow
def test_a_source_of_three_attributes_is_aligned_with_itself_and_solves_its_task(
    inline: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADVTRANSFER_DATA", str(Path.cwd()))
    write_faces(Path.cwd())
    Path("attributes.yaml").write_text(ATTRIBUTES)
    inline("run", "attributes.yaml")
    run = Path("runs/attributes")
    metrics: dict[str, dict[str, float]] = {}
    for trial in json.loads((run / "plan.json").read_text())["trials"]:
        for (id,) in trial["evaluations"].values():
            record = json.loads((run / "records" / id[:2] / f"{id}.json").read_text())
            values = {name: metric["value"] for name, metric in record["metrics"].items()}
            metrics.setdefault(trial["source"], {}).update(values)

    # The source is the reference itself.
    assert metrics["own"]["alpha_1_ts"] == pytest.approx(1, abs=1e-4)
    assert metrics["random"]["alpha_1_ts"] != pytest.approx(1, abs=1e-3)
    # Each attribute is a threshold on a mean, which an affine map of its logit finds. All three count.
    assert metrics["own"]["accuracy"] > 0.95
    assert metrics["own"]["loss"] < metrics["random"]["loss"]
