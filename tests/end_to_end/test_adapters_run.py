from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

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


@pytest.mark.slow
def test_adapters_are_rows_and_a_teacher_of_another_shape_teaches_through_them(
    command: Command,
) -> None:
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


LEARNED = """\
datasets:
  low: {use: vision/digits, classes: [0, 1, 2], size: 16}
  small: {use: vision/digits, classes: [5, 6, 7]}
sources:
  natural: {use: vision/trained, data: low, epochs: 5}
adapters:
  framed: {use: adapters/pad, value: 0.5}
  upsampled: {use: adapters/transposed_convolution}
targets:
  small: {data: small, n: [40], test: 60}
transfers:
  head: {use: finetune/blocks, blocks: 0, epochs: 20}
  low_rank: {use: adapters/affine, form: {kind: low_rank, rank: 4}, epochs: 20}
  program: {use: adapters/affine, preset: elsayed2019, epochs: 20}
evaluations:
  clean: {use: foolbox/clean_accuracy}
  pgd: {use: foolbox/pgd, norm: linf, eps: 0.1, steps: 3, step_size: 0.05}
leaderboard: {baseline: natural, rank_by: clean.accuracy, columns: [clean.accuracy, pgd.robust_accuracy]}
"""


@pytest.mark.slow
def test_a_learned_map_is_a_transfer_behind_fixed_and_learned_adapters(command: Command) -> None:
    (command.folder / "learned.yaml").write_text(LEARNED)
    ended = json.loads(command("run", "learned.yaml", "--json").stdout)
    run = command.folder / "runs" / "learned"
    records = [json.loads(path.read_text()) for path in run.glob("records/*/*.json")]
    fits = [record for record in records if record["kind"] == "fit"]
    again = json.loads(command("run", "learned.yaml", "--json").stdout)
    accuracies = [
        one["metrics"]["accuracy"]["value"]
        for one in records
        if "accuracy" in one.get("metrics", {})
    ]

    assert (5, 0, 1) == (ended["done"], ended["failed"], ended["skipped"])
    assert (5, 0, 1) == (again["done"], again["failed"], again["skipped"])
    assert "the adapter leaves no margin around the image" in (run / "leaderboard.md").read_text()
    assert 3 * ["adapters/pad"] + 2 * ["adapters/transposed_convolution"] == sorted(
        fit["provenance"]["resolved"]["adapter"] for fit in fits
    )
    assert all(20 == len(fit["curves"]) for fit in fits)
    assert 5 == len(accuracies)
    assert max(accuracies) > 0.5
