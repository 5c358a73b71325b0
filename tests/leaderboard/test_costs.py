"""What a fit cost follows from its recorded options, and rows that cost more than twice as much are told."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import pytest

from advtransfer.leaderboard import make_page
from advtransfer.leaderboard.costs import fit_costs

if TYPE_CHECKING:
    from tests.leaderboard.conftest import Bench

Options: TypeAlias = "dict[str, Any]"  # Any: options of any fit
TRAINING: Options = {"epochs": 10, "optimiser": {"kind": "sgd"}}


def fit(options: Options, **fields: Any) -> Options:  # noqa: ANN401  # Any: fields of a record
    return {
        "asked": {"options": options, "inputs": {}},
        "facts": {"labels_used": 100, **fields.pop("facts", {})},
        **fields,
    }


def costs_of(record: Options) -> dict[str, float]:
    return {name: metric.low for name, metric in fit_costs(record).items()}


@pytest.mark.parametrize(
    ("options", "passes"),
    [
        ({"adversary": None}, 1),
        ({}, 1),
        ({"adversary": {"eps": 0.1, "steps": 7}}, 8),
        ({"adversary": {"kind": "pgd", "eps": 0.1, "steps": 3}}, 4),
        ({"adversary": {"kind": "trades", "eps": 0.1, "steps": 10}}, 12),
        ({"adversary": {"kind": "fast", "eps": 0.1}}, 2),
        ({"adversary": {"kind": "free", "eps": 0.1, "replays": 5}}, 1),
        # Three times over the images, each time with four replays, as `Free` says.
        ({"adversary": {"kind": "free", "eps": 0.1, "replays": 4}}, 1.2),
        ({"norm": "linf", "eps": 0.1, "steps": 7}, 8),
    ],
)
def test_gradient_passes_are_those_of_the_training_method(options: Options, passes: float) -> None:
    costs = costs_of(fit({**TRAINING, **options}))

    assert costs == {"configurations": 1, "gradient_passes": 10 * 100 * passes}


@pytest.mark.parametrize(
    "record",
    [
        fit({"C": 1.0}),
        fit({**TRAINING, "teacher": {"epochs": 3}}),
        fit({**TRAINING, "adversary": {"kind": "new", "steps": 3}}),
        {"asked": {"options": TRAINING, "inputs": {}}},
    ],
)
def test_unknown_passes_are_no_number(record: Options) -> None:
    assert costs_of(record) == {"configurations": 1}


def test_a_fit_that_counts_its_own_passes_is_believed() -> None:
    assert costs_of(fit({"teacher": {}}, facts={"gradient_passes": 7}))["gradient_passes"] == 7


def test_a_choice_costs_all_its_candidates_and_the_last_fit() -> None:
    choice = {"candidates": [{"epochs": 5}, {"epochs": 20}], "folds": 5}
    record = fit(
        {**TRAINING, "epochs": None, "choose": choice}, facts={"folds": 5}, chosen={"epochs": 20}
    )
    held_out = fit({**TRAINING, "choose": choice}, chosen={"epochs": 5})

    # Each of five folds trains on 80 of 100 images: four trainings on all of them.
    assert costs_of(record) == {
        "configurations": 2,
        "gradient_passes": 4 * (500 + 2000) + 2000,
    }
    assert costs_of(held_out)["gradient_passes"] == 500 + 2000 + 500


@pytest.mark.parametrize(
    ("options", "fields", "seconds"),
    [
        (TRAINING, {"own_seconds": 4.0}, 0.4),
        # IGAM: the teacher's tuning is shared by all fits of a cell, and not among its own seconds.
        (
            {**TRAINING, "teacher": {"epochs": 99}},
            {"own_seconds": 4.0, "seconds": {"fit": 9.0}},
            0.4,
        ),
        # Records of a killed and continued fit, and those before this column.
        (TRAINING, {"seconds": {"fit": 9.0}}, None),
        ({"C": 1.0}, {"own_seconds": 4.0}, None),
    ],
)
def test_seconds_an_epoch_are_the_fits_own(
    options: Options, fields: Options, seconds: float | None
) -> None:
    assert costs_of(fit(options, observed=fields)).get("seconds_per_epoch") == seconds


def test_seconds_an_epoch_of_a_choice_are_those_of_the_last_fit() -> None:
    choice = {"candidates": [{"epochs": 5}, {"epochs": 20}], "folds": 5}
    record = fit(
        {**TRAINING, "choose": choice}, chosen={"epochs": 20}, observed={"own_seconds": 4.0}
    )

    assert costs_of(record)["seconds_per_epoch"] == 0.2


def test_facts_of_fits_are_columns(bench: Bench) -> None:
    bench.leaderboard["columns"] = [
        "clean.accuracy",
        "fit.teacher_clean_accuracy",
        "cost.seconds_per_epoch",
    ]
    for source, fact in (("natural", 0.25), ("robust", 0.75)):
        trial = bench.trial(source, 0, 0.5, 0.1)
        record = bench.records[trial["id"]]
        record["asked"]["options"] = TRAINING
        record["facts"] = {"labels_used": 20, "teacher_clean_accuracy": fact}
        record["observed"]["own_seconds"] = 30 * fact

    table = bench.table()

    assert bench.row(table, "natural")[4:6] == [".250", ".750"]
    assert bench.row(table, "robust")[4:6] == [".750", "2.250"]


def trained(bench: Bench, source: str, steps: int) -> None:
    for seed in range(2):
        trial = bench.trial(source, seed, 0.5, 0.1)
        bench.records[trial["id"]]["asked"]["options"] = {
            **TRAINING,
            "adversary": {"eps": 0.1, "steps": steps},
        }
        bench.records[trial["id"]]["facts"] = {"labels_used": 20}


def test_costs_are_columns_and_rows_that_differ_by_more_than_two_are_told(bench: Bench) -> None:
    bench.leaderboard["columns"] = ["clean.accuracy", "cost.gradient_passes"]
    trained(bench, "natural", 1)
    trained(bench, "robust", 7)

    table = bench.table()
    markdown = make_page(bench.run()).markdown

    assert bench.row(table, "robust")[4].split()[0] == "1600"
    assert (
        "differ by more than 2x in what their fits cost: gradient passes from 400 "
        "(`natural, probe`) to 1,600 (`robust, probe`) in digits, n = 20."
    ) in markdown


def test_rows_of_similar_cost_are_not_warned_of(bench: Bench) -> None:
    trained(bench, "natural", 3)
    trained(bench, "robust", 7)

    assert "what their fits cost" not in make_page(bench.run()).markdown
