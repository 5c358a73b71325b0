"""How one trial stands, by the ids of its records and attempts alone."""

from __future__ import annotations

import pytest

from advtransfer.planning import Trial
from advtransfer.planning.status import Attempt, TrialStatus, trial_status

TRIAL = Trial(
    "fit",
    "natural",
    "natural",
    None,
    None,
    "digits",
    20,
    0,
    "probe",
    {"clean": ("c",), "pgd": ("p",)},
    ("s",),
)
FAILED = Attempt("failed", "no luck")
DIVERGED = Attempt("failed", "nan", deterministic=True)
SENSELESS = Attempt("skipped", "no sense", deterministic=True)


@pytest.mark.parametrize(
    ("done", "attempts", "state"),
    [
        ({"s", "fit", "c", "p"}, {}, TrialStatus("done", final=True)),
        ({"fit", "c", "p"}, {"s": FAILED}, TrialStatus("done", final=True)),
        ({"s", "fit"}, {}, TrialStatus("todo")),
        ({"s"}, {"fit": FAILED}, TrialStatus("failed", "no luck")),
        ({"s"}, {"fit": DIVERGED}, TrialStatus("failed", "nan", final=True)),
        (
            {"s", "fit", "c"},
            {"p": Attempt("lost", "killed")},
            TrialStatus("failed", "lost: killed", "pgd", failures={"pgd": "lost: killed"}),
        ),
        ({"s"}, {"fit": SENSELESS}, TrialStatus("skipped", "no sense", final=True)),
        (set(), {"s": SENSELESS}, TrialStatus("skipped", "source natural: no sense", final=True)),
        (
            {"s", "fit", "p"},
            {"c": SENSELESS},
            TrialStatus("done", final=True, skipped={"clean": "no sense"}),
        ),
        ({"s", "fit"}, {"c": SENSELESS}, TrialStatus("todo", skipped={"clean": "no sense"})),
        ({"s"}, {"c": SENSELESS}, TrialStatus("todo", skipped={"clean": "no sense"})),
        (
            {"s", "fit"},
            {"c": SENSELESS, "p": SENSELESS},
            TrialStatus(
                "skipped",
                "no sense",
                "clean",
                final=True,
                skipped={"clean": "no sense", "pgd": "no sense"},
            ),
        ),
        (
            {"s", "fit"},
            {"c": SENSELESS, "p": FAILED},
            TrialStatus(
                "failed",
                "no luck",
                "pgd",
                skipped={"clean": "no sense"},
                failures={"pgd": "no luck"},
            ),
        ),
        (
            {"s", "fit"},
            {"c": DIVERGED},
            TrialStatus("failed", "nan", "clean", failures={"clean": "nan"}),
        ),
        (
            {"s", "fit"},
            {"c": DIVERGED, "p": DIVERGED},
            TrialStatus(
                "failed", "nan", "clean", final=True, failures={"clean": "nan", "pgd": "nan"}
            ),
        ),
        (
            {"fit", "p"},
            {"s": FAILED, "c": SENSELESS},
            TrialStatus("done", final=True, skipped={"clean": "no sense"}),
        ),
        (
            set(),
            {"s": FAILED, "fit": Attempt("failed", "other")},
            TrialStatus("failed", "source natural: no luck"),
        ),
        ({"s"}, {"s": FAILED}, TrialStatus("todo")),
    ],
)
def test_trial_status_follows_the_rule(
    done: set[str], attempts: dict[str, Attempt], state: TrialStatus
) -> None:
    assert state == trial_status(
        TRIAL, done=done.__contains__, attempts=attempts, sources={"s": "natural"}
    )


def test_only_plan_build_or_fit_make_a_trial_not_applicable() -> None:
    assert TrialStatus("skipped", "no sense").not_applicable
    assert not TrialStatus("skipped", "no sense", "clean").not_applicable
    assert not TrialStatus("failed", "no luck").not_applicable


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (TrialStatus("done"), None),
        (TrialStatus("failed", "no luck"), "no luck"),
        (TrialStatus("failed", "no luck", "pgd", failures={"pgd": "no luck"}), "pgd: no luck"),
        (
            TrialStatus(
                "failed",
                "no luck",
                "pgd",
                failures={"pgd": "no luck", "fgsm": "nan", "leep": "nan"},
            ),
            "pgd: no luck (and 2 more evaluations failed)",
        ),
    ],
)
def test_reason_text_names_the_evaluation_and_counts_the_others(
    state: TrialStatus, text: str | None
) -> None:
    assert text == state.reason_text
