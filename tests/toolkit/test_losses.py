from __future__ import annotations

from typing import get_args

import pytest
import torch

from advtransfer.toolkit.losses import regression_targets
from advtransfer.types import DataCard, Task

TARGETS: dict[Task, tuple[torch.Tensor, list[list[float]]]] = {
    "classes": (torch.tensor([1, 0]), [[0, 1], [1, 0]]),
    "attributes": (torch.tensor([[1.0, 0.0], [0.0, 0.0]]), [[0.5, -0.5], [-0.5, -0.5]]),
    "values": (torch.tensor([[2.5, -1.0], [0.0, 3.0]]), [[2.5, -1.0], [0.0, 3.0]]),
}


@pytest.mark.parametrize("task", get_args(Task))
def test_regression_targets_follow_the_task(task: Task) -> None:
    labels, expected = TARGETS[task]
    card = DataCard((1, 2, 2), (0.0, 1.0), task, 2, ("a", "b"), "test")

    targets = regression_targets(labels, card)

    assert targets.dtype == torch.float64
    assert targets.tolist() == expected
