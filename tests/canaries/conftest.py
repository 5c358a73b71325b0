"""Networks that are trained once for all tests of canaries."""

from __future__ import annotations

import pytest

from advtransfer.host import Host
from advtransfer.testing.canaries import Subject, honest
from advtransfer.testing.canaries.honest import digits
from advtransfer.types import Evaluation


@pytest.fixture(scope="session")
def natural() -> Subject:
    """A naturally trained network, and one of another seed as its source."""
    return Subject(honest(0), digits().part("test"), honest(1))


@pytest.fixture(scope="session")
def pgd() -> Evaluation:
    """The quickstart's PGD."""
    component = Host.discover().component("foolbox/pgd", "evaluation")
    built = component.build({"norm": "linf", "eps": 0.1, "steps": 20, "step_size": 0.0125}, {})
    assert hasattr(built, "measure")
    return built
