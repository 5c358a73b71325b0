"""Challenges: adversarial examples of others that break samples of a published model.

A challenge lies beside the records, as ``challenges/<id>.json``, and never changes them. What it broke
is folded in when the records are read (`advtransfer.result.evidence`), like the breaks of a battery:
`advtransfer challenge` has checked each example with the very model whose result it is about.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, cast

from advtransfer.errors import CacheError
from advtransfer.node import content_id
from advtransfer.result.battery_index import Ball, BatteryIndex
from advtransfer.result.bounded_reading import read_json
from advtransfer.result.validation import ID_PATTERN, field_type_faults, path_without_links
from advtransfer.types import Json
from advtransfer.types.metric_names import WORST_LABELS

CHALLENGE_FORMAT = 1
CHALLENGE_FOLDER = "challenges"
MAX_CHALLENGE_BYTES = 2**20
MAX_NAME_LENGTH = 200
CHALLENGE_FIELDS: Mapping[str, type | tuple[type, ...]] = {
    "format": int,
    "id": str,
    "result": str,
    "metric": str,
    "model": str,
    "test": str,
    "weights": str,
    "norm": str,
    "eps": (int, float),
    "of": int,
    "positions": list,
    "examples": str,
    "who": str,
    "date": str,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """Examples that broke samples of one fitted model.

    Attributes:
        result: Id of the challenged result.
        metric: The challenged robust accuracy.
        model: Id of the fit.
        test: Id of the test part.
        weights: Digest of the model's weights, on which every example was checked.
        norm: Norm of the ball.
        eps: Radius of the ball, in the unit of the inputs.
        of: Number of test samples.
        positions: Positions in the test part of the samples that fell, ascending.
        examples: sha256 of the file with the examples.
        who: The challenger.
        date: Day of the check (UTC, ISO 8601).
    """

    result: str
    metric: str
    model: str
    test: str
    weights: str
    norm: str
    eps: float
    of: int
    positions: Sequence[int]
    examples: str
    who: str
    date: str

    @property
    def id(self) -> str:
        """Digest of all but the date: a challenge that is made again is the same one."""
        return content_id({name: value for name, value in self._fields().items() if name != "date"})

    def to_json(self) -> dict[str, Json]:
        """Return the content of its file."""
        return {"format": CHALLENGE_FORMAT, "id": self.id, **self._fields()}

    def _fields(self) -> dict[str, Json]:
        names = [name for name in CHALLENGE_FIELDS if name not in ("format", "id")]
        fields = {name: getattr(self, name) for name in names}
        return fields | {"positions": list(self.positions)}


def challenge_path(folder: Path, id: str) -> Path:
    """Return the file of a challenge of a run folder or bundle."""
    return folder / CHALLENGE_FOLDER / f"{id}.json"


def challenge_examples(folder: Path, id: str) -> Path:
    """Return the file of a challenge's examples, which is there unless it is too large for a bundle."""
    return folder / CHALLENGE_FOLDER / f"{id}.npz"


def read_challenges(folder: Path) -> tuple[list[Challenge], dict[str, str]]:
    """Return the valid challenges of a run folder or bundle, and the faults of the others by path."""
    challenges: list[Challenge] = []
    faults: dict[str, str] = {}
    for path in sorted((folder / CHALLENGE_FOLDER).glob("*.json")):
        try:
            path_without_links(folder, path)
            value = read_json(path, limit=MAX_CHALLENGE_BYTES)
        except CacheError as error:
            faults[path.relative_to(folder).as_posix()] = str(error)
            continue
        fault = next(challenge_faults(value, id=path.stem), None)
        if fault is None:
            challenges.append(_challenge(cast("Mapping[str, Any]", value)))  # Any: checked above
        else:
            faults[path.relative_to(folder).as_posix()] = fault
    return challenges, faults


class CreditedChallenge(NamedTuple):
    """A challenge, and the samples that it was the first to break."""

    challenge: Challenge
    positions: Sequence[int]


def credit_challenges(challenges: Iterable[Challenge]) -> list[CreditedChallenge]:
    """Return challenges in the order of their days, each with the samples that no earlier one broke.

    Two challengers who work at the same time may break the same samples. Of one day, the first by id counts.
    A sample that fell in a smaller ball of the same norm has fallen in the larger one too.
    """
    credited: list[CreditedChallenge] = []
    for each in sorted(challenges, key=lambda challenge: (challenge.date, challenge.id)):
        ball = Ball(each.norm, each.eps)
        fallen = {
            position
            for earlier, _ in credited
            if (earlier.model, earlier.test) == (each.model, each.test)
            and ball.contains(Ball(earlier.norm, earlier.eps))
            for position in earlier.positions
        }
        own = [position for position in each.positions if position not in fallen]
        credited.append(CreditedChallenge(each, own))
    return credited


def fold_challenges(
    challenges: Iterable[Challenge], batteries: BatteryIndex, *, weights: Mapping[str, str]
) -> list[Challenge]:
    """Add challenges to an index, and return them, without those of other weights.

    Args:
        challenges: The challenges of a run.
        batteries: The index that results are folded with.
        weights: Digests of the weights of the run's fits, by id.
    """
    folded = [each for each in challenges if weights.get(each.model) == each.weights]
    for each in folded:
        ball = Ball(each.norm, each.eps)
        batteries.add_broken(
            model=each.model, test=each.test, ball=ball, of=each.of, positions=each.positions
        )
    return folded


def challenge_faults(value: object, *, id: str) -> Iterator[str]:
    """Yield what is wrong in the content of a challenge's file, as ``found ...; expected ...``."""
    if not isinstance(value, dict):
        yield "found no JSON object; expected a challenge"
        return
    faults = list(field_type_faults(value, CHALLENGE_FIELDS))
    yield from faults
    if faults:
        return
    if value["format"] != CHALLENGE_FORMAT:
        yield f"found format {value['format']!r}; expected {CHALLENGE_FORMAT}"
    for name in ("result", "model", "test", "weights", "examples"):
        if not ID_PATTERN.fullmatch(value[name]):
            yield f"found {name} {value[name][:80]!r}; expected 64 hexadecimal digits"
    if value["norm"] not in WORST_LABELS or not 0 < value["eps"] < float("inf"):
        yield f"found the ball {value['norm'][:20]} {value['eps']}; expected linf, l2 or l1, and eps > 0"
    if not 0 < len(value["who"]) <= MAX_NAME_LENGTH or len(value["date"]) > MAX_NAME_LENGTH:
        yield f"found a name of {len(value['who'])} characters; expected 1 to {MAX_NAME_LENGTH}"
    positions, of = value["positions"], value["of"]
    are_counts = all(type(position) is int and 0 <= position < of for position in positions)
    if not positions or not are_counts or positions != sorted(set(positions)):
        yield f"found other positions than ascending ones from 0 to {of - 1}"
    elif value["id"] != id or _challenge(value).id != id:
        yield f"found the id {str(value['id'])[:12]}; expected that of its content and its file"


def _challenge(value: Mapping[str, Any]) -> Challenge:  # Any: JSON that was checked
    fields = {name: value[name] for name in CHALLENGE_FIELDS if name not in ("format", "id")}
    return Challenge(**fields)
