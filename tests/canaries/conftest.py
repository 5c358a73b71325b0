"""Networks that are trained once for all tests of canaries."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from advtransfer.host import Host
from advtransfer.testing.canaries import Subject, honest_network
from advtransfer.testing.canaries.honest_models import digits_dataset
from advtransfer.types import Evaluation
from advtransfer.worker.verification.config import Norm


@pytest.fixture(scope="session")
def natural() -> Subject:
    """A naturally trained network, and one of another seed as its source."""
    return Subject(honest_network(0), digits_dataset().part("test"), honest_network(1))


@pytest.fixture(scope="session")
def fast() -> Callable[[Norm], Evaluation]:
    """The fast version of AutoAttack in each norm, as shipped suites have it."""
    component = Host.discover().component("foolbox/autoattack", "evaluation")
    radii: dict[Norm, float] = {"linf": 0.1, "l2": 0.5, "l1": 2.0}

    def build(norm: Norm) -> Evaluation:
        built = component.build({"norm": norm, "eps": radii[norm], "version": "fast"}, {})
        assert hasattr(built, "measure")
        return built

    return build


@pytest.fixture(scope="session")
def pgd() -> Callable[[Norm], Evaluation]:
    """PGD in each norm; in l_inf the quickstart's. In l_1 it needs many steps, and with 20 it is rightly doubted."""
    component = Host.discover().component("foolbox/pgd", "evaluation")
    asked: dict[Norm, tuple[float, int]] = {"linf": (0.1, 20), "l2": (0.5, 20), "l1": (2.0, 100)}

    def build(norm: Norm) -> Evaluation:
        eps, steps = asked[norm]
        built = component.build(
            {"norm": norm, "eps": eps, "steps": steps, "step_size": eps / 8}, {}
        )
        assert hasattr(built, "measure")
        return built

    return build
