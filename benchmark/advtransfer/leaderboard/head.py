"""The head of the page: what was run, where, on which sources, measured how, and how to read the tables."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping

from advtransfer.leaderboard.evidence import Built, Evidence, Read
from advtransfer.leaderboard.markdown import ABSENT, bounds, code, escaped, many, number, table
from advtransfer.leaderboard.ranking import Ranking
from advtransfer.leaderboard.tables import label_of
from advtransfer.plan.status import WORDS
from advtransfer.types import Json
from advtransfer.verdict import WORST_FIRST

VERSIONS = ("python", "advtransfer", "torch", "torchvision", "foolbox", "scikit-learn", "numpy", "scipy")


STARTS = {
    "named": "References that are sources of this suite themselves: {}.",
    "own": "References that started from weights of their own: {}.",
    "source": "References that started from the very weights that sources of the same seed and architecture start "
    "from, which makes their gradients and adversarial examples more alike: {}.",
}


def head(evidence: Evidence) -> str:
    """Title, counts, the command that makes the page again, environment."""
    plan = evidence.plan
    found = Counter(evidence.state(trial).value for trial in plan.trials)
    counts = ", ".join(f"{found[value]:,} {word}" for value, word in WORDS.items())
    return "\n\n".join(
        [
            f"# {escaped(plan.title or plan.suite)}",
            f"Suite {code(plan.suite)}: {many(len(plan.trials), 'trial')} planned, {counts}.",
            f"Made from the run's records by {code(f'advtransfer leaderboard runs/{plan.suite}')}; "
            "the same records give the same page.",
            _environments(evidence),
        ]
    )


def sources(evidence: Evidence) -> str:
    """A table of the sources and references: what their cards claim, and what was measured."""
    labels = sorted(evidence.plan.sources.items(), key=lambda item: (item[1], item[0]))
    if not labels:
        return ""
    header = ["source", "architecture", "trained on", "constraint", "clean accuracy", "claimed"]
    rows = [[escaped(label), *_source(evidence.built.get(id))] for id, label in labels]
    right = [False] * 4 + [True] * 2
    if all(row[4:] == [ABSENT, ABSENT] for row in rows):  # sources of values have no accuracy
        shown = table(header[:4], [row[:4] for row in rows], right=right[:4])
        return "\n\n".join(filter(None, ["## Sources", shown, _starts(evidence)]))
    note = "Clean accuracy is measured on the test part of a source's own data when it is built, with its 95 % Wilson "
    note += "interval; claimed is what its card says."
    return "\n\n".join(filter(None, ["## Sources", table(header, rows, right=right), note, _starts(evidence)]))


def evaluations(evidence: Evidence) -> str:
    """A table of the evaluations behind the columns: component and options, as recorded."""
    if not evidence.metrics:
        return ""
    rows = [[escaped(label), *_use(evidence.uses.get(label))] for label in evidence.metrics]
    return f"## Evaluations\n\n{table(['evaluation', 'component', 'options'], rows, right=[False] * 3)}"


def legend(evidence: Evidence, *, ranking: Ranking | None, baseline: Json) -> str:
    """How to read the tables."""
    told = [
        "A number is a mean over trials, with its 95 % interval in brackets; under each table stands what its "
        "intervals are over. One over subset seeds says nothing about other trainings of a source. Intervals of shares "
        "are cut at 0 and 1."
    ]
    if ranking:
        told.append(_ranked(ranking))
    if ranking and baseline is not None:
        told.append(
            f"Δ: mean difference in {code(ranking.column.name)} to {escaped(label_of(baseline))}, paired by target, n, "
            f"seed and {'source' if isinstance(baseline, Mapping) else 'transfer'}, with the 95 % t-interval over the "
            "pairs (over source trainings where the source has replicates); without brackets it has one pair or no "
            "spread."
        )
    told += [
        "a–b: some outcomes are unknown (an attack that did not finish, an illegal example); a counts them as broken, "  # noqa: RUF001  # as in the tables
        "b as robust. (4/5): four of five planned trials have this number.",
        _verdicts(evidence),
        "s / trial: mean seconds of a trial's fit and results together.",
    ]
    return "## How to read the tables\n\n" + "\n".join(f"- {line}" for line in told)


def _ranked(ranking: Ranking) -> str:
    name = code(ranking.column.name)
    if ranking.lowest:
        return (
            f"Rows are ranked by the mean of {name}, lower better. Bold: the lowest {name}, if its interval lies below "
            "all others, and of other columns the highest share, if its interval lies above all others."
        )
    return (
        f"Rows are ranked by the mean of {name}, higher better. Bold: the highest share, if its interval lies above "
        "all others in its column."
    )


def _environments(evidence: Evidence) -> str:
    told = []
    for (digest, device, threads, precision), records in sorted(evidence.machines.items()):
        versions = _flat(evidence.environments.get(digest, {}))
        parts = [f"{name} {versions[name]}" for name in VERSIONS if name in versions]
        machine = [device, many(threads, "thread") + " a trial" if threads else "", precision]
        line = "; ".join(filter(None, [", ".join(map(escaped, parts)), ", ".join(filter(None, map(escaped, machine)))]))
        told.append((line or "not recorded", records))
    if not told:
        return "Environment: no record yet."
    if len(told) == 1:
        return f"Environment: {told[0][0]}."
    lines = "\n".join(f"- {line} ({many(records, 'record')})" for line, records in told)
    return f"Environments, which are mixed on this page:\n\n{lines}"


def _flat(environment: Read) -> dict[str, str]:
    """Names and values of an environment, however it is nested."""
    flat: dict[str, str] = {}
    for name, value in environment.items():
        if value is not None:
            flat |= _flat(value) if isinstance(value, Mapping) else {name: str(value)}
    return flat


def _starts(evidence: Evidence) -> str:
    """Where the training of each reference started, as recorded."""
    ids = {answer.reference for answer in evidence.answers.values()} & evidence.built.keys()
    carried = {trial.source for trial in evidence.plan.trials}
    labels: dict[str | None, list[str]] = {}
    for id in sorted(ids, key=lambda id: (evidence.plan.sources.get(id, ""), id)):
        label = evidence.plan.sources.get(id, id[:12])
        labels.setdefault("named" if label in carried else evidence.built[id].start, []).append(code(label))
    return " ".join(text.format(", ".join(labels[start])) for start, text in STARTS.items() if start in labels)


def _source(built: Built | None) -> list[str]:
    if built is None:
        return ["not built yet", *[ABSENT] * 4]
    card, probe = built.card, built.probe or {}
    measured = ABSENT
    if probe:
        differs = " differs from its card" if probe.get("agrees") is False else ""
        measured = f"{number(probe['clean_accuracy'])}{bounds(probe.get('interval'))}{differs}"
    claimed = card.get("clean_accuracy")
    words = [escaped(str(card.get(name) or ABSENT)) for name in ("architecture", "data", "constraint")]
    return [*words, measured, ABSENT if claimed is None else number(claimed)]


def _use(use: tuple[str, Read] | None) -> list[str]:
    if use is None:
        return ["no result", ABSENT]
    component, options = use
    told = [
        f"{name} {value if isinstance(value, str) else json.dumps(value)}" for name, value in sorted(options.items())
    ]
    return [code(component), code(", ".join(told)) if told else ABSENT]


def _verdicts(evidence: Evidence) -> str:
    counts = Counter(answer.verdict.value for answer in evidence.answers.values())
    told = ", ".join(f"{counts[value]:,} {value}" for value in reversed(WORST_FIRST) if counts[value])
    return (
        f"Verdicts of the results: {told or 'none yet'}. ✓ verified: every check of the "
        "battery passed. Unchecked: no battery of checks has been run on the attack, "
        "so an accuracy under attack is an upper bound. Suspicious and invalid results are shown, never ranked."
    )
