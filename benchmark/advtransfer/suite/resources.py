"""``resources`` of a suite or an entry: the CPU cores and GPUs that its jobs reserve; never part of an id."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from advtransfer.suite import validators
from advtransfer.suite.located import Located, Problems

RESOURCES = "resources"
RESOURCE_KEYS = ("cpus", "gpus")
_EXPECTED = {
    "cpus": "a number of CPU cores above 0",
    "gpus": "a share of one GPU above 0, or a whole number of GPUs",
}


@dataclass(frozen=True, slots=True)
class Resources:
    """CPU cores and GPUs; None where nothing is written, which leaves the number to the run."""

    cpus: float | None = None
    gpus: float | None = None

    @classmethod
    def largest(cls, resources: Iterable[Resources]) -> Resources:
        """Return the largest of each number: what a job needs that does all of this."""
        listed = list(resources)
        return cls(
            max((one.cpus for one in listed if one.cpus is not None), default=None),
            max((one.gpus for one in listed if one.gpus is not None), default=None),
        )

    def or_else(self, other: Resources) -> Resources:
        """Return these numbers, with those of `other` where nothing is written."""
        return Resources(
            other.cpus if self.cpus is None else self.cpus,
            other.gpus if self.gpus is None else self.gpus,
        )

    def reserved(self, *, threads: int, device: str) -> tuple[float, float]:
        """Return the CPU cores and GPUs that a job reserves: what is written, else a core a thread and one GPU."""
        on_gpu = device.startswith("cuda")
        return self.cpus or float(threads), (self.gpus or 1.0) if on_gpu else 0.0


NO_RESOURCES = Resources()


def read_resources(value: Located | None, *, problems: Problems) -> Resources:
    """Return the written resources, or add problems and return those without mistakes."""
    if value is None or value.value is None:
        return NO_RESOURCES
    written = validators.require_closed_mapping(
        value, RESOURCE_KEYS, of=RESOURCES, problems=problems
    )
    numbers: dict[str, float] = {}
    for name, item in written.items():
        number = item.value
        if isinstance(number, int | float) and _is_amount(number, shared=name == "cpus"):
            numbers[name] = float(number)
            continue
        validators.add_mismatch(
            item,
            expected=_EXPECTED[name],
            next_step=validators.correction_step(item),
            problems=problems,
        )
    return Resources(**numbers)


def _is_amount(number: float, *, shared: bool) -> bool:
    """Return whether a number can be reserved; of several devices only whole ones can, unless they are shared."""
    # In Python, True is the number 1.
    is_positive = not isinstance(number, bool) and number > 0
    return is_positive and (shared or number <= 1 or float(number).is_integer())
