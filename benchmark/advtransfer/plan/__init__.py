"""From a suite to its trials: every cell of the grid with its id, and why some are skipped."""

from advtransfer.plan.grid import make
from advtransfer.plan.nodes import Asked, asked
from advtransfer.plan.trials import Plan, Trial

__all__ = ["Asked", "Plan", "Trial", "asked", "make"]
