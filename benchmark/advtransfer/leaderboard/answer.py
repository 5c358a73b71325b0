"""The answer to a suite's question in one sentence, generated from the numbers.

It is the answer of a contrast of rows, or, where a suite asks how well one number predicts another, the
coefficient of its first question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from advtransfer.leaderboard.aggregates import Aggregate
from advtransfer.leaderboard.baselines import SIGNIFICANCE_LEVEL
from advtransfer.leaderboard.contrasts import (
    AnswerVerdict,
    Contrast,
    NamedRow,
    RowLabels,
    requested_contrast,
)
from advtransfer.leaderboard.markdown import (
    count_noun,
    escape_markdown,
    format_interval,
    format_number,
    inline_code,
    join_parts,
)
from advtransfer.leaderboard.questions_coefficients import PredictorResult, QuestionAnswer
from advtransfer.leaderboard.ranking import TableCell
from advtransfer.leaderboard.row_comparison import Comparison, RankedTables, RowPair, compare_rows
from advtransfer.leaderboard.run_data import RunData
from advtransfer.leaderboard.table_rows import TablePlace
from advtransfer.leaderboard.tables import CLEAR_MARK, EN_DASH
from advtransfer.statistics import COEFFICIENTS
from advtransfer.statistics.correlation import MIN_POINTS

MAX_LISTED = 5  # labels written out in one sentence
UNITS = {"seeds": "{} subset seeds", "sources": "{} source trainings"}
COMPARED = {"yes": "does better than", "no": "does worse than"}


AGREEMENT_NOTE = (
    "The answer does not contradict the tables: it tests only the one difference that the suite names, without a "
    f"correction for other comparisons. In the tables {CLEAR_MARK} is corrected for all differences of a column, and "
    "the ranks for all pairs of rows, so both need a clearer difference."
)


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with its evidence.

    Attributes:
        verdict: Whether the rows of the contrast do better (yes) or worse (no) than the others, or
            whether a predictor predicts its outcome; "cannot tell" where the data do not say.
        sentence: The answer in markdown.
        comparison: The rows that were compared, None for a question.
        difference: Their mean paired difference, None without a pair.
    """

    verdict: AnswerVerdict
    sentence: str
    # Rows are compared by identity, and two pages of the same records are equal.
    comparison: Comparison | None = field(default=None, compare=False, repr=False)
    difference: Aggregate | None = None

    @property
    def text(self) -> str:
        """The sentence, after yes or no where the suite states what is compared."""
        is_stated = self.comparison is not None and self.comparison.contrast.is_stated
        word = f"**{self.verdict.capitalize()}.** "
        return f"{word if is_stated and self.verdict != 'cannot tell' else ''}{self.sentence}"

    @property
    def agreement_note(self) -> str:
        """Why the tables may doubt a difference that the answer is sure of; empty where none does."""
        if self.comparison is None or self.comparison.chosen or self.verdict == "cannot tell":
            return ""
        return AGREEMENT_NOTE if any(map(_is_doubted, self.comparison.pairs)) else ""


def _is_doubted(pair: RowPair) -> bool:
    """Return whether two compared rows share ranks, or have a difference to the baseline without a mark."""
    first, second = pair.line.rank_range, pair.other.rank_range
    share_ranks = bool(
        first and second and first.best <= second.worst and second.best <= first.worst
    )
    # The comparison is to the first of several baselines.
    differences = [each for line in (pair.line, pair.other) for each in line.differences[:1]]
    return share_ranks or any(
        each is not None and isinstance(each.value, Aggregate) and not each.is_clear
        for each in differences
    )


def suite_answer(
    data: RunData, tables: RankedTables, questions: Sequence[QuestionAnswer], *, claims: str = ""
) -> Answer | None:
    """Return the answer to a suite's question; None where nothing is ranked and nothing asked.

    Args:
        data: The run.
        tables: Its tables.
        questions: The answers to its questions.
        claims: How its claims were answered, which is the answer where the suite states no contrast; empty
            without claims.

    Raises:
        BadInput: The contrast is malformed or cannot be met.
    """
    contrast = requested_contrast(data)
    if claims and (contrast is None or not contrast.is_stated):
        return Answer("cannot tell", claims)
    if contrast is not None:
        return answer_contrast(contrast, data, tables)
    return answer_question(questions[0]) if questions else None


def answer_contrast(contrast: Contrast, data: RunData, tables: RankedTables) -> Answer:
    """Return the answer of a contrast, of a suite or of a claim.

    Raises:
        BadInput: Its metric is not in the records.
    """
    comparison = compare_rows(contrast, data, tables)
    difference = comparison.measured_difference(data) if comparison.pairs else None
    if difference is None:
        return Answer("cannot tell", _absent_sentence(comparison), comparison)
    verdict = comparison.verdict(difference)
    sentence = _contrast_sentence(comparison, difference, verdict)
    return Answer(verdict, sentence, comparison, difference)


def _contrast_sentence(
    comparison: Comparison, difference: Aggregate, verdict: AnswerVerdict
) -> str:
    """Return the answer with both means, the difference, its interval, and what it is over."""
    contrast, name = comparison.contrast, comparison.ranking.column.name
    of, against = _side_texts(comparison)
    metric = inline_code(name)
    if comparison.ranking.lowest_is_best:
        metric += " (lower is better)"
    where = _places_text(_pair_places(comparison))
    claim = f"{of} {COMPARED.get(verdict, '')} {against}"
    if verdict == "cannot tell":
        claim = f"**Cannot tell** whether {of} does better than {against}"
    cells = [pair.line.cells[name] for pair in comparison.pairs]
    other_cells = [pair.other.cells[name] for pair in comparison.pairs]
    fine = not all(cell.is_share for cell in (*cells, *other_cells))
    numbers = (
        f"{_mean_text(cells, fine=fine)} against {_mean_text(other_cells, fine=fine)}, a difference "
        f"of {_difference_text(difference, fine=fine)}"
    )
    details = [
        _basis_text(difference),
        _pairs_text(comparison),
        *_doubt_texts(comparison, difference),
    ]
    sentence = f"{claim} in {metric} {where}: {numbers} ({join_parts(details, '; ')})."
    return " ".join([sentence, *_notes(comparison, contrast)])


def _notes(comparison: Comparison, contrast: Contrast) -> list[str]:
    """Return further sentences: pairs left out, and a baseline that is itself the best row."""
    notes: list[str] = []
    if comparison.left_out:
        notes.append(
            f"{count_noun(comparison.left_out, 'pair')} left out, of which a row is not ranked."
        )
    best = comparison.best
    if comparison.chosen is not None and best not in (None, comparison.chosen):
        assert best is not None
        notes.append(
            f"The best row of all is {row_text(best)}, which has nothing to be compared with."
        )
        if contrast.against and all(
            getattr(best, axis) == label for axis, label in contrast.against.items()
        ):
            notes[-1] = f"The best row of all is the baseline's: {row_text(best)}."
    return notes


def _absent_sentence(comparison: Comparison) -> str:
    """Return why a contrast has no number."""
    metric = inline_code(comparison.ranking.column.name)
    where = _places_text(comparison.places)
    of, against = _side_texts(comparison)
    if comparison.left_out:
        reason = (
            "a row of each pair is not ranked (incomplete, unchecked, suspicious, or did not learn)"
        )
    elif comparison.contrast.of is None:
        reason = "fewer than two rows are ranked that can be compared"
    elif comparison.pairs:
        reason = "no training and seed has been measured for all of these rows"
    else:
        reason = "there are no two such rows with results"
    return f"**Cannot tell** whether {of} does better than {against} in {metric} {where}: {reason}."


def _side_texts(comparison: Comparison) -> tuple[str, str]:
    """Return the names of both sides."""
    contrast = comparison.contrast
    of = "the best row" if contrast.of is None else _labels_text(contrast.of)
    against = "the second" if contrast.against is None else _labels_text(contrast.against)
    if comparison.chosen is not None:
        of = row_text(comparison.chosen)
    others = {row_text(pair.other.row) for pair in comparison.pairs}
    if len(comparison.pairs) == 1 or (comparison.chosen is not None and len(others) == 1):
        of, against = row_text(comparison.pairs[0].line.row), others.pop()
    return of, against


def _labels_text(labels: RowLabels) -> str:
    """Return the labels of a row as text: ``linf 0.1``, ``igam``, ``natural with probe``."""
    source, transfer, adapter = (labels.get(axis) for axis in ("source", "transfer", "adapter"))
    texts = [escape_markdown(label) for label in (source, transfer) if label is not None]
    via = "" if adapter is None else f" via {escape_markdown(adapter)}"
    return f"{' with '.join(texts)}{via}"


def row_text(row: NamedRow) -> str:
    """Return the name of a row: ``linf 0.1 with probe``."""
    return _labels_text({axis: getattr(row, axis) for axis in ("source", "transfer", "adapter")})


def _pair_places(comparison: Comparison) -> list[TablePlace]:
    return list(dict.fromkeys(pair.place for pair in comparison.pairs))


def _places_text(places: Sequence[TablePlace]) -> str:
    """Return tables as text: ``on digits, n = 20 and 100``."""
    targets = dict.fromkeys(target for target, _ in places)
    counts = dict.fromkeys(n for _, n in places)
    sizes = f"{len(counts)} sizes n"
    if len(counts) <= MAX_LISTED:
        sizes = f"n = {_listed([str(n) for n in counts])}"
    where = f"{len(targets)} targets"
    if len(targets) <= MAX_LISTED:
        where = _listed([escape_markdown(target) for target in targets])
    return f"on {where}, {sizes}"


def _listed(texts: Sequence[str]) -> str:
    """Join texts: ``a``, ``a and b``, ``a, b and c``."""
    return " and ".join([*filter(None, [", ".join(texts[:-1])]), *texts[-1:]])


def _mean_text(cells: Sequence[TableCell], *, fine: bool) -> str:
    """Return the mean of some cells, ``at most`` where the host attacked only some of the images."""
    low = sum(cell.aggregate.low for cell in cells) / len(cells)
    high = sum(cell.aggregate.high for cell in cells) / len(cells)
    text = EN_DASH.join(format_number(end, fine=fine) for end in dict.fromkeys((low, high)))
    is_bound = any(cell.probe is not None and not cell.probe.is_complete for cell in cells)
    return f"at most {text}" if is_bound else text


def _difference_text(difference: Aggregate, *, fine: bool) -> str:
    ends = dict.fromkeys((difference.low, difference.high))
    value = " to ".join(format_number(end, sign=True, fine=fine) for end in ends)
    return f"{value}{format_interval(difference.interval, sign=True, fine=fine)}"


def _basis_text(difference: Aggregate) -> str:
    """Return what the interval is over: trainings or seeds, and test images."""
    if difference.interval is None:
        return "no interval: that takes several trials that differ, or shares of test images"
    images = f"{difference.image_count:,} test images" if difference.image_count else ""
    units = UNITS.get(difference.basis, "").format(difference.unit_count)
    if difference.unit_count < 2 or not units:
        return f"95 % interval over {images} of one trial alone, which tells nothing of other seeds or trainings"
    return f"95 % interval over {join_parts([units, images], ' and ')}"


def _pairs_text(comparison: Comparison) -> str:
    """Return that several pairs of rows are averaged, empty for one."""
    count = len(comparison.pairs)
    tables = len(_pair_places(comparison))
    if count == 1:
        return ""
    text = f"the mean over {count} pairs of rows"
    return f"{text} in {tables} tables" if tables > 1 else text


def _doubt_texts(comparison: Comparison, difference: Aggregate) -> list[str]:
    """Return what weakens the answer: the choice of the row, and upper bounds."""
    texts: list[str] = []
    name = comparison.ranking.column.name
    if comparison.chosen is not None and comparison.candidates > 1:
        texts.append(
            f"chosen as the best of {count_noun(comparison.candidates, 'row')}, which makes its mean "
            "too good on average"
        )
        if difference.p_value is not None and comparison.family_size > 1:
            corrected = min(1.0, comparison.family_size * difference.p_value)
            texts.append(f"p {_p_text(corrected)} after Bonferroni's correction for that choice")
    cells = [line.cells[name] for pair in comparison.pairs for line in (pair.line, pair.other)]
    if any(cell.probe is not None and not cell.probe.is_complete for cell in cells):
        texts.append("the host attacked only some of the images, so both are upper bounds")
    if difference.is_one_sided:
        texts.append("one side has one training, taken to vary as the other does")
    return texts


def _p_text(p_value: float) -> str:
    return "< .001" if p_value < 0.0005 else f"= {format_number(p_value)}"


def answer_question(question: QuestionAnswer) -> Answer:
    """Return the answer of a question: the rank coefficient of its first predictor where it has points.

    Other predictors count in the corrected p, and the sentence says how many of them reach .05.
    """
    results = [result for scope in question.results.values() for result in scope]
    with_points = [each for each in results if len(each.points.points) >= MIN_POINTS]
    outcome = inline_code(question.outcome.name)
    axis = question.question.across
    if not with_points:
        predictors = ", ".join(inline_code(each.name) for each in question.predictors[:MAX_LISTED])
        return Answer(
            "cannot tell",
            f"**Cannot tell** whether {predictors} predicts {outcome} across {axis}s: fewer than "
            f"{MIN_POINTS} points.",
        )
    first = with_points[0]
    p_value = first.corrected.get(RANK_COEFFICIENT)
    is_clear = p_value is not None and p_value < SIGNIFICANCE_LEVEL
    predictor = inline_code(first.points.predictor.name)
    claim = f"{predictor} predicts {outcome} across {axis}s"
    if not is_clear:
        claim = f"**Cannot tell** whether {claim}"
    verdict: AnswerVerdict = "yes" if is_clear else "cannot tell"
    text = _coefficient_text(first, is_exploratory=question.question.exploratory)
    return Answer(verdict, f"{claim}: {text}{_others_text(first, results)}.")


RANK_COEFFICIENT = COEFFICIENTS[1]
"""Spearman's: a predictor that orders is enough, and no scale is assumed."""


def _coefficient_text(result: PredictorResult, *, is_exploratory: bool) -> str:
    """Return a coefficient with its interval, points and p, or why it has no p."""
    association = result.coefficients[RANK_COEFFICIENT]
    if association.value is None:
        return "no coefficient, since one side has no spread"
    p_value = result.corrected.get(RANK_COEFFICIENT)
    points = count_noun(len(result.points.points), "point")
    tested = "no p" if p_value is None else f"p {_p_text(p_value)}"
    if is_exploratory:
        tested = "no p, since it was asked after looking at results"
    elif not result.is_testable:
        origins = count_noun(result.origin_count, "source")
        tested = f"no p, since the points descend from {origins} and are not independent"
    if p_value is not None and result.family_size > 1:
        tested += f" after Holm's correction for {result.family_size} predictors"
    if p_value is not None:
        tested += _least_p_text(result, points)
    # Points in perfect order stay so in every resample: such an interval tells nothing.
    interval = association.interval
    if interval is not None and interval[0] == interval[1]:
        interval = None
    value = f"{format_number(association.value, sign=True)}{format_interval(interval, sign=True)}"
    return f"{RANK_COEFFICIENT}'s rank correlation is {value} over {points} ({tested})"


def _least_p_text(result: PredictorResult, points: str) -> str:
    """Return that no data of so few points could have given a clear p, empty where they could."""
    least = result.least_p(RANK_COEFFICIENT)
    if least is None or least < SIGNIFICANCE_LEVEL:
        return ""
    return f"; with {points} no p below {format_number(least, fine=True)} is possible"


def _others_text(first: PredictorResult, results: Sequence[PredictorResult]) -> str:
    """Return which of the other coefficients of the question are clear, empty without others."""
    others = [each for each in results if each is not first]
    p_values = [(each, each.corrected.get(RANK_COEFFICIENT)) for each in others]
    tested = [(each, p_value) for each, p_value in p_values if p_value is not None]
    if not tested:
        return ""
    clear = [each for each, p_value in tested if p_value < SIGNIFICANCE_LEVEL]
    if not clear:
        return f"; of the question's {len(tested)} others, none reach p < .05"
    # One predictor may be clear in several tables.
    names = list(dict.fromkeys(inline_code(each.points.predictor.name) for each in clear))
    listed = f" ({_listed(names)})" if len(names) <= MAX_LISTED else ""
    return f"; of the question's {len(tested)} others, {len(clear)} reach p < .05{listed}"
