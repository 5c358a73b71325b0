"""What a submission may add to an open board, and what it must leave as it is."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from advtransfer.host import Host
from advtransfer.publication.board_rows import board_faults
from advtransfer.publication.cells import (
    Fault,
    PlannedSuite,
    plan_bundle,
    plan_differences,
    plan_suite,
)

ADDED = """
version: 1
title: Another source, another transfer
extends: quickstart
sources:
  wide: {use: vision/random_init, data: low, network: small_cnn, width: 32, seeds: 3}
transfers:
  block2: {use: finetune/blocks, blocks: 2, epochs: 60}
"""
FOREIGN_FILES = """
version: 1
sources:
  mine:
    use: vision/checkpoint
    file: weights/mine.pt
    architecture: resnet18
    mean: [0.5, 0.5, 0.5]
    std: [0.5, 0.5, 0.5]
targets:
  t: {data: {use: vision/image_folder, pixels: 32, root: images}, n: 10}
transfers: {probe: {use: finetune/linear_probe, epochs: deep}}
evaluations: {clean: {use: foolbox/pgd, norm: linf, eps: 0.1}}
"""
"""A file and a folder that no verifier has, and one mistake."""
OPEN = frozenset({"sources", "transfers"})


@pytest.fixture(scope="module")
def host() -> Host:
    return Host.discover()


@pytest.fixture(scope="module")
def board(host: Host) -> PlannedSuite:
    return plan_suite("quickstart", host)


def planned(text: str, folder: Path, host: Host) -> PlannedSuite:
    (folder / "mine.yaml").write_text(text)
    return plan_suite(str(folder / "mine.yaml"), host)


def test_rows_may_be_added_on_open_axes_alone(
    board: PlannedSuite, host: Host, tmp_path: Path
) -> None:
    mine = planned(ADDED, tmp_path, host)
    closed = [fault.cell for fault in board_faults(mine, board, frozenset())]

    assert [] == board_faults(board, board, frozenset())
    assert [] == board_faults(mine, board, OPEN)
    assert [*(f"source wide[seed={seed}]" for seed in range(3)), "transfer block2"] == closed
    assert ["transfer block2"] == [
        fault.cell for fault in board_faults(mine, board, frozenset({"sources"}))
    ]


@pytest.mark.parametrize(
    ("changed", "cell"),
    [
        (
            "exclude: [{source: wide, n: 20, seed: 2}]",
            "wide[seed=2] -> digits_5_9 n=20 seed=2 probe",
        ),
        (
            "exclude: [{source: natural, n: 20, seed: 2}]",
            "natural[seed=2] -> digits_5_9 n=20 seed=2 probe",
        ),
        ("targets: {digits_5_9: {n: [20]}}", "target digits_5_9"),
        ("targets: {digits_5_9: {test: 100}}", "target digits_5_9"),
        ("evaluations: {auto: {eps: 0.05}}", "evaluation auto"),
        ("evaluations: {auto: {seed: 1}}", "evaluation auto"),
        ("evaluations: {auto: null}\nleaderboard: {columns: [clean.accuracy]}", "evaluation auto"),
        ("evaluations: {mine: {use: foolbox/clean_accuracy}}", "evaluation mine"),
    ],
)
def test_everything_else_is_that_of_the_board(
    changed: str, cell: str, board: PlannedSuite, host: Host, tmp_path: Path
) -> None:
    mine = planned(f"{ADDED}{changed}\n", tmp_path, host)

    assert cell in [fault.cell for fault in board_faults(mine, board, OPEN)]


def test_a_plan_is_held_against_its_suite(board: PlannedSuite, host: Host, tmp_path: Path) -> None:
    mine = planned(ADDED, tmp_path, host)
    found = [fault.text for fault in plan_differences(mine.plan, board.plan)]

    assert [] == list(plan_differences(board.plan, board.plan))
    assert {"found a trial that suite.yaml does not give"} == {
        text for text in found if "trial" in text
    }
    assert "found no such trial; expected it, from suite.yaml" in [
        fault.text for fault in plan_differences(board.plan, mine.plan)
    ]


def test_a_suite_that_cannot_be_planned_says_why(host: Host, tmp_path: Path) -> None:
    (tmp_path / "suite.yaml").write_text("version: 1\nsources: {a: {use: nobody/knows}}\n")
    (fault,) = cast("list[Fault]", plan_bundle(tmp_path, host))

    assert fault.text.startswith(
        "found a suite that gives no plan: suite.yaml:1:1: found no targets"
    )
    assert "suite.yaml:2:20: found 'nobody" in fault.text


def test_a_suite_whose_files_are_not_here_names_each_and_the_next_step(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADVTRANSFER_DATA", str(tmp_path / "data"))
    (tmp_path / "suite.yaml").write_text(FOREIGN_FILES)
    faults = cast("list[Fault]", plan_bundle(tmp_path, host))

    assert ["suite.yaml:6:11", "suite.yaml:11:58", "suite.yaml"] == [each.where for each in faults]
    for fault, file in zip(faults, ("weights/mine.pt", "images"), strict=False):
        assert fault.text.startswith(f"found '{file}', which is not on this machine; expected a f")
        assert "put it under this path into the folder ADVTRANSFER_DATA" in fault.text
    # Mistakes beside them are told apart.
    assert "found 'deep'; expected a valid integer" in faults[2].text
    assert "mine.pt" not in faults[2].text
