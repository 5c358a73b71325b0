"""An evaluation beside another attack: who breaks what, when it is as strong, and what the library needs."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable, Iterator

import pytest
import torch
from click.testing import CliRunner, Result
from torch import Tensor, nn

from advtransfer.cli import main
from advtransfer.errors import BadInput, MissingLibrary
from advtransfer.testing.agreement import (
    Agreement,
    AttackResult,
    CountingNetwork,
    PyAutoAttack,
    run_evaluation,
    run_other,
)
from advtransfer.testing.canaries.honest_models import Subject
from advtransfer.testing.canaries.oracle import plane_subject
from advtransfer.types import Evaluation
from advtransfer.worker.verification import ThreatModel
from advtransfer_foolbox.components.gradient import clean_accuracy, pgd

THREAT = ThreatModel("linf", 0.1)
has_library = importlib.util.find_spec("pyautoattack") is not None


def result(*left: bool, gradients: float | None = None) -> AttackResult:
    return AttackResult(torch.tensor(left), gradients, gradients, 1.5)


@pytest.fixture(scope="module")
def plane() -> tuple[Subject, float]:
    return plane_subject(3, norm="linf", eps=0.1)


class ScriptedAttack:
    """Moves every image by `size` along the sign of its margin's gradient, and draws from torch's state on the way."""

    def __init__(self, size: float) -> None:
        self.size = size

    def attack(
        self, model: nn.Module, images: Tensor, labels: Tensor, threat: ThreatModel
    ) -> Tensor:
        torch.manual_seed(5)
        torch.rand(3)
        points = images.clone().requires_grad_()
        logits = model(points)
        margins = logits.gather(1, 1 - labels[:, None]) - logits.gather(1, labels[:, None])
        (gradients,) = torch.autograd.grad(margins.sum(), points)
        return (images + self.size * gradients.sign()).clamp(0, 1)


def test_other_attack_breaks_by_verified_examples_and_its_queries_are_counted(
    plane: tuple[Subject, float],
) -> None:
    subject, exact = plane
    torch.manual_seed(0)
    expected_draw = torch.rand(2)
    torch.manual_seed(0)
    found = run_other(ScriptedAttack(0.1), subject, THREAT)
    outside = run_other(ScriptedAttack(0.2), subject, THREAT)

    # One sign step is the optimum on a plane; steps out of the ball prove nothing.
    assert pytest.approx(exact, abs=0.02) == found.share
    assert outside.share > 0.9
    assert (1, 1) == (found.gradients, found.forwards)
    assert torch.equal(expected_draw, torch.rand(2))


def test_evaluation_leaves_what_the_other_attack_leaves_on_a_plane(
    plane: tuple[Subject, float],
) -> None:
    subject, _ = plane
    evaluation = pgd(norm="linf", eps=0.1, steps=5, step_size=0.05, counts=True)
    agreement = Agreement(
        "plane",
        run_evaluation(evaluation, subject, THREAT),
        run_other(ScriptedAttack(0.1), subject, THREAT),
    )

    assert agreement.passes
    assert ([], []) == (agreement.only_own, agreement.only_other)
    assert agreement.own.gradients is not None
    assert 1 <= agreement.own.gradients <= 5


def test_evaluation_without_a_robust_accuracy_in_the_ball_is_refused(
    plane: tuple[Subject, float],
) -> None:
    with pytest.raises(BadInput, match=r"no robust_accuracy within linf 0\.1"):
        run_evaluation(clean_accuracy(), plane[0], THREAT)


def test_agreement_lists_samples_that_only_one_breaks_and_allows_half_a_point() -> None:
    both = [True] * 396
    weaker_by_2 = Agreement(
        "a", result(*both, True, True, True, False), result(*both, False, False, True, True)
    )
    weaker_by_3 = Agreement("a", result(*both, *[True] * 4), result(*both, *[False] * 3, True))

    assert [399] == weaker_by_2.only_own
    assert [396, 397] == weaker_by_2.only_other
    assert weaker_by_2.passes
    assert Agreement("a", weaker_by_3.other, weaker_by_3.own).passes
    assert not weaker_by_3.passes


def test_counting_network_counts_rows_of_each_kind() -> None:
    counting = CountingNetwork(nn.Flatten())
    inputs = torch.rand(7, 2, requires_grad=True)
    counting(inputs).sum().backward()
    with torch.no_grad():
        counting(inputs[:4])

    assert (11, 7) == (counting.forwards, counting.gradients)
    assert [] == list(counting.parameters())


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """The command, with agreements made up; the library need not be installed."""

    def call(*rows: Agreement, arguments: tuple[str, ...] = ()) -> Result:
        def compare(
            evaluation: Evaluation, other: object, *, threat: ThreatModel, seed: int
        ) -> Iterator[Agreement]:
            assert THREAT == threat
            yield from rows

        monkeypatch.setattr("advtransfer.testing.agreement.compare_attacks", compare)
        monkeypatch.setattr("advtransfer.testing.agreement.OTHER_ATTACKS", {"pyautoattack": object})
        return CliRunner().invoke(
            main, ["check", "foolbox/pgd", "--against", "pyautoattack", *arguments]
        )

    return call


STRONG = Agreement(
    "natural network", result(True, False, gradients=12), result(True, True, gradients=1700)
)
WEAK = Agreement("robust network", result(True, True), result(False, True))


def test_exit_code_is_1_where_the_evaluation_leaves_more(compared: Callable[..., Result]) -> None:
    strong, weak = compared(STRONG), compared(STRONG, WEAK)

    assert [0, 1] == [strong.exit_code, weak.exit_code]
    assert (
        "natural network  evaluation    0.5000  12         12        1.5      as strong"
        in strong.stdout
    )
    assert "natural network  pyautoattack  1.0000  1700       1700      1.5" in strong.stdout
    assert "natural network: only the evaluation breaks the samples 1" in strong.stdout
    assert "natural network: only pyautoattack breaks none" in strong.stdout
    assert "robust network: only pyautoattack breaks the samples 0" in weak.stdout


def test_agreements_as_json(compared: Callable[..., Result]) -> None:
    (strong, weak) = json.loads(compared(STRONG, WEAK, arguments=("--json",)).stdout)

    assert [True, False] == [strong["good"], weak["good"]]
    assert ([1], []) == (strong["only_evaluation"], strong["only_other"])
    assert {"robust": 1.0, "gradients": 1700, "forwards": 1700, "seconds": 1.5} == strong["other"]


def test_missing_library_names_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "pyautoattack", None)
    result = CliRunner().invoke(main, ["check", "foolbox/pgd", "--against", "pyautoattack"])

    assert 0 != result.exit_code
    assert "pip install 'advtransfer[autoattack]'" in str(result.exception or "") + result.stderr
    with pytest.raises(MissingLibrary):
        PyAutoAttack()


@pytest.mark.skipif(not has_library, reason="the extra [autoattack] is not installed")
def test_original_leaves_what_is_robust_on_a_plane_and_keeps_the_random_state(
    plane: tuple[Subject, float],
) -> None:
    subject, exact = plane

    class FourClasses(nn.Module):
        """The plane with two classes that are never chosen: the original needs four."""

        def forward(self, inputs: Tensor) -> Tensor:
            logits = subject.model(inputs)
            return torch.cat([logits, torch.full_like(logits, -50.0)], 1)

    torch.manual_seed(0)
    expected_draw = torch.rand(2)
    torch.manual_seed(0)
    model = FourClasses().eval()
    found = run_other(PyAutoAttack(), Subject(model, subject.test, model), THREAT)

    assert pytest.approx(exact, abs=0.02) == found.share
    assert found.gradients is not None
    assert found.gradients > 100
    assert torch.equal(expected_draw, torch.rand(2))
