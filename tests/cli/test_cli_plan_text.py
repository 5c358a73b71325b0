"""A plan's axes in words."""

from __future__ import annotations

from advtransfer.api import plan_text
from advtransfer.planning import Plan, Trial
from advtransfer.planning.trials import SubsetSize


def trial(
    target: str,
    n: SubsetSize,
    seed: int,
    *,
    source: str | None = "natural",
    skipped: str | None = None,
) -> Trial:
    id = f"{source}{target}{n}{seed}"
    evaluations = {"clean": (f"{id}clean",), "pgd20": (f"{id}pgd",)}
    return Trial(id, source, source, None, None, target, n, seed, "probe", evaluations, (), skipped)


def plan(*trials: Trial) -> Plan:
    return Plan("small", "Does it transfer?", {}, {}, trials)


DIGITS = [trial("digits", n, seed) for n in (20, 100, "all") for seed in range(3)]
MNIST = [trial("mnist", 500, 0), trial("mnist", 500, 7, source="robust", skipped="shapes differ")]


def test_axes_are_shown_with_the_seeds_of_each_n() -> None:
    assert plan_text.grid_text(plan(*DIGITS, *MNIST)).splitlines() == [
        "small: 11 trials, 20 results",
        "Does it transfer?",
        "",
        "AXIS        CELLS",
        "source      natural, robust",
        "adapter     –",  # noqa: RUF001  # the en dash for what is absent
        "target      digits: n 20, 100, all with seeds 0..2",
        "target      mnist: n 500 with seeds 0, 7",
        "transfer    probe",
        "evaluation  clean, pgd20",
    ]


def test_sizes_with_other_seeds_are_separate_draws() -> None:
    mixed = plan(
        trial("mnist", "all", 0),
        trial("mnist", 2000, 0),
        trial("mnist", 2000, 1),
        trial("mnist", 500, 0),
    )

    assert "mnist: n 500, all with seed 0; n 2000 with seeds 0, 1" in plan_text.grid_text(mixed)


def test_grid_as_data_has_the_same_numbers() -> None:
    assert plan_text.grid_json(plan(*DIGITS, *MNIST)) == {
        "suite": "small",
        "title": "Does it transfer?",
        "sources": ["natural", "robust"],
        "adapters": [],
        "transfers": ["probe"],
        "evaluations": ["clean", "pgd20"],
        "targets": {
            "digits": [{"n": [20, 100, "all"], "seeds": [0, 1, 2]}],
            "mnist": [{"n": [500], "seeds": [0, 7]}],
        },
        "references": {},
        "trials": 11,
        "skipped": 1,
        "results": 20,
    }


def test_trial_without_a_source_adds_none_to_the_axis() -> None:
    assert plan_text.grid_json(plan(trial("mnist", 20, 0, source=None)))["sources"] == []
