"""Reader of ``targets``.

Data, training subsets, test images, references, and the policy on leaked images.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Literal, NamedTuple

from advtransfer.precheck import Outline
from advtransfer.suite import validators
from advtransfer.suite.entry import distinct_values
from advtransfer.suite.grid_entries import GridEntries
from advtransfer.suite.located import Located, Problems, did_you_mean
from advtransfer.suite.sections import MAX_TRIALS
from advtransfer.suite.suite import GridEntry, LeakagePolicy, Subset, Target

UNIFORM = "uniform"
UTRERA2021 = (
    "utrera2021"  # Utrera et al., "Adversarially-Trained Deep Nets Transfer Better", ICLR 2021
)
DRAW_RULES = (UNIFORM, UTRERA2021)
DRAW_KEYS = ("n", "seeds", "validation")


def read_subsets(
    target: Located, said: Mapping[str, Located], data: Outline, problems: Problems
) -> tuple[Subset, ...]:
    """Every draw that a target asks for, in the order written; a pair of n and seed stands for one draw only."""
    listed = said.get("subsets")
    if listed is None:
        return _distinct_subsets(
            said.get("n", target), [_read_draws(target, said, data, problems)], problems
        )
    for name in DRAW_KEYS:
        if name in said:
            expected = "`subsets`, or n, seeds and validation, not both"
            problems.add(
                said[name].name_location,
                found=f"{name!r}",
                expected=expected,
                next_step="remove one of the two",
            )
    items = validators.require_list(
        listed, expected="a list of {n, seeds, validation}", problems=problems
    )
    known = [
        (item, validators.require_closed_mapping(item, DRAW_KEYS, of="a subset", problems=problems))
        for item in items
    ]
    draws = [_read_draws(item, own, data, problems) for item, own in known]
    return _distinct_subsets(listed, draws, problems)


class _Draws(NamedTuple):
    """Each n with each seed: not drawn before it is known how many these are."""

    sizes: Sequence[int | Literal["all"]]
    seeds: Sequence[int]
    share: float
    rule: str

    def __len__(self) -> int:
        return len(self.sizes) * len(self.seeds)


def _read_draws(
    item: Located, said: Mapping[str, Located], data: Outline, problems: Problems
) -> _Draws:
    sizes = _read_sizes(item, said.get("n"), problems)
    seeds, rule = _read_seeds(said["seeds"], problems) if "seeds" in said else ((0,), UNIFORM)
    share = _read_validation_share(said["validation"], problems) if "validation" in said else 0.0
    if "n" in said:
        _check_sizes(said["n"], share, data, problems)
    return _Draws(sizes, seeds, share, rule)


def _check_sizes(n: Located, share: float, data: Outline, problems: Problems) -> None:
    """Note counts that are more than the train part has, or leave a class without an image."""
    classes = None if data.train_counts is None else len(data.train_counts)
    for one in n.value if isinstance(n.value, tuple) else (n,):
        count = one.value
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            continue
        trained = count - round(share * count)
        if data.train is not None and count > data.train:
            expected = f"at most the {data.train:,} images of the train part, or all"
            validators.add_mismatch(
                one, expected=expected, next_step="lower it, or write all", problems=problems
            )
        elif classes is not None and trained < classes:
            left = (
                f", of which `validation` leaves {trained} to train on" if trained < count else ""
            )
            expected = f"at least one training image for each of {classes} classes"
            problems.add(
                one.location,
                found=f"{one.shown_text()}{left}",
                expected=expected,
                next_step="raise it",
            )


def _read_sizes(item: Located, n: Located | None, problems: Problems) -> list[int | Literal["all"]]:
    if n is None:
        if isinstance(item.value, Mapping):
            next_step = "add for example `n: [20, 100, all]`"
            problems.add(
                item.name_location,
                found="no `n`",
                expected="counts of labelled images",
                next_step=next_step,
            )
        return []
    several = (
        validators.require_list(n, expected="counts", problems=problems)
        if isinstance(n.value, tuple)
        else (n,)
    )
    counts = [
        validators.require_count_or_all(one, of="labelled images", problems=problems)
        for one in several
    ]
    return [count for count in counts if count is not None]


def _read_seeds(seeds: Located, problems: Problems) -> tuple[Sequence[int], str]:
    """The seeds that a count, a list, or ``{rule, count}`` says, and the rule that draws with them."""
    if isinstance(seeds.value, Mapping):
        return _read_seed_rule(seeds, problems)
    if isinstance(seeds.value, tuple):
        listed = distinct_values(
            validators.require_list(seeds, expected="seeds", problems=problems),
            of="`seeds`",
            problems=problems,
        )
        numbers = [
            validators.require_integer(one, at_least=0, expected="a seed from 0", problems=problems)
            for one in listed
        ]
        return tuple(one for one in numbers if one is not None), UNIFORM
    expected = f"a count from 1 to {MAX_TRIALS:,}, a list of seeds, or {{rule, count}}"
    count = validators.require_integer(
        seeds, at_least=1, at_most=MAX_TRIALS, expected=expected, problems=problems
    )
    return range(count or 0), UNIFORM


def _read_seed_rule(seeds: Located, problems: Problems) -> tuple[Sequence[int], str]:
    said = validators.require_closed_mapping(
        seeds, ("rule", "count"), of="`seeds`", problems=problems
    )
    rule, count = said.get("rule", seeds), said.get("count", seeds)
    if rule.value not in DRAW_RULES:
        next_step = did_you_mean(rule.value, DRAW_RULES, otherwise="write one of them")
        validators.add_mismatch(
            rule,
            expected=f"`rule`: {' or '.join(DRAW_RULES)}",
            next_step=next_step,
            problems=problems,
        )
    expected = f"`count`: a number from 1 to {MAX_TRIALS:,}"
    number = (
        validators.require_integer(
            count, at_least=1, at_most=MAX_TRIALS, expected=expected, problems=problems
        )
        or 0
    )
    # S_k = 20000000 + 100000 k are the seeds of the paper's released code.
    first, step = (20_000_000, 100_000) if rule.value == UTRERA2021 else (0, 1)
    return range(first, first + step * number, step), str(rule.value)


def _read_validation_share(value: Located, problems: Problems) -> float:
    share = value.value
    if isinstance(share, int | float) and not isinstance(share, bool) and 0 <= share < 1:
        return float(share)
    expected, next_step = "a share of n from 0 to below 1", validators.correction_step(value)
    validators.add_mismatch(value, expected=expected, next_step=next_step, problems=problems)
    return 0.0


def _distinct_subsets(
    where: Located, several: Sequence[_Draws], problems: Problems
) -> tuple[Subset, ...]:
    count = sum(map(len, several))
    if count > MAX_TRIALS:
        expected, next_step = f"at most {MAX_TRIALS:,}", "ask for fewer seeds"
        problems.add(
            where.name_location, found=f"{count:,} subsets", expected=expected, next_step=next_step
        )
        return ()
    kept: dict[tuple[int | str, int], Subset] = {}
    for draws in several:
        for n, seed in product(draws.sizes, draws.seeds):
            if (n, seed) in kept:
                found = f"n {n} with seed {seed} again"
                problems.add(
                    where.location,
                    found=found,
                    expected="each pair of n and seed once",
                    next_step="remove one",
                )
            kept.setdefault((n, seed), Subset(n, seed, draws.share, draws.rule))
    return tuple(kept.values())


TARGET_KEYS = ("data", *DRAW_KEYS, "subsets", "test", "reference", "leakage")
LEAKAGE_POLICIES: tuple[LeakagePolicy, ...] = ("count", "error", "off")


def read_target(
    key: str, value: Located, *, entries: GridEntries, problems: Problems
) -> tuple[Target | None, tuple[Subset, ...]]:
    """The target that an entry of ``targets`` says, or None and problems; and its subsets, as far as they are known."""
    before = problems.noted_count
    said = validators.require_closed_mapping(value, TARGET_KEYS, of="a target", problems=problems)
    if "data" not in said and value.value is not None:
        expected, next_step = (
            "a data set: the name of an entry, or an entry in place",
            "add `data: NAME`",
        )
        problems.add(value.name_location, found="no `data`", expected=expected, next_step=next_step)
    data = (
        entries.single_entry("dataset", said["data"], key=f"{key}.data") if "data" in said else None
    )
    outline = entries.outlines.outline_of(data.node if data else None)
    draws = read_subsets(value, said, outline, problems)
    test = (
        validators.require_count_or_all(said["test"], of="test images", problems=problems)
        if "test" in said
        else "all"
    )
    if (
        "test" in said
        and isinstance(test, int)
        and outline.test is not None
        and test > outline.test
    ):
        expected = f"at most the {outline.test:,} images of the test part, or all"
        validators.add_mismatch(
            said["test"], expected=expected, next_step="lower it, or write all", problems=problems
        )
    references = (
        entries.reference_entries(said["reference"], key=f"{key}.reference")
        if "reference" in said
        else ()
    )
    for one in references:
        _check_reference(one, outline, said["reference"], entries, problems)
    leakage = _read_leakage_policy(said["leakage"], problems) if "leakage" in said else "count"
    if data is None or leakage is None or problems.noted_count > before:
        return None, draws
    return Target(key, data, draws, None if test == "all" else test, references, leakage), draws


def _check_reference(
    reference: GridEntry, data: Outline, written: Located, entries: GridEntries, problems: Problems
) -> None:
    """Note a reference for other inputs or other classes than the target's."""
    own = entries.outlines.outline_of(reference.node)
    for what, there, wanted in (
        ("inputs", own.shape, data.shape),
        ("outputs", own.outputs, data.outputs),
    ):
        if None not in (there, wanted) and there != wanted:
            found = (
                f"the reference {reference.label!r} for {there} {what}"
                if what == "outputs"
                else (f"the reference {reference.label!r} for inputs {there}")
            )
            next_step = "build it for the target's own data entry"
            problems.add(
                written.location,
                found=found,
                expected=f"{wanted}, as the target has",
                next_step=next_step,
            )


def _read_leakage_policy(value: Located, problems: Problems) -> LeakagePolicy | None:
    """What a target says of leaked images."""
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
