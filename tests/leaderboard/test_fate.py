"""How one trial stands, by the ids of its records and attempts alone."""

from __future__ import annotations

import pytest

from advtransfer.leaderboard.fate import Attempt, State, state_of
from advtransfer.plan import Trial

TRIAL = Trial(
    "fit", "natural", "natural", None, None, "digits", 20, 0, "probe", {"clean": ("c",), "pgd": ("p",)}, ("s",)
)
FAILED = Attempt("failed", "no luck")


@pytest.mark.parametrize(
    ("done", "attempts", "state"),
    [
        ({"s", "fit", "c", "p"}, {}, State("done", final=True)),
        ({"fit", "c", "p"}, {"s": FAILED}, State("done", final=True)),
        ({"s", "fit"}, {}, State("todo")),
        ({"s"}, {"fit": FAILED}, State("failed", "no luck")),
        ({"s"}, {"fit": Attempt("failed", "nan", deterministic=True)}, State("failed", "nan", final=True)),
        ({"s", "fit", "c"}, {"p": Attempt("lost", "killed")}, State("failed", "lost: killed", "pgd")),
        ({"s", "fit"}, {"c": Attempt("skipped", "no sense")}, State("skipped", "no sense", "clean")),
        (set(), {"s": FAILED, "fit": Attempt("failed", "other")}, State("failed", "source natural: no luck")),
        ({"s"}, {"s": FAILED}, State("todo")),
    ],
)
def test_the_first_part_that_failed_tells(done: set[str], attempts: dict[str, Attempt], state: State) -> None:
    assert state == state_of(TRIAL, done=done.__contains__, attempts=attempts, sources={"s": "natural"})
