"""Costs of a fit: configurations tried, gradient passes spent and seconds an epoch, as the columns of ``cost``.

A gradient pass is one forward and backward pass of one image through a network. Of a training by the host's own
training options there are ``epochs * images * passes``, with 1 pass for natural and free training (each replay counts
as an epoch, and the last batches too are replayed to the end), ``steps + 1`` for PGD (Madry et al., 2018), 2 for fast
(Wong et al., 2020), and ``steps + 2`` for TRADES, whose loss has two terms (Zhang et al., 2019). Frozen layers count as
others do. A plugin's own count, the fact ``gradient_passes`` of a fit, takes its place. Fits without epochs, and those
with networks beside the fitted one, have no count.

The seconds an epoch are those of the fit, after any choice, over its epochs: without sources, and without what fits
share (features, activations, IGAM's tuned teacher). A fit that continued a killed one has none.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import ceil
from typing import Any, TypeAlias

from advtransfer.leaderboard.result_data import Metric
from advtransfer.suite.sections import CHOOSE
from advtransfer.types.metric_names import COST_METRICS

JsonObject: TypeAlias = Mapping[str, Any]
"""A JSON object as `advtransfer.result` writes it. Any: fields differ by kind of record."""

CONFIGURATIONS, GRADIENT_PASSES, SECONDS_PER_EPOCH = COST_METRICS
OTHER_NETWORKS = frozenset({"teacher", "discriminator", "reference", "student"})
"""Options and inputs of fits with networks beside the fitted one, whose passes the rule does not count."""


def fit_costs(fit: JsonObject) -> dict[str, Metric]:
    """Return the costs of a fit record by name, without those that are unknown."""
    options = fit.get("asked", {}).get("options", {})
    choice = options.get(CHOOSE) or {}
    candidates = list(choice.get("candidates") or ())
    costs = {CONFIGURATIONS: float(max(1, len(candidates)))}
    passes = _gradient_passes(fit, options, choice, candidates)
    if passes is not None:
        costs[GRADIENT_PASSES] = passes
    seconds = _seconds_per_epoch(fit, options, choice, candidates)
    if seconds is not None:
        costs[SECONDS_PER_EPOCH] = seconds
    return {name: Metric(value, value) for name, value in costs.items()}


def _gradient_passes(
    fit: JsonObject, options: JsonObject, choice: JsonObject, candidates: list[JsonObject]
) -> float | None:
    """Return the passes of a fit and of the candidates that it was chosen among, None where unknown."""
    facts = fit.get("facts", {})
    counted = facts.get(GRADIENT_PASSES)
    if isinstance(counted, int | float) and counted >= 0:
        return float(counted)
    images = facts.get("labels_used")
    inputs = fit.get("asked", {}).get("inputs", {})
    if not isinstance(images, int) or OTHER_NETWORKS & {*options, *inputs}:
        return None
    if not candidates:
        return _training_passes(options, images)
    per_candidate = [_training_passes({**options, **each}, images) for each in candidates]
    known = [passes for passes in per_candidate if passes is not None]
    if len(known) < len(candidates):
        return None
    # k folds train each candidate k times on all but 1/k of the images; a held-out part counts as trained on.
    repeats = facts["folds"] - 1 if "folds" in facts else 1
    return repeats * sum(known) + known[_chosen_index(fit, candidates)]


def _seconds_per_epoch(
    fit: JsonObject, options: JsonObject, choice: JsonObject, candidates: list[JsonObject]
) -> float | None:
    """Return the fit's own seconds over its epochs, None where one of them is unknown."""
    if candidates:
        options = {**options, **candidates[_chosen_index(fit, candidates)]}
    epochs = options.get("epochs")
    seconds = fit.get("observed", {}).get("own_seconds")
    if not isinstance(epochs, int) or epochs < 1:
        return None
    return seconds / epochs if isinstance(seconds, int | float) and seconds >= 0 else None


def _chosen_index(fit: JsonObject, candidates: list[JsonObject]) -> int:
    """Return the candidate with the chosen options, the first where none is recorded."""
    chosen = fit.get("chosen", {})
    for index, candidate in enumerate(candidates):
        if all(_option(candidate, name) == value for name, value in chosen.items()):
            return index
    return 0


def _option(options: JsonObject, name: str) -> object:
    value: Any = options  # Any: JSON
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _training_passes(options: JsonObject, images: int) -> float | None:
    """Return the passes of one training, None for options that are no training's."""
    epochs = options.get("epochs")
    if not isinstance(epochs, int) or "optimiser" not in options:
        return None
    per_image = _passes_per_image(options.get("adversary"), options, epochs)
    return None if per_image is None else float(images * per_image)


def _passes_per_image(
    adversary: Any,  # noqa: ANN401  # Any: JSON
    options: JsonObject,
    epochs: int,
) -> int | None:
    """Return the passes of one image in all epochs, None for an adversary that the rule does not know."""
    if adversary is None:
        # The transfer of adversarial training has the options of its adversary among its own.
        adversary = options if {"eps", "steps"} <= options.keys() else {"kind": "natural"}
    if not isinstance(adversary, Mapping):
        return None
    kind = adversary.get("kind", "pgd")
    steps = adversary.get("steps")
    replays = adversary.get("replays")
    fixed = {"natural": 1, "fast": 2}
    if kind in fixed:
        return epochs * fixed[kind]
    extra = {"pgd": 1, "trades": 2}
    if kind in extra and isinstance(steps, int):
        return epochs * (steps + extra[kind])
    if kind == "free" and isinstance(replays, int) and replays > 0:
        return ceil(epochs / replays) * replays
    return None
