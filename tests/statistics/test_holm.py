from __future__ import annotations

import pytest

from advtransfer.statistics import holm_correction


def test_holms_rule_by_hand() -> None:
    assert [0.03, 0.06, 0.06, 0.02] == pytest.approx(holm_correction([0.01, 0.04, 0.03, 0.005]))


def test_no_corrected_value_is_above_one_or_below_its_own() -> None:
    assert [1.0, 1.0] == holm_correction([0.9, 0.6])
    assert [0.2] == holm_correction([0.2])
    assert [] == holm_correction([])


def test_a_question_without_an_answer_is_counted_all_the_same() -> None:
    assert [None, 0.02, None] == pytest.approx(holm_correction([None, 0.02 / 3, None]))
