from __future__ import annotations

import torch
from torch import Tensor, nn

from advtransfer.testing.data import toy
from advtransfer.types import Check, Examples, Outcome
from advtransfer.worker.verification.examples import verify_examples

TEST = toy(classes=2, train=4, test=6, shape=(1, 2, 2)).part("test")
CPU = torch.device("cpu")
EVERY = torch.arange(6)


class Constant(nn.Module):
    """Says the same class for every input."""

    def __init__(self, label: int) -> None:
        super().__init__()
        self.label = label

    def forward(self, inputs: Tensor) -> Tensor:
        """``(B, 2)`` logits."""
        return nn.functional.one_hot(torch.full((len(inputs),), self.label), 2).float()


def outcomes(
    examples: Tensor, *, label: int = 0, norm: str = "linf", eps: float = 0.1
) -> tuple[list[int], float]:
    """The outcomes after the check of one example a sample, each claimed to be broken."""
    claimed = {"robust_accuracy": torch.full((6,), int(Outcome.BROKEN), dtype=torch.uint8)}
    made = Examples("robust_accuracy", norm, eps, EVERY, examples)  # type: ignore[arg-type]  # parametrised as text
    found, checks = verify_examples(
        claimed, [made], test=TEST, model=Constant(label).eval(), device=CPU
    )
    return found["robust_accuracy"].tolist(), checks[0].value


def expected(fine: Tensor) -> list[int]:
    return torch.where(fine, int(Outcome.BROKEN), int(Outcome.UNKNOWN)).tolist()


def test_legal_example_must_be_misclassified() -> None:
    labels = TEST.labels(EVERY)
    found, illegal = outcomes(TEST.inputs(EVERY))

    assert expected(labels != 0) == found
    assert int((labels == 0).sum()) == illegal


def test_example_beyond_eps_is_unknown() -> None:
    clean = TEST.inputs(EVERY)
    inward = torch.where(clean > 0.5, -1.0, 1.0)
    wrong = TEST.labels(EVERY) != 1

    assert expected(wrong) == outcomes(clean + 0.1 * inward, label=1)[0]
    assert [int(Outcome.UNKNOWN)] * 6 == outcomes(clean + 0.101 * inward, label=1)[0]
    assert expected(wrong) == outcomes(clean + 0.1 * inward, label=1, norm="l2", eps=0.2)[0]
    assert [int(Outcome.UNKNOWN)] * 6 == outcomes(
        clean + 0.1 * inward, label=1, norm="l2", eps=0.19
    )[0]


def test_example_outside_the_box_or_not_finite_is_unknown() -> None:
    clean = TEST.inputs(EVERY)
    outside, broken = clean.clone(), clean.clone()
    outside[:, 0, 0, 0] = 1.01
    broken[:, 0, 0, 0] = float("nan")

    assert [int(Outcome.UNKNOWN)] * 6 == outcomes(outside, eps=2)[0]
    assert [int(Outcome.UNKNOWN)] * 6 == outcomes(broken, eps=2)[0]


def test_attack_without_examples_passes_the_checks() -> None:
    none = Examples("robust_accuracy", "linf", 0.1, EVERY[:0], TEST.inputs(EVERY)[:0])
    claimed = {"robust_accuracy": torch.zeros(len(TEST), dtype=torch.uint8)}
    found, checks = verify_examples(
        claimed, [none], test=TEST, model=Constant(0).eval(), device=CPU
    )

    assert [("legal_examples", "pass", 0), ("own_examples", "pass", 0)] == summary(checks)
    assert claimed["robust_accuracy"].equal(found["robust_accuracy"])


def test_legal_example_overrules_every_outcome_except_wrong() -> None:
    labels = TEST.labels(EVERY)
    fooled, others = (labels != 0).nonzero().flatten(), (labels == 0).nonzero().flatten()
    claimed = {"robust_accuracy": torch.zeros(6, dtype=torch.uint8)}
    claimed["robust_accuracy"][fooled[:3]] = torch.tensor(
        [Outcome.ROBUST, Outcome.UNKNOWN, Outcome.WRONG]
    ).byte()
    made = [Examples("robust_accuracy", "linf", 0.1, fooled, TEST.inputs(fooled))]
    found, checks = verify_examples(claimed, made, test=TEST, model=Constant(0).eval(), device=CPU)

    assert [Outcome.BROKEN, Outcome.BROKEN, Outcome.WRONG] == found["robust_accuracy"][
        fooled[:3]
    ].tolist()
    assert {int(Outcome.ROBUST)} == set(found["robust_accuracy"][others].tolist())
    assert [("legal_examples", "pass", 0), ("own_examples", "fail", 1)] == summary(checks)


def test_one_legal_example_outweighs_illegal_ones() -> None:
    position = (TEST.labels(EVERY) != 0).nonzero().flatten()[:1]
    legal = Examples("robust_accuracy", "linf", 0.1, position, TEST.inputs(position))
    illegal = Examples("robust_accuracy", "linf", 0.1, position, TEST.inputs(position) + 2)
    for made in ([legal, illegal], [illegal, legal], [legal, legal, illegal]):
        label = {"robust_accuracy": torch.zeros(6, dtype=torch.uint8)}
        found, checks = verify_examples(
            label, made, test=TEST, model=Constant(0).eval(), device=CPU
        )

        assert Outcome.BROKEN == found["robust_accuracy"][position].item()
        assert ["fail", "fail"] == [check.grade for check in checks]


def summary(checks: list[Check]) -> list[tuple[str, str, float]]:
    return [(check.name, check.grade, check.value) for check in checks]
