"""The Python interface: what the commands do, as functions whose results notebooks show as tables.

`advtransfer` itself offers these names and imports this package when one of them is used.
"""

from advtransfer.api.arrays import dataset
from advtransfer.api.evaluate import evaluate
from advtransfer.api.in_memory import source
from advtransfer.api.report import Report
from advtransfer.api.report import open_run as open
from advtransfer.api.run import run

__all__ = ["Report", "dataset", "evaluate", "open", "run", "source"]
