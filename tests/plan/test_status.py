"""How one trial stands, by the ids of its records and attempts alone."""

from __future__ import annotations

import pytest

from advtransfer.plan import Trial
from advtransfer.plan.status import Attempt, State, state_of

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
        (
            {"s", "fit", "c"},
            {"p": Attempt("lost", "killed")},
            State("failed", "lost: killed", "pgd", failures={"pgd": "lost: killed"}),
        ),
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
            State("failed", "no luck", "pgd", skipped={"clean": "no sense"}, failures={"pgd": "no luck"}),
        ),
        ({"s", "fit"}, {"c": DIVERGED}, State("failed", "nan", "clean", failures={"clean": "nan"})),
        (
            {"s", "fit"},
            {"c": DIVERGED, "p": DIVERGED},
            State("failed", "nan", "clean", final=True, failures={"clean": "nan", "pgd": "nan"}),
        ),
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


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (State("done"), None),
        (State("failed", "no luck"), "no luck"),
        (State("failed", "no luck", "pgd", failures={"pgd": "no luck"}), "pgd: no luck"),
        (
            State("failed", "no luck", "pgd", failures={"pgd": "no luck", "fgsm": "nan", "leep": "nan"}),
            "pgd: no luck (and 2 more evaluations failed)",
        ),
    ],
)
def test_a_state_in_words_names_the_evaluation_and_counts_the_others(state: State, text: str | None) -> None:
    assert text == state.text
