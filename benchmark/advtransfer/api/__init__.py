"""The Python interface: what the commands do, as functions whose results notebooks show as tables.

`advtransfer` itself offers these names and imports this package when one of them is used.
"""

from advtransfer.api.report import Report
from advtransfer.api.report import open_run as open
from advtransfer.api.run import run

__all__ = ["Report", "open", "run"]
