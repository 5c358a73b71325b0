"""How many canaries an evaluation, with the host's battery behind it, is not fooled by."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from advtransfer.errors import BadInput, Problem
from advtransfer.testing.canaries.catalogue import CANARIES
from advtransfer.testing.canaries.examine import Seen, examine
from advtransfer.testing.canaries.honest import Subject, digits, honest
from advtransfer.testing.canaries.oracle import plane_subject
from advtransfer.trial.battery import Battery, Threat
from advtransfer.types import Evaluation

Kind: TypeAlias = Literal["canary", "honest", "exact"]


@dataclass(frozen=True, slots=True)
class Row:
    """One model that was evaluated.

    Args:
        kind: ``canary`` (to be doubted), ``honest`` (not to be), ``exact`` (not to be below the exact value).
        name: Which one.
        strength: Of a canary.
        seen: What became of it.
        exact: The exact robust accuracy, where it is known.
    """

    kind: Kind
    name: str
    strength: float | None
    seen: Seen
    exact: float | None = None

    @property
    def good(self) -> bool:
        """Whether the evaluation passes here."""
        if self.kind == "canary":
            return self.seen.doubted
        if self.seen.doubted:
            return False
        return self.exact is None or self.seen.claimed is None or self.seen.claimed >= self.exact

    @property
    def outcome(self) -> str:
        """In a word."""
        if self.kind == "canary":
            return "caught" if self.good else "missed"
        if self.seen.doubted:
            return "flagged"
        return "fine" if self.good else "below exact"


def score(evaluation: Evaluation, *, threat: Threat, battery: Battery, seed: int = 0) -> Iterator[Row]:
    """Honest models, exact ones, then every canary at every strength, over a natural and a robust network.

    Args:
        evaluation: What is scored.
        threat: The ball that it attacks in; the exact models are fitted to it.
        battery: How much is done.
        seed: Draws the networks.

    Raises:
        BadInput: The evaluation refuses the honest models and the exact ones: what refuses all catches nothing.
    """
    subjects = {name: _subject(seed, robust=name == "robust") for name in ("natural", "robust")}
    fair = [
        Row("honest", f"{name} network", None, examine(evaluation, subject, battery=battery))
        for name, subject in subjects.items()
    ]
    plane, exact = plane_subject(seed, norm=threat.norm, eps=threat.eps)
    fair.append(Row("exact", "two classes, a plane", None, examine(evaluation, plane, battery=battery), exact))
    _measured(fair)
    yield from fair
    for name, canary in CANARIES.items():
        for strength in canary.strengths:
            for base, subject in subjects.items():
                seen = examine(evaluation, canary.spoil(subject, strength), battery=battery)
                yield Row("canary", f"{name} ({base})", strength, seen)


def _measured(fair: Sequence[Row]) -> None:
    if all(row.seen.judged == "refused" for row in fair):
        found = f"every model refused, the honest ones too, the first with {fair[0].seen.reason}"
        raise BadInput([Problem(found, "an evaluation that measures honest models", "correct its options")])


def _subject(seed: int, *, robust: bool) -> Subject:
    return Subject(honest(seed, robust=robust), digits().part("test"), honest(seed + 1000))
