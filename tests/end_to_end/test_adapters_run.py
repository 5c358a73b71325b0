from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from advtransfer.testing.command import Command

SUITE = """\
datasets:
  low: {use: vision/digits, classes: [0, 1, 2]}
  large: {use: vision/digits, classes: [5, 6, 7], channels: 3, size: 12}
sources:
  natural: {use: vision/trained, data: low, epochs: 3}
adapters:
  shrink: {use: adapters/chain, parts: [{use: adapters/channel_mean}, {use: adapters/resize}]}
  crop: {use: adapters/chain, parts: [{use: adapters/channel_mean}, {use: adapters/centre_crop}]}
targets:
  large: {data: large, n: [40], test: 60}
transfers:
  probe: {use: finetune/linear_probe}
  igam: {use: igam/igam, student: {use: vision/random_init, data: large}, epochs: 2}
evaluations:
  clean: {use: foolbox/clean_accuracy}
  pgd: {use: foolbox/pgd, norm: linf, eps: 0.1, steps: 3, step_size: 0.05}
leaderboard: {baseline: natural, rank_by: clean.accuracy, columns: [clean.accuracy, pgd.robust_accuracy]}
"""


def test_adapters_are_rows_and_a_teacher_of_another_shape_teaches_through_them(command: Command) -> None:
    (command.folder / "adapted.yaml").write_text(SUITE)
    ended = json.loads(command("run", "adapted.yaml", "--json").stdout)
    run = command.folder / "runs" / "adapted"
    fits = [json.loads(path.read_text()) for path in run.glob("records/*/*.json")]
    fits = [record for record in fits if record["kind"] == "fit"]
    page = (run / "leaderboard.md").read_text()

    assert (4, 0, 0) == (ended["done"], ended["failed"], ended["skipped"])
    assert {"adapters/chain"} == {fit["provenance"]["resolved"]["adapter"] for fit in fits}
    assert 4 == len({fit["id"] for fit in fits})
    assert all(fit["curves"] for fit in fits if fit["asked"]["use"] == "igam/igam")
    assert "shrink" in page
    assert "crop" in page
