from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from advtransfer.testing.command import Command


@pytest.mark.slow
def test_weights_kept_at_epochs_are_measured_as_metric_at_epoch(command: Command) -> None:
    suite = command.folder / "small.yaml"
    tuned = "{use: finetune/blocks, blocks: 1, epochs: 40, snapshots: [1, 40]}"
    text = suite.read_text().replace("{use: finetune/linear_probe}", tuned)
    suite.write_text(text.replace("pgd.robust_accuracy]", "pgd.robust_accuracy, clean.accuracy@1]"))
    command("run", "small.yaml", "--only", "source=random,n=20", "--quiet")
    run = command.folder / "runs" / "small"
    found = [json.loads(path.read_text()) for path in run.glob("records/*/*.json")]
    results = [record["metrics"] for record in found if record["kind"] == "result"]
    clean = [metrics for metrics in results if "accuracy" in metrics]
    attacked = [metrics for metrics in results if "robust_accuracy@0.1" in metrics]

    assert 3 == len(clean) == len(attacked)
    assert {("accuracy", "accuracy@1", "accuracy@40")} == {
        tuple(sorted(metrics)) for metrics in clean
    }
    assert all(metrics["accuracy"] == metrics["accuracy@40"] for metrics in clean)
    assert any(metrics["accuracy"] != metrics["accuracy@1"] for metrics in clean)
    assert all(
        metrics["robust_accuracy@0.1"] == metrics["robust_accuracy@0.1@40"] for metrics in attacked
    )
    assert "clean.accuracy@1" in (run / "leaderboard.md").read_text()
