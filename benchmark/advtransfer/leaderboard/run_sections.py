"""What a page says of its run: sources, data sets, evaluations, how to read the tables, and environments."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from advtransfer.leaderboard.baselines import baseline_label
from advtransfer.leaderboard.caveats import (
    MISSED_NOTE,
    SECONDS_LEGEND,
    evidence_legend,
    missed_text,
    phase_seconds_text,
    selection_warning,
)
from advtransfer.leaderboard.cost_warning import cost_warning
from advtransfer.leaderboard.markdown import (
    count_noun,
    escape_markdown,
    format_interval,
    format_number,
    inline_code,
    join_parts,
    markdown_table,
)
from advtransfer.leaderboard.ranking import Ranking
from advtransfer.leaderboard.run_data import JsonObject, RecordEnvironment, RunData
from advtransfer.leaderboard.source_data import SourceData
from advtransfer.leaderboard.table_rows import trial_order
from advtransfer.leaderboard.tables import EN_DASH
from advtransfer.planning import Trial
from advtransfer.result.record import HALVED_KERNEL_BATCH
from advtransfer.text import ABSENT
from advtransfer.types import Json
from advtransfer.types.in_memory import CANNOT_BE_REBUILT

SHOWN_VERSIONS = (
    "python",
    "advtransfer",
    "torch",
    "torchvision",
    "foolbox",
    "scikit-learn",
    "numpy",
    "scipy",
)
TRAINING_STARTS = {
    "named": "References that are also sources of this suite: {}.",
    "own": "References with initial weights of their own: {}.",
    "source": (
        "References trained from the same initial weights as sources with the same seed and "
        "architecture, which makes their gradients and adversarial examples more alike: {}."
    ),
}
DATASET_COLUMNS = (
    "target",
    "data set",
    "classes",
    "size (C x H x W)",
    "train images",
    "labelled images n",
    "subset seeds",
    "test images",
    "test part",
)
RIGHT_DATASET_COLUMNS = frozenset({"classes", "train images", "subset seeds", "test images"})
OPTIONAL_DATASET_COLUMNS = frozenset(DATASET_COLUMNS[1:5])
TARGET_TRAIN = "target train in source train"
"""The pair whose count of leaks has the number of a target's train images."""
DATASETS_NOTE = (
    "Labelled images: those that a transfer may see, drawn anew for each subset seed. Test part: the "
    "start of its id, equal where the same images were tested."
)
FURTHER_NOTE = (
    "Also: a further data set, of which no fit and no choice of options sees an image; the "
    "evaluations `EVALUATION/DATA` measure on its test part. The worst over attacks, and whether a fit "
    "learned, are told on the target's own test part."
)
NUMBER_LEGEND = (
    "A number is a mean over trials, with its 95 % interval in brackets. The caption of each table "
    "says what the intervals are over: shares of test images have one over the images and, where "
    "there are several, over source trainings or subset seeds; other numbers have a t-interval "
    "over trainings or seeds alone. Intervals over subset seeds do not include the variance "
    "between training runs of a source. Intervals of shares stay within 0 and 1."
)
CELL_LEGEND = (
    f"a{EN_DASH}b: some outcomes are unknown (an attack that did not finish, an invalid example); "
    "a counts them as broken, b as robust. (4/5): four of five planned trials have this number."
)


def origin_section(data: RunData) -> str:
    """Return the command that makes the page again, and the environment of its records."""
    command = f"advtransfer leaderboard runs/{data.plan.suite}"
    origin = f"Generated from the run's records by {inline_code(command)}; the same records give "
    origin += "the same page."
    return join_parts(["## How this page was made", origin, _environments_text(data)])


def datasets_section(data: RunData) -> str:
    """Return the table of targets: labelled images, subset seeds, and test part."""
    trials_by_target: dict[str, list[Trial]] = {}
    for trial in sorted(data.plan.trials, key=trial_order):
        trials_by_target.setdefault(trial.target, []).append(trial)
    rows: list[list[str]] = []
    for target, trials in trials_by_target.items():
        sizes = ", ".join(str(n) for n in dict.fromkeys(trial.n for trial in trials))
        seeds = str(len({trial.seed for trial in trials}))
        facts = data.plan.datasets.get(target, {})
        cells = [*_dataset_cells(facts, _train_count(target, data)), sizes, seeds]
        rows.append([escape_markdown(target), *cells, *_test_cells(trials, data, None)])
        rows += _further_rows(target, trials, data)
    if not rows:
        return ""
    right = [name in RIGHT_DATASET_COLUMNS for name in DATASET_COLUMNS]
    # Plans of earlier releases know nothing of a target's data.
    shown = [
        place
        for place, name in enumerate(DATASET_COLUMNS)
        if name not in OPTIONAL_DATASET_COLUMNS or any(row[place] != ABSENT for row in rows)
    ]
    table = markdown_table(
        [DATASET_COLUMNS[place] for place in shown],
        [[row[place] for place in shown] for row in rows],
        right=[right[place] for place in shown],
    )
    note = f"{DATASETS_NOTE} {FURTHER_NOTE}" if data.plan.also else DATASETS_NOTE
    return join_parts(["## Data sets", table, note])


def _further_rows(target: str, trials: Sequence[Trial], data: RunData) -> list[list[str]]:
    """Return a row for each further data set on which the fitted models of a target are evaluated too."""
    labels = {label for trial in trials for label in trial.evaluations}
    names = {name for name in map(data.further_data, labels) if name is not None}
    also = data.plan.datasets.get(target, {}).get("also")
    rows: list[list[str]] = []
    for name in sorted(names):
        facts = also.get(name) if isinstance(also, Mapping) else None
        cells = _dataset_cells(facts if isinstance(facts, Mapping) else {}, None)
        tested = _test_cells(trials, data, name)
        # No image of it is seen by a fit.
        rows.append([escape_markdown(f"{target}, also {name}"), *cells[:3], *[ABSENT] * 3, *tested])
    return rows


def _train_count(target: str, data: RunData) -> Json:
    """Return the train images of a target: records have counted them, a plan knows how many there are at most."""
    counts = [
        leaks[TARGET_TRAIN].get("of")
        for (leaky_target, _), leaks in data.leakage.items()
        if leaky_target == target and TARGET_TRAIN in leaks
    ]
    known = [count for count in counts if isinstance(count, int)]
    return max(known) if known else data.plan.datasets.get(target, {}).get("train")


def _dataset_cells(facts: Mapping[str, Json], train: Json) -> list[str]:
    """Return component, classes, size and train images of a data set, as far as they are known."""
    shape = facts.get("shape")
    sizes = list(shape) if isinstance(shape, list | tuple) else []
    use = facts.get("use")
    classes = facts.get("classes")
    # Plans of submissions may hold anything, and nothing but numbers is shown unescaped.
    return [
        inline_code(use) if isinstance(use, str) else ABSENT,
        str(classes) if isinstance(classes, int) else ABSENT,
        " x ".join(map(str, sizes))
        if all(isinstance(size, int) for size in sizes) and sizes
        else ABSENT,
        f"{train:,}" if isinstance(train, int) else ABSENT,
    ]


def _test_cells(trials: Sequence[Trial], data: RunData, further: str | None) -> list[str]:
    """Return the number of test images of a target or further data set, and the start of the test part's id."""
    ids = (
        id
        for trial in trials
        for label in data.labels_on(trial, further)
        for id in trial.evaluations[label]
    )
    results = [data.results[id] for id in ids if id in data.results]
    counts = {values.of for each in results for values in each.sample_outcomes.values()}
    tests = {each.test_id for each in results if each.test_id}
    texts = [", ".join(f"{count:,}" for count in sorted(counts))]
    texts.append(", ".join(inline_code(test[:12]) for test in sorted(tests)))
    return [text or ABSENT for text in texts]


def sources_section(data: RunData) -> str:
    """Return the table of sources and references: the claims of their cards, and measurements."""
    sources = sorted(data.plan.sources.items(), key=lambda item: (item[1], item[0]))
    if not sources:
        return ""
    header = ["source", "architecture", "trained on", "constraint", "clean accuracy", "claimed"]
    right = [False] * 4 + [True] * 2
    rows: list[list[str]] = []
    for id, label in sources:
        rows.append([escape_markdown(label), *_source_cells(data.source_data.get(id))])
    note = (
        "Clean accuracy: measured on the test part of the source's own data when the source is "
        "built, with its 95 % Wilson interval. Claimed: the value on the source's card."
    )
    has_accuracy = any(row[4:] != [ABSENT, ABSENT] for row in rows)
    if not has_accuracy:  # sources of values are no classifiers
        header, right = header[:4], right[:4]
        rows = [row[:4] for row in rows]
        note = ""
    table = markdown_table(header, rows, right=right)
    return join_parts(["## Sources", table, note, _training_starts_text(data)])


def evaluations_section(data: RunData) -> str:
    """Return the table of evaluations: component and options, as recorded."""
    if not data.metrics:
        return ""
    header = ["evaluation", "component", "options", "missed"]
    right = [False] * 3 + [True]
    rows: list[list[str]] = []
    for label in data.metrics:
        cells = _evaluation_cells(data.evaluation_uses.get(label))
        rows.append([escape_markdown(label), *cells, missed_text(label, data)])
    note = MISSED_NOTE
    if all(row[3] == ABSENT for row in rows):
        header, right, rows, note = header[:3], right[:3], [row[:3] for row in rows], ""
    return join_parts(["## Evaluations", markdown_table(header, rows, right=right), note])


def legend_section(data: RunData, *, ranking: Ranking | None, baselines: Sequence[Json]) -> str:
    """Return the list that explains how to read the tables."""
    items = [NUMBER_LEGEND]
    if ranking:
        items += filter(None, [_ranking_text(ranking), selection_warning(data)])
    if ranking and baselines:
        items.append(_difference_legend(ranking, baselines))
    items.append(CELL_LEGEND)
    items += filter(None, [cost_warning(data)])
    items += [*evidence_legend(data), SECONDS_LEGEND, phase_seconds_text(data)]
    return "## How to read the tables\n\n" + "\n".join(f"- {item}" for item in items)


def _ranking_text(ranking: Ranking) -> str:
    direction = "lower" if ranking.lowest_is_best else "higher"
    return (
        f"Rows are ranked by the mean of {inline_code(ranking.column.name)}; {direction} is better. Bold: in "
        "this column the row whose only rank is 1, in others the highest share of a ranked row if its interval "
        "lies above those of all other ranked rows."
    )


def _difference_legend(ranking: Ranking, baselines: Sequence[Json]) -> str:
    axes = ["source" if isinstance(each, Mapping) else "transfer" for each in baselines]
    paired_axis = " or ".join(dict.fromkeys(axes))
    names = [escape_markdown(baseline_label(each)) for each in baselines]
    return (
        f"Δ: mean difference in {inline_code(ranking.column.name)} to "
        f"{' or '.join(names)}, paired by target, n, seed and "
        f"{paired_axis}, with its 95 % interval, over what the caption of the table says."
    )


def _environments_text(data: RunData) -> str:
    lines: list[tuple[str, int]] = []
    for environment, record_count in sorted(data.environment_counts.items()):
        lines.append((_environment_text(environment, data) or "not recorded", record_count))
    if not lines:
        return "Environment: no record yet."
    if len(lines) == 1:
        return f"Environment: {lines[0][0]}."
    items = [f"- {line} ({count_noun(record_count, 'record')})" for line, record_count in lines]
    return "\n\n".join(["Environments, which are mixed on this page:", "\n".join(items)])


def _environment_text(environment: RecordEnvironment, data: RunData) -> str:
    versions = _flatten_environment(data.environments.get(environment.environment, {}))
    libraries = [f"{name} {versions[name]}" for name in SHOWN_VERSIONS if name in versions]
    threads = f"{count_noun(environment.threads, 'thread')} a trial" if environment.threads else ""
    batch = versions.get("kernel_batch")
    halved = versions.get(HALVED_KERNEL_BATCH)
    settings = [
        environment.device,
        threads,
        environment.precision,
        f"kernel batches of {batch} rows" if batch else "",
        f"at most {halved} rows in a kernel batch, since memory ran out" if halved else "",
    ]
    texts = [
        join_parts([escape_markdown(text) for text in group], ", ")
        for group in (libraries, settings)
    ]
    return join_parts(texts, "; ")


def _flatten_environment(environment: JsonObject) -> dict[str, str]:
    """Return the names and values of an environment without its nesting."""
    flat: dict[str, str] = {}
    for name, value in environment.items():
        if isinstance(value, Mapping):
            flat |= _flatten_environment(value)
        elif value is not None:
            flat[name] = str(value)
    return flat


def _training_starts_text(data: RunData) -> str:
    """Return where the training of each reference started, as recorded."""
    results = data.results.values()
    references = {result.reference_id for result in results} & data.source_data.keys()
    source_labels = {trial.source for trial in data.plan.trials}
    labels = {id: data.plan.sources.get(id, id[:12]) for id in references}
    names_by_start: dict[str | None, list[str]] = {}
    for id in sorted(references, key=lambda id: (data.plan.sources.get(id, ""), id)):
        start = "named" if labels[id] in source_labels else data.source_data[id].start
        names_by_start.setdefault(start, []).append(inline_code(labels[id]))
    sentences = [
        text.format(", ".join(names_by_start[start]))
        for start, text in TRAINING_STARTS.items()
        if start in names_by_start
    ]
    return " ".join(sentences)


def _source_cells(source: SourceData | None) -> list[str]:
    if source is None:
        return ["not built yet", *[ABSENT] * 4]
    card_fields = ("architecture", "data", "constraint")
    texts = [escape_markdown(str(source.card.get(name) or ABSENT)) for name in card_fields]
    if source.in_memory:
        texts[0] += f" ({CANNOT_BE_REBUILT})"
    measured = ABSENT
    if source.probe:
        accuracy = format_number(source.probe["clean_accuracy"])
        interval = format_interval(source.probe.get("interval"))
        # `agrees` is None if the card claims nothing.
        differs = " differs from its card" if source.probe.get("agrees") is False else ""
        measured = f"{accuracy}{interval}{differs}"
    claimed = source.card.get("clean_accuracy")
    return [*texts, measured, ABSENT if claimed is None else format_number(claimed)]


def _evaluation_cells(use: tuple[str, JsonObject] | None) -> list[str]:
    if use is None:
        return ["no result", ABSENT]
    component, options = use
    texts: list[str] = []
    for name, value in sorted(options.items()):
        texts.append(f"{name} {value if isinstance(value, str) else json.dumps(value)}")
    return [inline_code(component), inline_code(", ".join(texts)) if texts else ABSENT]
