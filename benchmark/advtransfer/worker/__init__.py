"""Worker.

Performs one job (build what is missing, write the records) and reports only after the records are
on disk.
"""

from advtransfer.worker.perform import perform_job

__all__ = ["perform_job"]
