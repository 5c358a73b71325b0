"""``choose``: options of a transfer that the labelled target images choose, never the test part.

The word is a part of the transfer's node: the node has the options of the first candidate, and
under ``choose`` what to choose by and the options in which the candidates differ.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, cast

from advtransfer.errors import Location
from advtransfer.node import Node
from advtransfer.options import Options
from advtransfer.precheck import CellOutline, Misfit, precheck_of
from advtransfer.suite import validators
from advtransfer.suite.entry import SuiteEntry, listed_values
from advtransfer.suite.located import Located, Problems, join_names, set_at_path
from advtransfer.suite.outlines import Outlines
from advtransfer.suite.sections import CHOOSE, CHOOSE_KEYS
from advtransfer.toolkit.adversary import Adversary
from advtransfer.toolkit.option_checks import radius_misfits
from advtransfer.types import Json
from advtransfer.types.metric_names import VALIDATION_LABEL, VALIDATION_METRICS

CRITERIA: Mapping[str, str] = {
    f"{VALIDATION_LABEL}.{metric}": column for metric, column in VALIDATION_METRICS.items()
}
"""The metrics to choose by, and their names among a fit's facts and curves."""

MAX_CANDIDATES = 100
MAX_FOLDS = 100
ATTACK_STEPS = 10
"""Steps of eps / 4 of the attack that a training adversary's ball is searched with by default."""


def attack_option(*, attack: Adversary | None = None) -> Adversary | None:
    """Return the attack; its signature describes the option `attack` to validators and schemas."""
    return attack


ATTACK_OPTIONS = Options.from_factory(attack_option)


@dataclass(frozen=True, slots=True)
class Choice:
    """The choice of a transfer's options.

    Args:
        by: The metric to choose by, the highest first.
        among: Dotted names of the options to choose.
        candidates: Top-level options of each candidate that differ between candidates.
        folds: Number of folds for targets without a validation part; None for none.
        attack: The attack behind a robust accuracy.
    """

    by: str
    among: tuple[str, ...]
    candidates: tuple[Mapping[str, Json], ...]
    folds: int | None
    attack: Mapping[str, Json] | None

    @classmethod
    def of_node(cls, node: Node) -> Choice | None:
        """Return the choice that a transfer or fit asks for, or None."""
        value = cast("Mapping[str, Any] | None", node.options.get(CHOOSE))  # Any: checked JSON
        if value is None:
            return None
        return cls(
            value["by"],
            tuple(value["among"]),
            tuple(value["candidates"]),
            value["folds"],
            value["attack"],
        )

    def candidate_node(self, node: Node, index: int) -> Node:
        """Return the node of a candidate: the same as that of an entry with its options."""
        heads = {name.partition(".")[0] for name in self.among}
        options = {
            name: value
            for name, value in node.options.items()
            if name != CHOOSE and name not in heads
        }
        return replace(node, options={**options, **self.candidates[index]})

    def settings(self, index: int) -> dict[str, Json]:
        """Return the chosen options of a candidate by dotted name; None for a default left out."""
        return {name: _value_at(self.candidates[index], name) for name in self.among}


def _value_at(options: Mapping[str, Json], name: str) -> Json:
    value: Json = options
    for step in name.split("."):
        if not isinstance(value, Mapping):
            return None
        value = value.get(step)
    return value


@dataclass(frozen=True, slots=True)
class ChoiceReader:
    """Reader of an entry's ``choose``; it collects problems.

    Args:
        entry: The entry, of a transfer.
        swept: Dotted names of the options that the entry's sweep sets.
    """

    entry: SuiteEntry
    swept: Sequence[str]
    problems: Problems

    @property
    def word(self) -> Located:
        """The value of ``choose``."""
        return self.entry.words[CHOOSE]

    def candidate_options(self, options: Located) -> list[Located]:
        """Return the entry's options for each candidate; none where ``among`` has mistakes."""
        among = self.word.child("among")
        if among is None or among.value is None:
            expected = "`among`: a mapping of options to lists of values"
            self._add(self.word.name_location, "no `among` in `choose`", expected, "add it")
            return []
        values = self._listed_options(among)
        if not values:
            return []
        count = math.prod(map(len, values.values()))
        if not 2 <= count <= MAX_CANDIDATES:
            expected = f"from 2 to {MAX_CANDIDATES}"
            self._add(among.name_location, f"{count:,} candidates", expected, "change the lists")
            return []
        candidates = []
        for combination in product(*values.values()):
            candidate = options
            for name, value in zip(values, combination, strict=True):
                candidate = set_at_path(candidate, name.split("."), value)
            candidates.append(candidate)
        return candidates

    def choose_node(self, nodes: Sequence[Node], outlines: Outlines) -> Node | None:
        """Return the node that chooses among the candidates' nodes, or None after a problem."""
        noted_before = self.problems.noted_count
        parts = validators.require_closed_mapping(
            self.word, CHOOSE_KEYS, of="`choose`", problems=self.problems
        )
        by = self._read_criterion(parts.get("by"))
        folds = None
        if "folds" in parts:
            expected = f"a number of folds from 2 to {MAX_FOLDS}"
            folds = validators.require_integer(
                parts["folds"],
                at_least=2,
                at_most=MAX_FOLDS,
                expected=expected,
                problems=self.problems,
            )
        attack = self._read_attack(parts.get("attack"), by, nodes, outlines)
        if self.problems.noted_count > noted_before:
            return None
        among = self._dotted_names()
        heads = {name.partition(".")[0] for name in among}
        candidates: list[Json] = [
            {name: value for name, value in node.options.items() if name in heads} for node in nodes
        ]
        choice: dict[str, Json] = {
            "by": by,
            "among": among,
            "candidates": candidates,
            "folds": folds,
            "attack": attack,
        }
        return replace(nodes[0], options={**nodes[0].options, CHOOSE: choice})

    def _dotted_names(self) -> list[str]:
        among = self.word.child("among")
        return list(among.value) if among and isinstance(among.value, Mapping) else []

    def _listed_options(self, among: Located) -> dict[str, tuple[Located, ...]]:
        """Return the values of each option, or an empty mapping after a problem."""
        noted_before = self.problems.noted_count
        listed = validators.require_mapping(
            among, expected="a mapping of options to lists", problems=self.problems
        )
        values = {}
        for name, value in listed.items():
            values[name] = listed_values(name, value, self.entry, self.problems, of="`choose`")
            self._check_name(name, value, [other for other in listed if other != name])
        if not listed:
            self._add(among.location, "no option", "at least one option", "name one")
        return {} if self.problems.noted_count > noted_before else values

    def _check_name(self, name: str, value: Located, others: Sequence[str]) -> None:
        option = self.entry.component.options.fields.get(name.partition(".")[0])
        if option is not None and not (option.is_plain and option.in_id):
            expected = "an option that changes the fit, with a value of its own"
            self._add(value.name_location, f"{name!r} to choose", expected, "remove it")
        for other in self.swept:
            if _overlaps(name, other):
                self._add(
                    value.name_location,
                    f"{name!r} in `choose` and {other!r} in `sweep`",
                    "an option that is chosen, or one that is swept",
                    "remove one of them: a sweep makes a row of each value",
                )
        for other in others:
            if _overlaps(name, other) and name > other:
                self._add(
                    value.name_location,
                    f"{name!r} beside {other!r}",
                    "each option once",
                    "remove one of them",
                )

    def _read_criterion(self, value: Located | None) -> str | None:
        if value is not None and value.value in CRITERIA:
            return str(value.value)
        location = self.word.name_location if value is None else value.location
        found = "no `by` in `choose`" if value is None else value.shown_text()
        expected = f"the metric to choose by: {join_names(CRITERIA)}"
        self._add(location, found, expected, "write one of these")
        return None

    def _read_attack(
        self, value: Located | None, by: str | None, nodes: Sequence[Node], outlines: Outlines
    ) -> Json:
        """Return the attack as JSON, by default PGD in the ball that all candidates train for."""
        if by != "validation.robust_accuracy":
            if value is not None and by is not None:
                expected = "none, since `by` is no robust accuracy"
                self._add(value.name_location, "`attack`", expected, "remove it")
            return None
        if value is not None:
            plain: Json = value.to_plain()
        else:
            balls = {_training_ball(node, self.entry, outlines) for node in nodes}
            ball = next(iter(balls)) if len(balls) == 1 else None
            if ball is None:
                self._add(
                    self.word.name_location,
                    "no `attack` in `choose`",
                    "an attack for validation.robust_accuracy, since the candidates do not train "
                    "against one adversary",
                    "add `attack: {norm: linf, eps: 8/255, steps: 10}`",
                )
                return None
            norm, eps = ball
            plain = {"norm": norm, "eps": eps, "steps": ATTACK_STEPS, "step_size": eps / 4}
        values, faults = ATTACK_OPTIONS.validate({"attack": plain})
        for fault in faults:
            inner = value.find_innermost(fault.path[1:]) if value else self.word
            expected = validators.in_suite_words(fault.expected)
            self._add(inner.location, fault.found, expected, "correct `attack`")
        return values.get("attack")

    def _add(self, location: Location, found: str, expected: str, next_step: str) -> None:
        self.problems.add(location, found=found, expected=expected, next_step=next_step)


def _overlaps(name: str, other: str) -> bool:
    """Return True where two dotted names set one option, or one sets a part of the other."""
    return f"{name}.".startswith(f"{other}.") or f"{other}.".startswith(f"{name}.")


def _training_ball(node: Node, entry: SuiteEntry, outlines: Outlines) -> tuple[str, float] | None:
    """Return the norm and radius of a candidate's training adversary, or None."""
    ball = precheck_of(entry.component.factory).ball
    return None if ball is None else ball(outlines.factory_options(node))


def choice_misfits(node: Node, around: CellOutline, outlines: Outlines) -> Iterator[Misfit]:
    """Yield what cannot work in a transfer's choice in these surroundings, for any candidate."""
    choice = Choice.of_node(node)
    if choice is None:
        yield from outlines.node_misfits(node, around)
        return
    yield from _data_misfits(choice, around)
    if choice.attack is not None:
        attack = Adversary(**cast("dict[str, Any]", choice.attack))  # Any: checked JSON
        path = (CHOOSE, "attack", "eps")
        yield from radius_misfits(path, attack.eps, attack.norm, around.target)
    # Every candidate is fitted without a validation part, and so is the model that is returned.
    fitted = around if around.validation is None else replace(around, validation=0.0)
    for index in range(len(choice.candidates)):
        candidate = choice.candidate_node(node, index)
        for misfit in outlines.node_misfits(candidate, fitted):
            yield _at_candidate(misfit, choice, index)


def _data_misfits(choice: Choice, around: CellOutline) -> Iterator[Misfit]:
    """Yield misfits of the metric to the task, and of the data to choose by."""
    task = around.target.task
    tasks = ("classes",) if choice.attack is not None else ("classes", "attributes")
    if task is not None and task not in tasks:
        expected = f"labels of the task {' or '.join(tasks)}"
        yield Misfit((CHOOSE, "by"), expected, "take another metric", f"{choice.by} of {task}")
    if around.validation != 0:
        return
    if choice.folds is None:
        found = f"`choose` with `validation: 0` (n = {around.n})"
        next_step = "give the target a `validation` share, or `choose` a number of `folds`"
        yield Misfit((CHOOSE,), "labelled images to choose by", next_step, found)
    elif isinstance(around.n, int) and choice.folds > around.n:
        # Only this cell is skipped: larger subsets of the suite have enough images.
        found = f"cross-validation over {choice.folds} folds of {around.n} images"
        expected = f"at most {around.n} folds"
        yield Misfit((CHOOSE, "folds"), expected, "take fewer folds", found, skips=True)


def _at_candidate(misfit: Misfit, choice: Choice, index: int) -> Misfit:
    """Return a candidate's misfit with its value, where its option is one to choose."""
    path = ".".join(str(step) for step in misfit.path)
    for name, value in choice.settings(index).items():
        if path and _overlaps(path, name):
            found = misfit.found or f"{name} {value!r}"
            return replace(misfit, path=(CHOOSE, "among", name), found=found)
    return misfit
