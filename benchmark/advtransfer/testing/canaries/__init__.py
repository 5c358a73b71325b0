"""Models that fool an evaluation which looks only at its own numbers, honest ones beside them, and an exact oracle.

Each canary wraps or is built like an honest network, and seems more robust than it is. An evaluation can be believed
where the host's checks doubt every canary and no honest model.
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
