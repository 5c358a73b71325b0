"""`foolbox/autoattack: fast` beside the original AutoAttack, as packaged in `pyautoattack`, on 100 MNIST images.

    ADVTRANSFER_DATA=FOLDER python tests/performance/autoattack_original.py

Needs the extra ``autoattack``. The original takes about a minute, so each attacks once. More networks and balls, and
`standard`, are compared by ``tools/agreement.py``.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import time
from collections.abc import Callable

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import torch
from side_by_side.claims import NEEDS_MNIST, at_most, report
from side_by_side.mnist import EPS, first_test_images, trained_network

from advtransfer.testing.agreement import AttackResult, PyAutoAttack, run_evaluation, run_other
from advtransfer.testing.canaries.honest_models import Subject
from advtransfer.toolkit.model_modes import freeze_weights
from advtransfer.worker.verification import ThreatModel
from advtransfer_foolbox.components.autoattack import autoattack

IMAGES, THREAT = 100, ThreatModel("linf", EPS)
MOST_TIME, MOST_GRADIENTS, MOST_MORE_LEFT = 1 / 6, 1 / 4, 1
ABSENT = "all of it, since pyautoattack is absent: pip install 'advtransfer[autoattack]'"


def timed(attack: Callable[[], AttackResult]) -> tuple[AttackResult, float]:
    """Return the result of an attack, and its CPU seconds."""
    began = time.process_time()
    result = attack()
    return result, time.process_time() - began


def main() -> int:
    """Compare strength, gradients and time."""
    if not os.environ.get("ADVTRANSFER_DATA"):
        return report([], not_measured=[NEEDS_MNIST])
    if importlib.util.find_spec("pyautoattack") is None:
        return report([], not_measured=[ABSENT])
    torch.set_num_threads(1)
    model = trained_network(robust=True)
    freeze_weights(model)
    subject = Subject(model, first_test_images(IMAGES), model)
    evaluation = autoattack(norm="linf", eps=EPS, version="fast", counts=True)
    own, own_seconds = timed(lambda: run_evaluation(evaluation, subject, THREAT))
    other, other_seconds = timed(lambda: run_other(PyAutoAttack(), subject, THREAT))
    assert own.gradients is not None
    assert other.gradients is not None
    what = f"autoattack fast on {IMAGES} MNIST images"
    left, other_left = int(own.left.sum()), int(other.left.sum())
    return report(
        [
            at_most(
                f"{what}: time beside pyautoattack",
                own_seconds / other_seconds,
                MOST_TIME,
                times=f"{own_seconds:.2f} s, pyautoattack {other_seconds:.2f} s, once",
            ),
            at_most(
                f"{what}: gradients beside pyautoattack",
                own.gradients / other.gradients,
                MOST_GRADIENTS,
                times=f"{own.gradients:.0f} an image, pyautoattack {other.gradients:.0f}",
            ),
            at_most(
                f"{what}: images left robust beyond those that pyautoattack leaves",
                left - other_left,
                MOST_MORE_LEFT,
                times=f"{left} left, pyautoattack {other_left}",
            ),
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
