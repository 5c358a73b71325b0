"""Canaries: models that fool an evaluation that trusts its own numbers alone.

Each canary wraps an honest network, or is built like one, and seems more robust than it is. Honest
networks and models of exactly known robustness stand beside them. An evaluation is trustworthy if
the host's checks doubt every canary and no honest model.
"""

from typing import TYPE_CHECKING

from advtransfer.deprecation import deprecated_names
from advtransfer.testing.canaries.catalogue import CANARIES, Canary
from advtransfer.testing.canaries.honest_models import Subject, honest_network

__all__ = ["CANARIES", "Canary", "Subject", "honest_network"]


if not TYPE_CHECKING:  # mypy then reports an old name, as it should
    __getattr__ = deprecated_names(
        __name__,
        {
            "honest": "advtransfer.testing.canaries.honest_models:honest_network",
        },
    )
