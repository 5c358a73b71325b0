"""Evaluations that the field compares with, asked by lines of YAML, held to relations among their numbers."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import advtransfer as at

SUITE = """\
datasets:
  low: {use: vision/digits, classes: [0, 1, 2]}
  high: {use: vision/digits, classes: [5, 6, 7]}
defaults:
  vision/trained: {epochs: 6}
sources:
  natural: {use: vision/trained, data: low}
  same: {use: vision/trained, data: high}
targets:
  digits: {data: high, n: [60], test: 90, reference: {use: vision/trained, data: high}}
transfers:
  probe: {use: finetune/linear_probe}
  itself: {use: finetune/unchanged, only: {source: same}}
evaluations:
  clean: {use: foolbox/clean_accuracy}
  means: {use: foolbox/mean_class_accuracy}
  loss: {use: alignment/transfer_loss}
  attacked: {use: foolbox/attacked_loss, norm: linf, eps: 0.1, steps: 20, step_size: 0.0125, random_start: false}
  calibration:
    use: calibration/calibration
    attack: {norm: linf, eps: 0.1, steps: 20, random_start: false}
  cka: {use: alignment/cka, kernels: [linear, rbf], width: 0.4}
  transferred:
    use: alignment/transferred
    surrogates: [same]
    attack: {norm: linf, eps: 0.1, steps: 20, momentum: 1, input_diversity: 0.5}
  two: {use: alignment/transferred, surrogates: [same, natural], labels: predicted, attack: {eps: 0.1, steps: 20}}
  from_source: {use: alignment/transferred_from_source, attack: {eps: 0.1, steps: 20}}
  from_reference: {use: alignment/transferred_from_reference, attack: {eps: 0.1, steps: 20}}
  corruptions: {use: corruptions/accuracy, corruptions: [gaussian_noise, contrast], baseline: same}
  smoothing: {use: certified/smoothing, sigma: 0.12, radii: [0.1, 0.2], draws: 500}
leaderboard:
  rank_by: clean.accuracy
  columns: [clean.accuracy, means.mean_class_accuracy, calibration.ece, calibration.ece@0.1,
            cka.linear__features__features, transferred.transfer_rate, corruptions.mean_corruption_error,
            corruptions.mCE, smoothing.certified_accuracy@0.1]
"""


def metrics_by_evaluation(run: Path, transfer: str, source: str) -> dict[str, dict[str, float]]:
    """Return the metrics of one trial, by component."""
    plan = json.loads((run / "plan.json").read_text())
    (trial,) = (
        trial
        for trial in plan["trials"]
        if (trial["transfer"], trial["source"]) == (transfer, source)
    )
    found: dict[str, dict[str, float]] = {}
    for name, ids in trial["evaluations"].items():
        (record,) = read_results(run, {ids} if isinstance(ids, str) else set(ids))
        found[name] = {key: each["value"] for key, each in record["metrics"].items()}
    return found


def read_results(run: Path, ids: set[str]) -> list[dict[str, Any]]:  # Any: JSON
    """Return the records of these ids."""
    records = [json.loads(path.read_text()) for path in run.glob("records/*/*.json")]
    return [record for record in records if record["id"] in ids]


@pytest.mark.slow
def test_evaluations_agree_where_they_measure_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADVTRANSFER_CACHE", str(tmp_path / "cache"))
    report = at.run(SUITE, name="compared", executor="local/inline", quiet=True)
    assert report.ok, str(report)
    own = metrics_by_evaluation(report.path, "itself", "same")
    probe = metrics_by_evaluation(report.path, "probe", "natural")

    # The source itself: what is made on it is white-box, and its features are its own.
    assert own["from_source"]["transfer_rate@0.1"] == own["from_source"]["surrogate_rate@0.1"] > 0
    assert own["transferred"]["transfer_rate@0.1"] == own["transferred"]["surrogate_rate@0.1"] > 0
    assert own["corruptions"]["mCE"] == pytest.approx(1)
    for metrics in (own, probe):
        assert metrics["calibration"]["nll"] == pytest.approx(metrics["loss"]["loss"], rel=1e-5)
        # The same ascent, but along the log odds, which do not vanish.
        attacked = metrics["calibration"]["nll@0.1"]
        assert attacked > 0.97 * metrics["attacked"]["attacked_loss@0.1"]
        assert metrics["calibration"]["ece@0.1"] > metrics["calibration"]["ece"]
        assert metrics["means"]["mean_class_accuracy"] == pytest.approx(
            metrics["clean"]["accuracy"], abs=0.05
        )
        assert metrics["transferred"]["accuracy@0.1"] <= metrics["clean"]["accuracy"]
        smoothing = metrics["smoothing"]
        assert smoothing["certified_accuracy@0.2"] <= smoothing["certified_accuracy@0.1"]
        assert smoothing["certified_accuracy@0.1"] <= smoothing["smoothed_accuracy"]
        assert -0.1 < metrics["cka"]["rbf__block1__features"] < 1.1


FALLING = """\
datasets:
  digits: {use: vision/digits, classes: [0, 1, 2, 3, 4]}
defaults:
  vision/trained: {data: digits, epochs: 15}
sources:
  natural: {use: vision/trained, network: {name: small_cnn, width: 16}}
  robust: {use: vision/trained, network: {name: small_cnn, width: 16}, adversary: {norm: linf, eps: 0.1, steps: 3}}
  other: {use: vision/trained, network: fcnet}
targets:
  digits: {data: digits, n: [20], test: 200}
transfers:
  itself: {use: finetune/unchanged}
evaluations:
  corruptions: {use: corruptions/accuracy}
leaderboard: {columns: [corruptions.mean_corruption_error]}
"""


@pytest.mark.slow
def test_mean_accuracy_falls_with_severity_on_three_networks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ADVTRANSFER_CACHE", str(tmp_path / "cache"))
    report = at.run(FALLING, name="falling", executor="local/inline", quiet=True)
    assert report.ok, str(report)
    for source in ("natural", "robust", "other"):
        metrics = metrics_by_evaluation(report.path, "itself", source)["corruptions"]
        accuracies = [metrics[f"accuracy_severity_{severity}"] for severity in range(1, 6)]
        rises = [after - before for before, after in pairwise(accuracies)]

        assert max(rises) < 0.01, (source, accuracies)
        assert accuracies[4] < accuracies[0] - 0.05, (source, accuracies)
