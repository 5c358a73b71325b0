"""The suites of published experiments in their full size: planned without their data, nothing is run.

How long that takes, `tests/performance/full_scale_plan.py` measures.
"""

from __future__ import annotations

import pytest

from advtransfer.host import Host
from advtransfer.planning import Plan, make_plan
from advtransfer.suite import Suite, load, shipped_suites

TRIALS = {
    # 131 seeds by Table 2 of Utrera et al. (2021) x 6 targets x 4 sources x 4 numbers of blocks; the paper says 14,400
    "robust-transfer": 131 * 6 * 4 * 4,
    "robust-transfer-hf": 131 * 6 * 4 * 4,
    "robust-transfer-influence": 2,
    "robust-transfer-features": 2,
    "robust-transfer-curves": 6 * 2 * 10,
    # the rows of Tables 1 to 5 and the bars of Figure 5 of Chan et al. (2020)
    "igam-cifar10-up": 4,
    "igam-cifar10-down": 7,
    "igam-cifar100": 5 + 3 + 3,
    "igam-tiny-imagenet": 2 + 2 * 2 + 4,
    # five architectures, and five class shares with two targets
    "adversarial-knowledge": 5 + 5 * 2,
    "attributes": 40,
    # 12 targets x 4 architectures x 10 eps x fixed and full
    "salman2020": 12 * 4 * 10 * 2,
    # 6 targets x 2 sources x 3 ways to tune x 2 losses, of 3 seeds
    "robustgenbench": 72 * 3,
}
HOST = Host.discover()


def plan_without_data(name: str) -> tuple[Suite, Plan]:
    suite = load(name, HOST, without_data=True)
    return suite, make_plan(suite, HOST)


@pytest.mark.parametrize("name", sorted(TRIALS))
def test_full_scale_suite_has_the_trials_of_its_publication(name: str) -> None:
    _, plan = plan_without_data(name)
    first_line = shipped_suites()[name].read_text("utf-8").splitlines()[0]

    assert len(plan.trials) == TRIALS[name]
    assert [trial.name for trial in plan.trials if trial.skipped] == []
    assert f"{len(plan.trials):,} trials, {plan.count_results():,} results" in first_line


def test_suites_of_one_publication_share_no_trial_with_other_weights() -> None:
    _, own = plan_without_data("robust-transfer")
    _, published = plan_without_data("robust-transfer-hf")

    assert {trial.id for trial in own.trials}.isdisjoint(trial.id for trial in published.trials)


def test_missing_files_of_a_suite_are_all_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ADVTRANSFER_DATA", raising=False)
    suite, _ = plan_without_data("robust-transfer")

    assert [str(item) for item in suite.placeholders] == [
        "file imagenet_l2_3_0.pt",
        "file imagenet_linf_4.pt",
        "file imagenet_linf_8.pt",
    ]
