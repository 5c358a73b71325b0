"""Worker: performs one job.

It builds what is missing, writes the records, and reports only after the records are on disk.
"""

from advtransfer.worker.perform import perform_job

__all__ = ["perform_job"]
