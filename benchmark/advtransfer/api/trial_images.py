"""The test images of a trial, as its evaluations see them, with their keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from advtransfer.api.fitted_models import find_trial, trial_nodes
from advtransfer.api.suite_objects import PlacedObjects
from advtransfer.host import Host
from advtransfer.node import Node
from advtransfer.planning import Plan
from advtransfer.result import Run

if TYPE_CHECKING:
    from torch import Tensor


class TrialImages(NamedTuple):
    """Test images in the order in which a run measures them.

    Attributes:
        keys: Numbers of the images, as their data set numbers them and a challenge names them,
            ``(N,)`` int64.
        inputs: Images ``(N, ...)`` float32, in the bounds of the data set.
        labels: Classes ``(N,)`` int64, or attributes ``(N, K)``.
    """

    keys: Tensor
    inputs: Tensor
    labels: Tensor


def load_test_images(run: Run, plan: Plan, name: str, placed: PlacedObjects | None) -> TrialImages:
    """Return the test images of a trial.

    Args:
        run: The run folder.
        plan: Its plan.
        name: The trial's name, or the first digits of its id.
        placed: The suite and the modules in memory of the call that made the run; None for a run
            that was opened.

    Raises:
        BadInput: There is no such trial, or its suite is no longer there.
    """
    import torch

    from advtransfer.toolkit.datasets import all_positions
    from advtransfer.worker.object_builder import dataset_of, drawn_test_part

    host = Host.discover()
    _, test = trial_nodes(run, find_trial(plan, name), placed, host)
    data = test.inputs["data"]
    assert isinstance(data, Node)
    samples = drawn_test_part(dataset_of(host, data), test)
    positions = all_positions(samples)
    keys = torch.tensor(list(samples.keys), dtype=torch.int64)
    return TrialImages(keys, samples.inputs(positions), samples.labels(positions))
