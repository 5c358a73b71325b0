"""The test images of a trial, as its evaluations see them, with their keys."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from advtransfer.api.fitted_models import find_trial, trial_nodes
from advtransfer.api.suite_objects import PlacedObjects
from advtransfer.errors import BadInput, Problem
from advtransfer.host import Host
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
    """Return the test images of a trial; the arguments are those of `load_fitted_model`.

    Raises:
        BadInput: There is no such trial, it was not measured, or its suite or the data that it was
            measured on are no longer there.
    """
    import torch

    from advtransfer.publication.example_files import MissingTestPart, local_test_part
    from advtransfer.toolkit.datasets import all_positions

    host = Host.discover()
    trial = find_trial(plan, name)
    _, test = trial_nodes(run, trial, placed, host)
    ids = [id for label, each in trial.evaluations.items() for id in each if label not in plan.also]
    try:
        record = next(filter(None, map(run.find_record, ids)), None)
        if record is None:
            raise MissingTestPart("no evaluation of it was measured")
        samples = local_test_part(host, test, record)
    except MissingTestPart as error:
        found = f"no test images of {trial.name} ({error})"
        raise BadInput([Problem(found, "the data that it was measured on", "get them")]) from error
    positions = all_positions(samples)
    keys = torch.tensor(list(samples.keys), dtype=torch.int64)
    return TrialImages(keys, samples.inputs(positions), samples.labels(positions))
