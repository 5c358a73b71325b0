"""Reader of ``targets``.

Data, training subsets, test images, references, and the policy on leaked images.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Literal, NamedTuple

from advtransfer.precheck import Outline
from advtransfer.suite import validators
from advtransfer.suite.further_tests import read_further_data
from advtransfer.suite.grid_entries import GridEntries
from advtransfer.suite.located import Located, Problems, did_you_mean
from advtransfer.suite.sections import MAX_TRIALS
from advtransfer.suite.suite import GridEntry, LeakagePolicy, SeedPairing, Subset, Target

UNIFORM = "uniform"
# Utrera et al., "Adversarially-Trained Deep Nets Transfer Better: Illustration on Image
# Classification", ICLR 2021.
UTRERA2021 = "utrera2021"
DRAW_RULES = (UNIFORM, UTRERA2021)
DRAW_KEYS = ("n", "seeds", "validation")
SEED_KEYS = ("count", "rule", "paired")


def read_subsets(
    target: Located, entries: Mapping[str, Located], data: Outline, problems: Problems
) -> tuple[Subset, ...]:
    """Return every subset that a target asks for, in the order written.

    A pair of n and seed is one subset, so its repetition is a problem.

    Args:
        target: The target's entry.
        entries: The entry's values by key.
        data: What is known of the target's data set.
        problems: Collects the problems.
    """
    listed = entries.get("subsets")
    if listed is None:
        draws = [_read_draws(target, entries, data, problems)]
        return _distinct_subsets(entries.get("n", target), draws, problems)
    for name in DRAW_KEYS:
        if name in entries:
            problems.add(
                entries[name].name_location,
                found=f"{name!r}",
                expected="`subsets`, or n, seeds and validation, not both",
                next_step="remove one of the two",
            )
    items = validators.require_list(
        listed, expected="a list of {n, seeds, validation}", problems=problems
    )
    draws = []
    for item in items:
        own = validators.require_closed_mapping(item, DRAW_KEYS, of="a subset", problems=problems)
        draws.append(_read_draws(item, own, data, problems))
    return _distinct_subsets(listed, draws, problems)


class _SubsetSeeds(NamedTuple):
    """Seeds of subsets, the rule that draws with them, and whether they pair with trainings."""

    values: Sequence[int]
    rule: str = UNIFORM
    paired: bool = False


class _Draws(NamedTuple):
    """Each n with each seed. The product is not made before its size is known to be allowed."""

    sizes: Sequence[int | Literal["all"]]
    seeds: _SubsetSeeds
    share: float

    def __len__(self) -> int:
        return len(self.sizes) * len(self.seeds.values)

    def iter_subsets(self) -> Iterator[Subset]:
        """Yield every subset, in the order written."""
        seeds = self.seeds
        count = len(seeds.values)
        for n, (position, seed) in product(self.sizes, enumerate(seeds.values)):
            pairing = SeedPairing(position, count) if seeds.paired else None
            yield Subset(n, seed, self.share, seeds.rule, pairing)


def _read_draws(
    item: Located, entries: Mapping[str, Located], data: Outline, problems: Problems
) -> _Draws:
    sizes = _read_sizes(item, entries.get("n"), problems)
    seeds = _read_seeds(entries["seeds"], problems) if "seeds" in entries else _SubsetSeeds((0,))
    share = (
        _read_validation_share(entries["validation"], problems) if "validation" in entries else 0.0
    )
    if "n" in entries:
        _check_sizes(entries["n"], share, data, problems)
    return _Draws(sizes, seeds, share)


def _check_sizes(n: Located, share: float, data: Outline, problems: Problems) -> None:
    """Add problems for counts above the train part, or too small for an image of each class."""
    classes = None if data.train_counts is None else len(data.train_counts)
    for item in n.value if isinstance(n.value, tuple) else (n,):
        count = item.value
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            continue
        trained = count - round(share * count)
        if data.train is not None and count > data.train:
            expected = f"at most the {data.train:,} images of the train part, or all"
            validators.add_mismatch(
                item, expected=expected, next_step="lower it, or write all", problems=problems
            )
        elif classes is not None and trained < classes:
            held_out = f", of which `validation` leaves {trained} to train on"
            problems.add(
                item.location,
                found=item.shown_text() + (held_out if trained < count else ""),
                expected=f"at least one training image for each of {classes} classes",
                next_step="raise it",
            )


def _read_sizes(item: Located, n: Located | None, problems: Problems) -> list[int | Literal["all"]]:
    if n is None:
        if isinstance(item.value, Mapping):
            problems.add(
                item.name_location,
                found="no `n`",
                expected="counts of labelled images",
                next_step="add for example `n: [20, 100, all]`",
            )
        return []
    items: tuple[Located, ...] = (n,)
    if isinstance(n.value, tuple):
        items = validators.require_list(n, expected="counts", problems=problems)
    counts = [
        validators.require_count_or_all(count, of="labelled images", problems=problems)
        for count in items
    ]
    return [count for count in counts if count is not None]


def _read_seeds(seeds: Located, problems: Problems) -> _SubsetSeeds:
    """Return the seeds of a count, a list, or ``{count, rule, paired}``."""
    if isinstance(seeds.value, Mapping):
        return _read_seed_mapping(seeds, problems)
    if isinstance(seeds.value, tuple):
        return _SubsetSeeds(_read_seed_list(seeds, problems))
    expected = f"a count from 1 to {MAX_TRIALS:,}, a list of seeds, or {{{', '.join(SEED_KEYS)}}}"
    count = validators.require_integer(
        seeds, at_least=1, at_most=MAX_TRIALS, expected=expected, problems=problems
    )
    return _SubsetSeeds(range(count or 0))


def _read_seed_list(seeds: Located, problems: Problems) -> tuple[int, ...]:
    items = validators.require_list(seeds, expected="seeds", problems=problems)
    numbers = [
        validators.require_integer(item, at_least=0, expected="a seed from 0", problems=problems)
        for item in validators.require_distinct(items, of="`seeds`", problems=problems)
    ]
    return tuple(number for number in numbers if number is not None)


def _read_seed_mapping(seeds: Located, problems: Problems) -> _SubsetSeeds:
    entries = validators.require_closed_mapping(seeds, SEED_KEYS, of="`seeds`", problems=problems)
    rule = _read_rule(entries["rule"], problems) if "rule" in entries else UNIFORM
    paired = "paired" in entries and validators.require_boolean(
        entries["paired"],
        expected="true (training i of a source with subset seed i) or false",
        problems=problems,
    )
    count = validators.require_integer(
        entries.get("count", seeds),
        at_least=1,
        at_most=MAX_TRIALS,
        expected=f"`count`: a number from 1 to {MAX_TRIALS:,}",
        problems=problems,
    )
    # S_k = 20000000 + 100000 k are the seeds of the paper's released code.
    first, step = (20_000_000, 100_000) if rule == UTRERA2021 else (0, 1)
    return _SubsetSeeds(range(first, first + step * (count or 0), step), rule, paired)


def _read_rule(rule: Located, problems: Problems) -> str:
    if rule.value not in DRAW_RULES:
        validators.add_mismatch(
            rule,
            expected=f"`rule`: {' or '.join(DRAW_RULES)}",
            next_step=did_you_mean(rule.value, DRAW_RULES, otherwise="write one of them"),
            problems=problems,
        )
    return str(rule.value)


def _read_validation_share(value: Located, problems: Problems) -> float:
    share = value.value
    if isinstance(share, int | float) and not isinstance(share, bool) and 0 <= share < 1:
        return float(share)
    expected, next_step = "a share of n from 0 to below 1", validators.correction_step(value)
    validators.add_mismatch(value, expected=expected, next_step=next_step, problems=problems)
    return 0.0


def _distinct_subsets(
    where: Located, all_draws: Sequence[_Draws], problems: Problems
) -> tuple[Subset, ...]:
    count = sum(map(len, all_draws))
    if count > MAX_TRIALS:
        problems.add(
            where.name_location,
            found=f"{count:,} subsets",
            expected=f"at most {MAX_TRIALS:,}",
            next_step="ask for fewer seeds",
        )
        return ()
    subsets: dict[tuple[int | str, int], Subset] = {}
    for draws in all_draws:
        for subset in draws.iter_subsets():
            if (subset.n, subset.seed) in subsets:
                problems.add(
                    where.location,
                    found=f"n {subset.n} with seed {subset.seed} again",
                    expected="each pair of n and seed once",
                    next_step="remove one",
                )
            subsets.setdefault((subset.n, subset.seed), subset)
    return tuple(subsets.values())


TARGET_KEYS = ("data", *DRAW_KEYS, "subsets", "test", "also", "reference", "leakage")
LEAKAGE_POLICIES: tuple[LeakagePolicy, ...] = ("count", "error", "off")


class TargetReading(NamedTuple):
    """A target, None where it has mistakes, and what is known of it for the axes even then.

    `also` are its further data sets, and `knows_also` tells whether they are all that it lists.
    """

    target: Target | None
    subsets: tuple[Subset, ...]
    also: tuple[GridEntry, ...]
    knows_also: bool


def read_target(
    key: str, value: Located, *, entries: GridEntries, problems: Problems
) -> TargetReading:
    """Return the target of an entry of ``targets``, as far as it is known.

    Where there are mistakes, they are added as problems, and the target is None.
    """
    noted_before = problems.noted_count
    written = validators.require_closed_mapping(
        value, TARGET_KEYS, of="a target", problems=problems
    )
    data = _read_data(key, value, written, entries, problems)
    outline = entries.outlines.outline_of(data.node if data else None)
    subsets = read_subsets(value, written, outline, problems)
    test = _read_test_count(written["test"], outline, problems) if "test" in written else None
    also: tuple[GridEntry, ...] = ()
    if "also" in written:
        also = read_further_data(
            written["also"], data, test=test, entries=entries, problems=problems
        )
    references: tuple[GridEntry, ...] = ()
    if "reference" in written:
        references = entries.reference_entries(written["reference"], key=f"{key}.reference")
    for reference in references:
        _check_reference(reference, outline, written["reference"], entries, problems)
    leakage: LeakagePolicy | None = "count"
    if "leakage" in written:
        leakage = _read_leakage_policy(written["leakage"], problems)
    listed = written["also"].value if "also" in written else ()
    knows_also = isinstance(listed, tuple) and len(listed) == len(also)
    if data is None or leakage is None or problems.noted_count > noted_before:
        return TargetReading(None, subsets, also, knows_also)
    seeds = written.get("seeds") or written.get("subsets")
    seeds_location = None if seeds is None else seeds.name_location
    target = Target(key, data, subsets, test, references, leakage, also, seeds_location)
    return TargetReading(target, subsets, also, knows_also)


def _read_data(
    key: str,
    value: Located,
    written: Mapping[str, Located],
    entries: GridEntries,
    problems: Problems,
) -> GridEntry | None:
    if "data" in written:
        return entries.single_entry("dataset", written["data"], key=f"{key}.data")
    if value.value is not None:
        problems.add(
            value.name_location,
            found="no `data`",
            expected="a data set: the name of an entry, or an inline entry",
            next_step="add `data: NAME`",
        )
    return None


def _read_test_count(value: Located, data: Outline, problems: Problems) -> int | None:
    """Return the number of test images to measure; None stands for all."""
    count = validators.require_count_or_all(value, of="test images", problems=problems)
    if not isinstance(count, int):
        return None
    if data.test is not None and count > data.test:
        expected = f"at most the {data.test:,} images of the test part, or all"
        validators.add_mismatch(
            value, expected=expected, next_step="lower it, or write all", problems=problems
        )
    return count


def _check_reference(
    reference: GridEntry, data: Outline, written: Located, entries: GridEntries, problems: Problems
) -> None:
    """Add a problem for a reference with other inputs or outputs than the target's data."""
    outline = entries.outlines.outline_of(reference.node)
    name = f"the reference {reference.label!r}"
    mismatches: list[tuple[str, object]] = []
    if None not in (outline.shape, data.shape) and outline.shape != data.shape:
        mismatches.append((f"{name} for inputs {outline.shape}", data.shape))
    if None not in (outline.outputs, data.outputs) and outline.outputs != data.outputs:
        mismatches.append((f"{name} for {outline.outputs} outputs", data.outputs))
    for found, expected in mismatches:
        problems.add(
            written.location,
            found=found,
            expected=f"{expected}, as the target has",
            next_step="build it for the target's own data entry",
        )


def _read_leakage_policy(value: Located, problems: Problems) -> LeakagePolicy | None:
    """Return a target's policy on leaked images, or add a problem and return None."""
    for policy in LEAKAGE_POLICIES:
        if value.value == policy:
            return policy
    expected = f"one of {', '.join(LEAKAGE_POLICIES)}"
    validators.add_mismatch(
        value,
        expected=expected,
        next_step="correct the word, or leave `leakage` out",
        problems=problems,
    )
    return None
