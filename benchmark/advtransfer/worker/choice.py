"""The choice of a transfer's options among candidates, by the labelled target images alone.

Each candidate is fitted as if it were a trial on the rest of the images, and measured on those
held out. Its random streams are those of that rest, so they depend neither on the other candidates
nor on their order. Finished candidates are remembered: a killed choice goes on where it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import torch

from advtransfer.errors import Diverged, Inapplicable
from advtransfer.node import Node
from advtransfer.suite.choice import CRITERIA, Choice
from advtransfer.toolkit.adversary import Adversary
from advtransfer.toolkit.datasets import SampleSubset, all_positions
from advtransfer.toolkit.model_modes import freeze_weights
from advtransfer.toolkit.randomized import model_draws
from advtransfer.toolkit.subset import stratified_folds
from advtransfer.toolkit.validation import RobustValidationAccuracy, measure_validation
from advtransfer.types import Json, Samples, Tensors
from advtransfer.worker.context import WorkerContext
from advtransfer.worker.fit_parts import FitParts, fit_context
from advtransfer.worker.recording import JobRecorder

SCORE_VERSION = 1
"""Raise it when the same candidate gets another score, so that remembered ones are not used."""


@dataclass(frozen=True, slots=True)
class Split:
    """Images to fit candidates on and images to measure them on, with the subset of the former."""

    subset: Node
    train: Samples
    held_out: Samples


@dataclass(frozen=True, slots=True)
class ChoiceResult:
    """The result of a choice.

    Args:
        index: The position of the chosen candidate.
        curves: One row for each candidate, with its number from 1 and its measurements.
        chosen: The chosen options by dotted name.
        facts: The measurements of the chosen candidate, and the number of folds.
    """

    index: int
    curves: tuple[Mapping[str, float], ...]
    chosen: Mapping[str, Json]
    facts: Mapping[str, float]


def refit_node(node: Node, choice: Choice, index: int) -> Node:
    """Return the node of the fit that a choice returns: the candidate on all labelled images."""
    subset = cast(Node, node.inputs["subset"])
    whole = replace(subset, options={**subset.options, "validation": 0})
    return choice.candidate_node(node, index).with_inputs({"subset": whole})


def choose_options(
    recorder: JobRecorder, node: Node, choice: Choice, parts: FitParts
) -> ChoiceResult:
    """Fit and measure every candidate, and return the best; of equal ones the first.

    Args:
        recorder: The job.
        node: The fit that chooses.
        choice: Its choice.
        parts: The source and the adapter of the fit.

    Raises:
        Inapplicable: There are no images to choose by, or too few for the folds.
        Diverged: Every candidate diverged.
    """
    splits = _split_images(recorder, node, choice)
    units = len(choice.candidates) * len(splits) + 1
    rows: list[dict[str, float]] = []
    for index in range(len(choice.candidates)):
        row: dict[str, float] = {"candidate": index + 1}
        measured = []
        for number, split in enumerate(splits):
            context = fit_context(
                recorder,
                choice.candidate_node(node, index).with_inputs({"subset": split.subset}),
                shown_as=node,
                unit=(index * len(splits) + number, units),
            )
            scores = _candidate_scores(recorder, choice, parts, split, context)
            measured.append(scores)
        rows.append(row | _pooled_scores(measured, [len(split.held_out) for split in splits]))
    best = _best_row(rows, CRITERIA[choice.by])
    facts = {name: value for name, value in rows[best].items() if name != "candidate"}
    if len(splits) > 1:
        facts["folds"] = len(splits)
    return ChoiceResult(best, tuple(rows), choice.settings(best), facts)


def _split_images(recorder: JobRecorder, node: Node, choice: Choice) -> list[Split]:
    """Return the validation part and the rest, or the folds where there is no such part."""
    subset = cast(Node, node.inputs["subset"])
    train, validation = recorder.objects.train_parts(subset)
    if validation is not None:
        return [Split(_subset_without(subset, "validation"), train, validation)]
    if choice.folds is None:
        needed = "needs a validation part; give it a share of n, or `choose` a number of folds"
        raise Inapplicable(f"choosing {', '.join(choice.among)} {needed}")
    folds = stratified_folds(
        train.labels(all_positions(train)),
        choice.folds,
        generator=fit_context(recorder, node).generator("folds"),
    )
    return [
        Split(
            _subset_without(subset, f"fold {number} of {choice.folds}"),
            SampleSubset(train, fold.fitted),
            SampleSubset(train, fold.held_out),
        )
        for number, fold in enumerate(folds)
    ]


def _subset_without(subset: Node, held_out: str) -> Node:
    """Return the node of a subset without its held-out images.

    Everything that a fit remembers about its training images then has an id of its own.
    """
    return replace(subset, options={**subset.options, "held_out": held_out})


def _candidate_scores(
    recorder: JobRecorder, choice: Choice, parts: FitParts, split: Split, context: WorkerContext
) -> dict[str, float]:
    """Return a candidate's measurements on the held-out images; none where it diverged."""
    key: dict[str, Json] = {"by": choice.by, "attack": choice.attack, "version": SCORE_VERSION}

    def build() -> Tensors:
        scores = _fit_and_measure(recorder, choice, parts, split, context)
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in scores.items()}

    scores = context.remember("scores of a candidate", key, build)
    # Its training state is no longer needed.
    recorder.objects.cache.delete_checkpoint(context.node.id)
    return {name: value.item() for name, value in scores.items()}


def _fit_and_measure(
    recorder: JobRecorder, choice: Choice, parts: FitParts, split: Split, context: WorkerContext
) -> dict[str, float]:
    candidate = parts.for_node(recorder, context.node, train=split.train)
    try:
        candidate.fit(recorder, context)
    except Diverged:
        return {"diverged": 1.0}
    # The scores are remembered, so no other candidate's model may have changed how they come about.
    with (
        recorder.objects.side_effects.guard_component(context.node.use),
        model_draws(
            candidate.model,
            source=lambda: context.generator("score draws"),
            device=context.device,
        ),
    ):
        model = candidate.model.eval()
        freeze_weights(model)
        scores = measure_validation(model, split.held_out, device=context.device)
        if choice.attack is not None:
            attack = Adversary(**cast("dict[str, Any]", choice.attack))  # Any: JSON of a plan
            scores |= RobustValidationAccuracy(split.held_out, attack, context)(model)
    return scores


def _pooled_scores(measured: list[dict[str, float]], sizes: list[int]) -> dict[str, float]:
    """Return the mean over all held-out images; a candidate that diverged in a fold has none."""
    if any("diverged" in scores for scores in measured):
        return {"diverged": 1.0}
    pooled = {}
    for name in measured[0]:
        # Rounded counts: equal candidates are equal whatever their folds rounded to.
        counts = [
            round(scores[name] * size, 2) for scores, size in zip(measured, sizes, strict=True)
        ]
        pooled[name] = sum(counts) / sum(sizes)
    return pooled


def _best_row(rows: list[dict[str, float]], metric: str) -> int:
    """Return the position of the row with the highest value of a metric."""
    finished = [index for index, row in enumerate(rows) if metric in row]
    if not finished:
        if all("diverged" in row for row in rows):
            raise Diverged(0, float("nan"))
        raise Inapplicable(f"no candidate has a {metric}: the target's labels are no classes")
    return max(finished, key=lambda index: (rows[index][metric], -index))
