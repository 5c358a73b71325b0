"""What a worker does with one job: build what is missing, write the records, and only then report."""

from advtransfer.trial.perform import perform

__all__ = ["perform"]
