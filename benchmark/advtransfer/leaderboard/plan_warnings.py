"""Warnings about a plan: what its page will not be able to show, known before anything is run.

They are no errors, since a first look may be all that a suite is for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

from advtransfer.host import Host
from advtransfer.leaderboard.baselines import requested_baselines
from advtransfer.leaderboard.claim_correlation import trials_by_training
from advtransfer.leaderboard.claims_config import read_claims, registered_commit
from advtransfer.leaderboard.contrasts import named_rows, read_contrast, unmatched_reason
from advtransfer.leaderboard.figure_warnings import figure_warnings
from advtransfer.leaderboard.markdown import count_noun
from advtransfer.leaderboard.questions_config import Question, owning_evaluation, read_questions
from advtransfer.leaderboard.questions_families import (
    Hypothesis,
    SourceParents,
    count_origins,
    family_sizes,
    first_label,
)
from advtransfer.leaderboard.questions_points import QuestionScope, trials_by_scope
from advtransfer.node import Node
from advtransfer.planning import Plan, Trial
from advtransfer.planning.nodes import SuiteIndex
from advtransfer.statistics.correlation import (
    MIN_POINTS,
    MIN_POINTS_TO_RESAMPLE,
    least_rank_p,
)
from advtransfer.suite import Suite
from advtransfer.suite.further_tests import are_numbered, select_same_data
from advtransfer.suite.outlines import Outlines

WarningKind: TypeAlias = Literal[
    "replicates", "baseline", "answer", "question", "claim", "figure", "classes"
]
MAX_NAMES = 3
"""Names written out in one warning."""
MIN_TRAININGS = 3
"""Trainings whose t-interval says something: with two it has 1 degree of freedom."""
SIGNIFICANCE_LEVEL = 0.05


class PlanWarning(NamedTuple):
    """One warning: its kind for programs, and its text for people."""

    kind: WarningKind
    text: str


def plan_warnings(plan: Plan, suite: Suite, host: Host) -> list[PlanWarning]:
    """Return what the page of a plan cannot show, or shows with little weight."""
    trials = [trial for trial in plan.trials if not trial.skipped]
    outlines = Outlines(host)
    texts: dict[WarningKind, Iterable[str]] = {
        "replicates": _replicate_warnings(plan, trials),
        "baseline": _baseline_warnings(plan, trials),
        "answer": _answer_warnings(plan, trials),
        "question": _question_warnings(plan, suite),
        "claim": _claim_warnings(plan, trials, suite),
        "figure": figure_warnings(plan, trials, suite, host, outlines),
        "classes": _class_warnings(suite, outlines),
    }
    return [PlanWarning(kind, text) for kind, of_kind in texts.items() for text in of_kind]


RowKey: TypeAlias = "tuple[str | None, str | None, str, int | str, str]"


def _trials_by_row(trials: Iterable[Trial]) -> dict[RowKey, list[Trial]]:
    rows: dict[RowKey, list[Trial]] = {}
    for trial in trials:
        key = (trial.row, trial.adapter, trial.target, trial.n, trial.transfer)
        rows.setdefault(key, []).append(trial)
    return rows


def _replicate_warnings(plan: Plan, trials: Iterable[Trial]) -> Iterator[str]:
    """Yield the rows whose intervals rest on two replicates: t with 1 degree of freedom is 12.7."""
    by_trainings: dict[str, None] = {}
    by_seeds: dict[str, None] = {}
    for (row, _, target, n, transfer), of_row in _trials_by_row(trials).items():
        training_count = len({trial.replicate for trial in of_row})
        # All seeds of a deterministic transfer to all images are one trial.
        is_one_trial = n == "all" and transfer in plan.deterministic
        seed_count = 1 if is_one_trial else len({trial.seed for trial in of_row})
        # Trainings are the units where a source has several, else its subset seeds are.
        if training_count == 2:
            by_trainings[str(row)] = None
        elif training_count == 1 and seed_count == 2:
            by_seeds[f"{target} n={n}"] = None
    for names, unit in ((by_trainings, "trainings"), (by_seeds, "subset seeds")):
        if names:
            yield (
                f"2 {unit} of {_names_text(names)}: their intervals have 1 degree of freedom, and "
                "say next to nothing; 3 or more are needed"
            )


def _baseline_warnings(plan: Plan, trials: Iterable[Trial]) -> Iterator[str]:
    """Yield baselines with one training beside rows with several."""
    trainings: dict[str, set[int | None]] = {}
    for trial in trials:
        if trial.row is not None:
            trainings.setdefault(trial.row, set()).add(trial.replicate)
    replicated = [row for row, replicates in trainings.items() if len(replicates) > 1]
    for baseline in requested_baselines(plan.leaderboard):
        has_one = isinstance(baseline, str) and len(trainings.get(baseline, ())) == 1
        if has_one and replicated:
            yield (
                f"the baseline {baseline!r} has one training and {_names_text(replicated)} several: "
                "the variation between trainings of the baseline is not measured"
            )


def _answer_warnings(plan: Plan, trials: Iterable[Trial]) -> Iterator[str]:
    """Yield a contrast of `answer` that compares no planned rows."""
    contrast = read_contrast(plan.leaderboard)
    if contrast is not None and contrast.is_stated:
        reason = unmatched_reason(contrast, named_rows(trials))
        if reason:
            yield reason


def _claim_warnings(plan: Plan, trials: Sequence[Trial], suite: Suite) -> Iterator[str]:
    """Yield claims that cannot be answered, and a suite whose claims name no commit."""
    claims = [claim for claim in read_claims(plan.leaderboard) if claim.kind]
    if claims and not registered_commit(plan.leaderboard):
        yield (
            "its claims are exploratory: `registered` names no commit that held them before the run; commit the "
            "suite, then write the commit there"
        )
    tables = named_rows(trials)
    for claim in claims:
        for contrast in filter(None, (claim.contrast, claim.minus)):
            if reason := unmatched_reason(contrast, tables):
                yield f"claim {claim.name}: {reason.replace('`answer`', 'it')}"
        if claim.question is None:
            continue
        if claim.per_training:
            count = len(trials_by_training(claim.question, plan, source_parents(suite)))
            if count < MIN_TRAININGS:
                trainings = count_noun(count, "training")
                yield f"claim {claim.name}: {trainings}, and an interval needs {MIN_TRAININGS}"
        elif (places := len(trials_by_scope(claim.question, plan))) != 1:
            yield f"claim {claim.name}: `given` selects {places} places; one is needed"


def _class_warnings(suite: Suite, outlines: Outlines) -> Iterator[str]:
    """Yield the further data sets of `also` whose classes are those of the target by their numbers alone."""
    for target in suite.targets:
        for data in target.also:
            cells = (target.data, data)
            known = [outlines.outline_of(cell.node) for cell in cells]
            unnamed = [
                f"the names of {cell.label} are only numbers"
                if outline.names
                else f"no names of {cell.label} are known before it is read"
                for cell, outline in zip(cells, known, strict=True)
                if are_numbered(outline.names)
            ]
            is_classified = all(outline.task in (None, "classes") for outline in known)
            if unnamed and is_classified and not select_same_data(target.data.node, data.node):
                yield (
                    f"target {target.key}: nothing shows that class 0, 1, ... of {data.label} in `also` is class 0, "
                    f"1, ... of {target.data.label} ({'; '.join(unnamed)}); check that both have the same classes "
                    "in the same order"
                )


def _question_warnings(plan: Plan, suite: Suite) -> Iterator[str]:
    """Yield what the questions of a plan cannot answer, in the order of the suite."""
    all_questions = read_questions(plan.leaderboard)
    for question in all_questions:
        if question.is_across_images and not any(map(question.selects_trial, plan.trials)):
            yield f"the question on {question.outcome} across images selects no trial"
    questions = [question for question in all_questions if not question.is_across_images]
    places = [trials_by_scope(question, plan) for question in questions]
    parents = source_parents(suite)
    sizes = family_sizes(
        hypothesis
        for question, scopes in zip(questions, places, strict=True)
        for labelled in scopes.values()
        for hypothesis in _hypotheses(question, labelled)
    )
    labels = {label for trial in plan.trials for label in trial.evaluations}
    for number, (question, scopes) in enumerate(zip(questions, places, strict=True), start=1):
        name = f"question {number} ({question.outcome} across {question.across}s)"
        if not scopes:
            yield f"{name} selects no trial"
        reasons: dict[str, list[QuestionScope]] = {}
        for scope, labelled in scopes.items():
            family_size = max(sizes[each] for each in _hypotheses(question, labelled))
            measured = _measured_points(question, labelled, labels)
            for reason in _scope_reasons(question, measured, parents, family_size):
                reasons.setdefault(reason, []).append(scope)
        for reason, at in reasons.items():
            where = "" if len(at) == len(scopes) else f" at {_scopes_text(at)}"
            yield f"{name}{where}: {reason}"


def source_parents(suite: Suite) -> SourceParents:
    """Return the sources that each source of a suite is made from, by id."""
    parents: dict[str, tuple[str, ...]] = {}
    pending = list(SuiteIndex(suite).source_nodes.values())
    while pending:
        node = pending.pop()
        if node.id in parents:
            continue
        above: list[Node] = []
        for value in node.inputs.values():
            inputs = value if isinstance(value, tuple) else (value,)
            above += [each for each in inputs if each.kind == "source"]
        parents[node.id] = tuple(each.id for each in above)
        pending += above
    return parents


def _hypotheses(question: Question, labelled: Mapping[str, Sequence[Trial]]) -> list[Hypothesis]:
    trials = [trial for of_label in labelled.values() for trial in of_label]
    outcome = first_label(question.outcome, trials)
    ids = frozenset(trial.id for trial in trials)
    return [
        Hypothesis(first_label(predictor, trials), outcome, question.across, ids)
        for predictor in question.predictors
    ]


def _measured_points(
    question: Question, labelled: Mapping[str, Sequence[Trial]], labels: Iterable[str]
) -> dict[str, Sequence[Trial]]:
    """Return the trials of each label in which all metrics of a question are planned."""
    owners = {owning_evaluation(metric, labels) for metric in question.metrics}
    # A metric that is derived when records are read, such as the worst over attacks, has no owner.
    needed = {owner for owner in owners if owner is not None}
    measured: dict[str, Sequence[Trial]] = {}
    for label, trials in labelled.items():
        complete = [
            trial for trial in trials if not trial.skipped and needed <= trial.evaluations.keys()
        ]
        if complete:
            measured[label] = complete
    return measured


def _scope_reasons(
    question: Question,
    measured: Mapping[str, Sequence[Trial]],
    parents: SourceParents,
    family_size: int,
) -> Iterator[str]:
    """Yield what the points of one scope cannot show."""
    points = len(measured)
    if points < MIN_POINTS:
        noun = "point" if points == 1 else "points"
        yield f"{points} {noun} with all metrics, and a coefficient needs {MIN_POINTS}"
        return
    if points < MIN_POINTS_TO_RESAMPLE:
        yield f"{points} points, and an interval needs {MIN_POINTS_TO_RESAMPLE}"
    if question.exploratory:
        return
    origins = count_origins(question.across, measured, parents)
    least = min(1.0, family_size * least_rank_p(points))
    if origins < MIN_POINTS:
        sources = "one source" if origins == 1 else f"{origins} sources"
        yield f"no p, since all {points} points descend from {sources}"
    elif least > SIGNIFICANCE_LEVEL:
        yield (
            f"with {points} points and {family_size} predictors no rank coefficient can have a "
            f"corrected p below {least:.3f}; add points, or mark the question `exploratory: true`"
        )


def _names_text(names: Iterable[str]) -> str:
    listed = list(names)
    text = ", ".join(listed[:MAX_NAMES])
    return f"{text} and {len(listed) - MAX_NAMES} more" if len(listed) > MAX_NAMES else text


def _scopes_text(scopes: Sequence[QuestionScope]) -> str:
    texts: list[str] = []
    for scope in scopes:
        texts.append(" ".join(str(label) for _, label in scope if label is not None))
    return _names_text(texts)
