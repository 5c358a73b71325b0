"""Which subsets of a target's labelled images are drawn: how many, with which seeds, by which rule."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Literal, NamedTuple

from advtransfer.precheck import Outline
from advtransfer.suite import expect
from advtransfer.suite.limits import MOST_TRIALS
from advtransfer.suite.marked import Marked
from advtransfer.suite.problems import Problems, did_you_mean
from advtransfer.suite.suite import Subset
from advtransfer.suite.sweep import distinct

UNIFORM = "uniform"
UTRERA2021 = "utrera2021"  # Utrera et al., "Adversarially-Trained Deep Nets Transfer Better", ICLR 2021
RULES = (UNIFORM, UTRERA2021)
DRAWN = ("n", "seeds", "validation")


def subsets(target: Marked, said: Mapping[str, Marked], data: Outline, problems: Problems) -> tuple[Subset, ...]:
    """Every draw that a target asks for, in the order written; a pair of n and seed stands for one draw only."""
    listed = said.get("subsets")
    if listed is None:
        return _distinct(said.get("n", target), [_draws(target, said, data, problems)], problems)
    for name in DRAWN:
        if name in said:
            expected = "`subsets`, or n, seeds and validation, not both"
            problems.add(said[name].name_mark, found=f"{name!r}", expected=expected, next_step="remove one of the two")
    items = expect.listed(listed, expected="a list of {n, seeds, validation}", problems=problems)
    known = [(item, expect.closed(item, DRAWN, of="a subset", problems=problems)) for item in items]
    draws = [_draws(item, own, data, problems) for item, own in known]
    return _distinct(listed, draws, problems)


class _Draws(NamedTuple):
    """Each n with each seed: not drawn before it is known how many these are."""

    sizes: Sequence[int | Literal["all"]]
    seeds: Sequence[int]
    share: float
    rule: str

    def __len__(self) -> int:
        return len(self.sizes) * len(self.seeds)


def _draws(item: Marked, said: Mapping[str, Marked], data: Outline, problems: Problems) -> _Draws:
    sizes = _sizes(item, said.get("n"), problems)
    seeds, rule = _seeds(said["seeds"], problems) if "seeds" in said else ((0,), UNIFORM)
    share = _share(said["validation"], problems) if "validation" in said else 0.0
    if "n" in said:
        _check_sizes(said["n"], share, data, problems)
    return _Draws(sizes, seeds, share, rule)


def _check_sizes(n: Marked, share: float, data: Outline, problems: Problems) -> None:
    """Note counts that are more than the train part has, or leave a class without an image."""
    classes = None if data.train_counts is None else len(data.train_counts)
    for one in n.value if isinstance(n.value, tuple) else (n,):
        count = one.value
        if not isinstance(count, int) or isinstance(count, bool) or count < 1:
            continue
        trained = count - round(share * count)
        if data.train is not None and count > data.train:
            expected = f"at most the {data.train:,} images of the train part, or all"
            expect.wrong(one, expected=expected, next_step="lower it, or write all", problems=problems)
        elif classes is not None and trained < classes:
            left = f", of which `validation` leaves {trained} to train on" if trained < count else ""
            expected = f"at least one training image for each of {classes} classes"
            problems.add(one.mark, found=f"{one.shown()}{left}", expected=expected, next_step="raise it")


def _sizes(item: Marked, n: Marked | None, problems: Problems) -> list[int | Literal["all"]]:
    if n is None:
        if isinstance(item.value, Mapping):
            next_step = "add for example `n: [20, 100, all]`"
            problems.add(item.name_mark, found="no `n`", expected="counts of labelled images", next_step=next_step)
        return []
    several = expect.listed(n, expected="counts", problems=problems) if isinstance(n.value, tuple) else (n,)
    counts = [expect.count_or_all(one, of="labelled images", problems=problems) for one in several]
    return [count for count in counts if count is not None]


def _seeds(seeds: Marked, problems: Problems) -> tuple[Sequence[int], str]:
    """The seeds that a count, a list, or ``{rule, count}`` says, and the rule that draws with them."""
    if isinstance(seeds.value, Mapping):
        return _ruled(seeds, problems)
    if isinstance(seeds.value, tuple):
        listed = distinct(expect.listed(seeds, expected="seeds", problems=problems), of="`seeds`", problems=problems)
        numbers = [expect.integer(one, at_least=0, expected="a seed from 0", problems=problems) for one in listed]
        return tuple(one for one in numbers if one is not None), UNIFORM
    expected = f"a count from 1 to {MOST_TRIALS:,}, a list of seeds, or {{rule, count}}"
    count = expect.integer(seeds, at_least=1, at_most=MOST_TRIALS, expected=expected, problems=problems)
    return range(count or 0), UNIFORM


def _ruled(seeds: Marked, problems: Problems) -> tuple[Sequence[int], str]:
    said = expect.closed(seeds, ("rule", "count"), of="`seeds`", problems=problems)
    rule, count = said.get("rule", seeds), said.get("count", seeds)
    if rule.value not in RULES:
        next_step = did_you_mean(rule.value, RULES, otherwise="write one of them")
        expect.wrong(rule, expected=f"`rule`: {' or '.join(RULES)}", next_step=next_step, problems=problems)
    expected = f"`count`: a number from 1 to {MOST_TRIALS:,}"
    number = expect.integer(count, at_least=1, at_most=MOST_TRIALS, expected=expected, problems=problems) or 0
    # S_k = 20000000 + 100000 k are the seeds of the paper's released code.
    first, step = (20_000_000, 100_000) if rule.value == UTRERA2021 else (0, 1)
    return range(first, first + step * number, step), str(rule.value)


def _share(value: Marked, problems: Problems) -> float:
    share = value.value
    if isinstance(share, int | float) and not isinstance(share, bool) and 0 <= share < 1:
        return float(share)
    expected, next_step = "a share of n from 0 to below 1", expect.corrected(value)
    expect.wrong(value, expected=expected, next_step=next_step, problems=problems)
    return 0.0


def _distinct(where: Marked, several: Sequence[_Draws], problems: Problems) -> tuple[Subset, ...]:
    count = sum(map(len, several))
    if count > MOST_TRIALS:
        expected, next_step = f"at most {MOST_TRIALS:,}", "ask for fewer seeds"
        problems.add(where.name_mark, found=f"{count:,} subsets", expected=expected, next_step=next_step)
        return ()
    kept: dict[tuple[int | str, int], Subset] = {}
    for draws in several:
        for n, seed in product(draws.sizes, draws.seeds):
            if (n, seed) in kept:
                found = f"n {n} with seed {seed} again"
                problems.add(where.mark, found=found, expected="each pair of n and seed once", next_step="remove one")
            kept.setdefault((n, seed), Subset(n, seed, draws.share, draws.rule))
    return tuple(kept.values())
