"""Hypotheses that are corrected together, and the number of independent points among them.

Both are known from a plan, so that ``advtransfer plan`` can tell what a question can show.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeAlias

from advtransfer.leaderboard.questions_config import owning_evaluation
from advtransfer.planning import Trial

SourceParents: TypeAlias = Mapping[str, Sequence[str]]
"""The sources that a source is made from, by id; a source that is trained from scratch has none."""


class Hypothesis(NamedTuple):
    """That a predictor is associated with an outcome over the trials of one scope.

    Both are columns by `first_label`, so that a second label of one evaluation is no other hypothesis.
    """

    predictor: str
    outcome: str
    across: str
    trials: frozenset[str]


def first_label(column: str, trials: Sequence[Trial]) -> str:
    """Return a column by the first label that its evaluation has, ``a.accuracy`` for ``b.accuracy``.

    Two labels are of one evaluation if their results have the same ids in every trial.
    """
    labels = {label for trial in trials for label in trial.evaluations}
    owner = owning_evaluation(column, labels)
    if owner is None:
        return column
    ids = [trial.evaluations.get(owner) for trial in trials]
    equal = [label for label in labels if [trial.evaluations.get(label) for trial in trials] == ids]
    return min(equal) + column.removeprefix(owner)


def hypothesis_families(hypotheses: Iterable[Hypothesis]) -> list[tuple[Hypothesis, ...]]:
    """Return the distinct hypotheses in the families that are corrected together (Holm, 1979).

    A family is what is asked of one outcome over the same points, in however many questions it is
    written: a family that is cut after looking at the data would have too small p values. Points
    count as the same if two hypotheses share half of the trials of the smaller one, so leaving out
    or adding a few points makes no new family.
    """
    by_subject: dict[tuple[str, str], dict[Hypothesis, None]] = {}
    for hypothesis in hypotheses:
        subject = (hypothesis.outcome, hypothesis.across)
        by_subject.setdefault(subject, {})[hypothesis] = None
    families: list[tuple[Hypothesis, ...]] = []
    for same_subject in by_subject.values():
        # Predictors of one question have the same trials, which are compared once.
        trial_sets = list(dict.fromkeys(hypothesis.trials for hypothesis in same_subject))
        for group in _linked_groups(trial_sets, _share_half):
            family_sets = {trial_sets[index] for index in group}
            families.append(tuple(each for each in same_subject if each.trials in family_sets))
    return families


def family_sizes(hypotheses: Iterable[Hypothesis]) -> dict[Hypothesis, int]:
    """Return the number of hypotheses in the family of each."""
    sizes: dict[Hypothesis, int] = {}
    for family in hypothesis_families(hypotheses):
        sizes |= dict.fromkeys(family, len(family))
    return sizes


def count_origins(
    across: str, trials_by_label: Mapping[str, Sequence[Trial]], parents: SourceParents
) -> int:
    """Return the number of groups of points that share no source from which theirs descend.

    Copies of one trained network with more and more noise are one group, however many they are.
    Targets are tasks of their own, so across them every point is a group.
    """
    if across == "target":
        return len(trials_by_label)
    roots = [origins_of(trials, parents) for trials in trials_by_label.values()]
    return len(_linked_groups(roots, lambda first, second: not first.isdisjoint(second)))


def origins_of(trials: Iterable[Trial], parents: SourceParents) -> frozenset[str]:
    """Return the ids of the sources from which those of some trials descend in the end."""
    sources = {trial.builds[0] for trial in trials if trial.source is not None}
    return frozenset().union(*(_root_sources(id, parents) for id in sources))


def _root_sources(id: str, parents: SourceParents) -> frozenset[str]:
    """Return the sources that a source descends from in the end, itself where it has no parent."""
    # A content id hashes the ids of its inputs, so no source descends from itself.
    above = parents.get(id, ())
    if not above:
        return frozenset((id,))
    return frozenset().union(*(_root_sources(parent, parents) for parent in above))


def _share_half(first: frozenset[str], second: frozenset[str]) -> bool:
    return 2 * len(first & second) >= min(len(first), len(second))


def _linked_groups(
    sets: Sequence[frozenset[str]], are_linked: Callable[[frozenset[str], frozenset[str]], bool]
) -> list[list[int]]:
    """Return the positions of sets in groups that are connected by links between pairs."""
    groups: list[list[int]] = []
    for index, current in enumerate(sets):
        linked: list[int] = [index]
        separate: list[list[int]] = []
        for group in groups:
            if any(are_linked(sets[member], current) for member in group):
                linked += group
            else:
                separate.append(group)
        groups = [*separate, sorted(linked)]
    return groups
