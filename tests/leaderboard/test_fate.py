"""How one trial stands, by the ids of its records and attempts alone."""

from __future__ import annotations

import pytest

from advtransfer.leaderboard.fate import Attempt, State, state_of
from advtransfer.plan import Trial

TRIAL = Trial(
    "fit", "natural", "natural", None, None, "digits", 20, 0, "probe", {"clean": ("c",), "pgd": ("p",)}, ("s",)
)
FAILED = Attempt("failed", "no luck")
DIVERGED = Attempt("failed", "nan", deterministic=True)
SENSELESS = Attempt("skipped", "no sense", deterministic=True)


@pytest.mark.parametrize(
    ("done", "attempts", "state"),
    [
        ({"s", "fit", "c", "p"}, {}, State("done", final=True)),
        ({"fit", "c", "p"}, {"s": FAILED}, State("done", final=True)),
        ({"s", "fit"}, {}, State("todo")),
        ({"s"}, {"fit": FAILED}, State("failed", "no luck")),
        ({"s"}, {"fit": DIVERGED}, State("failed", "nan", final=True)),
        ({"s", "fit", "c"}, {"p": Attempt("lost", "killed")}, State("failed", "lost: killed", "pgd")),
        ({"s"}, {"fit": SENSELESS}, State("skipped", "no sense", final=True)),
        (set(), {"s": SENSELESS}, State("skipped", "source natural: no sense", final=True)),
        ({"s", "fit", "p"}, {"c": SENSELESS}, State("done", final=True, skipped={"clean": "no sense"})),
        ({"s", "fit"}, {"c": SENSELESS}, State("todo", skipped={"clean": "no sense"})),
        ({"s"}, {"c": SENSELESS}, State("todo", skipped={"clean": "no sense"})),
        (
            {"s", "fit"},
            {"c": SENSELESS, "p": SENSELESS},
            State("skipped", "no sense", "clean", final=True, skipped={"clean": "no sense", "pgd": "no sense"}),
        ),
        (
            {"s", "fit"},
            {"c": SENSELESS, "p": FAILED},
            State("failed", "no luck", "pgd", skipped={"clean": "no sense"}),
        ),
        ({"s", "fit"}, {"c": DIVERGED}, State("failed", "nan", "clean")),
        ({"s", "fit"}, {"c": DIVERGED, "p": DIVERGED}, State("failed", "nan", "clean", final=True)),
        ({"fit", "p"}, {"s": FAILED, "c": SENSELESS}, State("done", final=True, skipped={"clean": "no sense"})),
        (set(), {"s": FAILED, "fit": Attempt("failed", "other")}, State("failed", "source natural: no luck")),
        ({"s"}, {"s": FAILED}, State("todo")),
    ],
)
def test_a_trial_stands_by_the_one_rule(done: set[str], attempts: dict[str, Attempt], state: State) -> None:
    assert state == state_of(TRIAL, done=done.__contains__, attempts=attempts, sources={"s": "natural"})


def test_only_the_plan_a_build_or_the_fit_makes_a_cell_senseless() -> None:
    assert State("skipped", "no sense").senseless
    assert not State("skipped", "no sense", "clean").senseless
    assert not State("failed", "no luck").senseless
