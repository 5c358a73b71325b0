from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch
from torch import Tensor

from advtransfer_foolbox.row_block import STEPS_BETWEEN_LOOKS, look_period, run_block

CPU, GPU = torch.device("cpu"), torch.device("cuda")


@dataclass
class Countdown:
    """Each sample needs its own number of steps; a step is taken in all rows, those of others too."""

    needs: Tensor
    rows: int
    steps: int = 0
    stored: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.missing = torch.zeros(self.rows, dtype=torch.int64)
        self.taken = torch.zeros_like(self.missing)

    def load(self, rows: Tensor, samples: Tensor) -> None:
        self.missing[rows] = self.needs[samples]
        self.taken[rows] = 0

    def take_step(self) -> None:
        self.steps += 1
        self.taken += self.missing > 0
        self.missing -= (self.missing > 0).long()

    def finished(self) -> Tensor:
        return self.missing == 0

    def store(self, rows: Tensor, samples: Tensor) -> None:
        for row, sample in zip(rows.tolist(), samples.tolist(), strict=True):
            assert sample not in self.stored
            self.stored[sample] = int(self.taken[row])


@pytest.mark.parametrize("count", [0, 1, 5, 64, 65, 300])
def test_every_sample_is_stored_once_after_its_own_number_of_steps(count: int) -> None:
    needs = torch.randint(1, 13, (count,), generator=torch.Generator().manual_seed(count))
    block = Countdown(needs, 64)
    progress: list[int] = []
    run_block(block, count, rows=64, steps=12, device=CPU, on_progress=progress.append)

    assert block.stored == dict(enumerate(needs.tolist()))
    assert progress == sorted(progress)
    assert progress[-1:] == ([count] if count else [])


def test_rows_of_finished_samples_go_to_waiting_ones() -> None:
    # One slow sample, whose row alone would take 100 steps, and 63 rows for the others' 640 steps.
    needs = torch.tensor([100] + [1] * 640)
    block = Countdown(needs, 64)
    run_block(block, len(needs), rows=64, steps=100, device=CPU, on_progress=lambda done: None)

    assert block.steps == 100


@pytest.mark.parametrize(
    ("steps", "period"), [(1, 1), (7, 7), (15, 15), (16, 8), (20, 10), (40, 8), (50, 10), (100, 10)]
)
def test_on_a_gpu_looks_are_rare_and_waste_no_step(steps: int, period: int) -> None:
    assert period == look_period(steps, GPU)
    assert steps % period == 0
    assert period >= min(steps, STEPS_BETWEEN_LOOKS)


def test_on_the_cpu_the_host_looks_after_each_step() -> None:
    assert {1} == {look_period(steps, CPU) for steps in (1, 20, 100)}
