"""Caveats under a question's table of coefficients."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from advtransfer.leaderboard.markdown import (
    count_noun,
    escape_markdown,
    format_number,
    format_range,
    inline_code,
    join_parts,
)
from advtransfer.leaderboard.questions_coefficients import PredictorResult
from advtransfer.leaderboard.questions_points import QuestionPoints
from advtransfer.statistics.correlation import (
    MIN_POINTS,
    MIN_POINTS_TO_RESAMPLE,
    is_exact_test,
    order_count,
)

# With fewer points, a 95 % bootstrap interval covers the correlation of normal samples (r = .7) in
# only 85 to 92 % of cases.
FEW_POINTS = 10
INFLUENTIAL_CHANGE = 0.2  # change of a coefficient above which the page names the responsible point
SIGNIFICANCE_LEVEL = 0.05  # a question whose p cannot fall below it is exploratory


def coefficient_caveats(results: Sequence[PredictorResult], *, across: str) -> str:
    """Return the caveats of a table: first those of all predictors, then a list by predictor."""
    caveats: list[list[str]] = []
    for result in results:
        sentences = _result_caveats(result, across=across, own_count=len(results))
        caveats.append([sentence for sentence in sentences if sentence])
    common = [line for line in caveats[0] if all(line in lines for lines in caveats)]
    items: list[str] = []
    for result, lines in zip(results, caveats, strict=True):
        own = [line for line in lines if line not in common]
        if own:
            items.append(f"- {inline_code(result.points.predictor.name)}: {' '.join(own)}")
    return join_parts([" ".join(common), "\n".join(items)])


def _result_caveats(result: PredictorResult, *, across: str, own_count: int) -> Iterator[str]:
    """Yield the caveats of one predictor; empty strings where one does not apply."""
    points = result.points.points
    pearson = result.coefficients["Pearson"]
    orders = f"; p from {_orders_text(len(points))}" if pearson.p is not None else ""
    yield f"{count_noun(len(points), 'point')}{orders}."
    yield _missing_points_caveat(result.points)
    yield _incomplete_points_caveat(result.points)
    yield _unlearned_points_caveat(result.points)
    yield from _upper_bound_caveats(result.points)
    yield _shared_origin_caveat(result)
    yield _least_p_caveat(result, own_count=own_count)
    if len(points) < MIN_POINTS:
        yield f"At least {MIN_POINTS} are needed."
    elif pearson.value is None:
        yield "No coefficient, since one side has no spread."
    elif len(points) < MIN_POINTS_TO_RESAMPLE:
        yield (
            "With so few points, each of them has a large influence on a correlation; an interval "
            f"needs {MIN_POINTS_TO_RESAMPLE}."
        )
    elif len(points) < FEW_POINTS:
        yield (
            "With so few points, each of them has a large influence on a correlation, and its "
            "interval covers less than 95 %."
        )
    yield _influential_point_caveat(result)
    yield from _scope_caveats(result, across=across)


def _orders_text(points: int) -> str:
    if is_exact_test(points):
        return f"all {order_count(points):,} orders"
    return f"{order_count(points):,} random orders"


def _missing_points_caveat(points: QuestionPoints) -> str:
    items: list[str] = []
    for label, reason in points.missing.items():
        items.append(f"{escape_markdown(label)} ({reason})")
    return f"Missing: {', '.join(items)}." if items else ""


def _incomplete_points_caveat(points: QuestionPoints) -> str:
    items = [
        f"{escape_markdown(point.label)} {point.trial_count} of {point.planned_count} trials"
        for point in points.points
        if point.trial_count < point.planned_count
    ]
    return f"Incomplete: {', '.join(items)}." if items else ""


def _unlearned_points_caveat(points: QuestionPoints) -> str:
    items = [
        f"{escape_markdown(point.label)} {point.unlearned_count} of {point.planned_count} trials"
        for point in points.points
        if point.unlearned_count
    ]
    return f"Did not learn, and are points all the same: {', '.join(items)}." if items else ""


def _upper_bound_caveats(points: QuestionPoints) -> Iterator[str]:
    """Yield the robust accuracies that are upper bounds, since the host did not attack all images."""
    sides = (
        (points.predictor, [point.predictor for point in points.points]),
        (points.outcome, [point.outcome for point in points.points]),
    )
    for column, groups in sides:
        results = [result for point in groups for group in point for result in group]
        probes = [result.metrics[column.metric or ""].probe for result in results]
        partial = [probe for probe in probes if probe is not None and not probe.is_complete]
        if not partial:
            continue
        images = {probe.images for probe in probes if probe is not None}
        attacked = "only some of the test images" if any(images) else "no test image"
        caveat = f"{inline_code(column.name)} is an upper bound: the host attacked {attacked}"
        if len(images) > 1:
            caveat += ", and not the same ones for all points, which are hardly comparable"
        yield f"{caveat}."


def _shared_origin_caveat(result: PredictorResult) -> str:
    """Return how many sources the points descend from, if these are fewer than the points."""
    origins = result.origin_count
    if result.is_testable:
        if origins >= len(result.points.points):
            return ""
        return (
            f"The points descend from {origins} sources, and carry less information than their "
            "number suggests."
        )
    from_sources = "all points descend from one source"
    if origins > 1:
        from_sources = f"the points descend from {origins} sources, and {MIN_POINTS} are needed"
    return f"No p, since {from_sources}."


def _scope_caveats(result: PredictorResult, *, across: str) -> Iterator[str]:
    """Yield the sample of intervals and values."""
    if result.coefficients["Pearson"].interval is not None:
        for name in result.fixed_columns:
            yield f"In the intervals {inline_code(name)} varies between {across}s, not over test images."
    yield _kept_samples_caveat(result.points)
    references = result.points.reference_count
    if references > 1:
        yield f"Computed within each of {references} reference models, then averaged."
    if result.points.pools_references:
        yield (
            "Values of different reference models are pooled: differences between these models "
            "also enter the coefficients."
        )


def _least_p_caveat(result: PredictorResult, *, own_count: int) -> str:
    """Return the smallest corrected p value that the data could give.

    A family of many predictors and few points cannot reach significance, whatever the data.
    """
    pearson, ranks = result.least_p("Pearson"), result.least_p("Spearman")
    if pearson is None or ranks is None:
        return ""
    size = result.family_size
    least_ranks = format_number(ranks, fine=True)
    least_pearson = format_number(pearson, fine=True)
    least = least_ranks
    if least_ranks != least_pearson:
        least = f"{least_ranks} for ranks, {least_pearson} for Pearson's coefficient"
    hint = ""
    if ranks > SIGNIFICANCE_LEVEL:
        hint = "; no rank coefficient can reach .05"
    predictors = count_noun(size, "predictor")
    if size > own_count:
        predictors += f", {size - own_count} of them in other questions,"
    return f"With {predictors} the smallest possible corrected p is {least}{hint}."


def _kept_samples_caveat(points: QuestionPoints) -> str:
    """Return the sample counts of the predictor, if recorded.

    An evaluation records them as a metric ``kept_tau_1`` beside ``tau_1``.
    """
    name = f"kept_{points.predictor.metric}"
    counts: list[int] = []
    for point in points.points:
        for group in point.predictor:
            counts += [int(result.metrics[name].low) for result in group if name in result.metrics]
    return f"Computed over {format_range(counts)} samples." if counts else ""


def _influential_point_caveat(result: PredictorResult) -> str:
    """Return the point with the largest influence on Pearson's coefficient, if it is large."""
    value = result.coefficients["Pearson"].value
    labels = [point.label for point in result.points.points]
    # Of few points there is no leave-one-out coefficient, so its tuple is empty and the zip is not
    # strict.
    without_label = [
        (coefficient, label)
        for coefficient, label in zip(result.leave_one_out, labels, strict=False)
        if coefficient is not None
    ]
    if value is None or not without_label:
        return ""
    without, label = max(without_label, key=lambda pair: (abs(pair[0] - value), pair[1]))
    keeps_sign = without * value > 0
    if keeps_sign and abs(without - value) <= INFLUENTIAL_CHANGE:
        return ""
    return f"Without {escape_markdown(label)}, Pearson's coefficient is {format_number(without)}."
