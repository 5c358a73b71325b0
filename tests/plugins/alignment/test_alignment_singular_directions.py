"""Alignment by singular direction: linear maps with known vectors, and torch's own decomposition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import cast

import pytest
import torch
from torch import Tensor, nn
from torch.func import jacrev, vmap

from advtransfer.errors import Inapplicable
from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.datasets import ArraySamples
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.toolkit.rng import stream_generator
from advtransfer.types import EvaluationInputs
from advtransfer_alignment.components import alignment, singular_directions
from advtransfer_alignment.options import TopSingularAttack

S = torch.tensor([3.0, 2.0, 0.5])
T = torch.tensor([4.0, 1.0, 0.25])


def rotation(size: int, stream: str) -> Tensor:
    orthogonal: Tensor = torch.linalg.qr(
        torch.randn(size, size, generator=stream_generator(stream))
    ).Q
    return orthogonal


RIGHT = rotation(16, "right")[:, :3]


def linear_network(values: Tensor, right: Tensor, *, outputs: int, stream: str) -> BlockNetwork:
    """Return ``x -> U diag(values) right^T x`` for right vectors ``(16, 3)``."""
    head = nn.Linear(16, outputs)
    left = rotation(outputs, stream)[:, :3]
    with torch.no_grad():
        head.weight.copy_(left @ torch.diag(values) @ right.T)
    return BlockNetwork({"flat": nn.Flatten()}, head).eval()


def measure(given: EvaluationInputs, *, directions: int = 3) -> dict[str, float]:
    evaluation = singular_directions(directions=directions)
    return dict(evaluation.measure(given, context=InMemoryContext()).metrics)


@pytest.fixture
def linear_pair(labelled: Callable[..., ArraySamples]) -> Callable[[Tensor], dict[str, float]]:
    def metrics(right: Tensor) -> dict[str, float]:
        test = labelled(torch.zeros(20, 3), task="values", bounds=None)
        source = linear_network(S, RIGHT, outputs=5, stream="source")
        reference = linear_network(T, right, outputs=3, stream="reference")
        return measure(EvaluationInputs(test=test, source=source, reference=reference))

    return metrics


def test_equal_right_vectors_are_aligned_in_every_direction(
    linear_pair: Callable[[Tensor], dict[str, float]],
) -> None:
    metrics = linear_pair(RIGHT)
    ones = [
        f"direction_{index}_{name}"
        for index in (1, 2, 3)
        for name in ("alpha_1_st", "alpha_1_ts", "alpha_2_st", "alpha_2_ts", "joint_st", "tau_1")
    ]

    assert dict.fromkeys(ones, 1.0) == pytest.approx({name: metrics[name] for name in ones})
    assert S.tolist() == pytest.approx([metrics[f"direction_{i}_sigma_s"] for i in (1, 2, 3)])
    assert T.tolist() == pytest.approx([metrics[f"direction_{i}_sigma_t"] for i in (1, 2, 3)])
    assert 1 == pytest.approx(metrics["weighted_alpha_1"])
    # The outer products of different directions are orthogonal, so that their squares add.
    for direction, values in (("st", S), ("ts", T)):
        weights = values.square() / values.square().sum()
        expected = float(weights.square().sum().sqrt())
        assert expected == pytest.approx(metrics[f"weighted_alpha_2_{direction}"])


def test_exchanged_right_vectors_give_the_ratios_of_singular_values(
    linear_pair: Callable[[Tensor], dict[str, float]],
) -> None:
    """Direction 1 of the source is direction 2 of the reference, whose sigma is 1 for 4."""
    metrics = linear_pair(RIGHT[:, [1, 0, 2]])
    s_1, s_2, s_3 = S.tolist()
    t_1, t_2, t_3 = T.tolist()
    moved = (s_1 * t_2) ** 2 + (s_2 * t_1) ** 2 + (s_3 * t_3) ** 2
    bound = (s_1 * t_1) ** 2 + (s_2 * t_2) ** 2 + (s_3 * t_3) ** 2

    assert t_2 / t_1 == pytest.approx(metrics["direction_1_alpha_1_st"])
    assert t_1 / t_2 == pytest.approx(metrics["direction_2_alpha_1_st"])
    assert s_2 / s_1 == pytest.approx(metrics["direction_1_alpha_1_ts"])
    assert [0, 0, 1] == pytest.approx(
        [metrics[f"direction_{i}_tau_1"] for i in (1, 2, 3)], abs=1e-9
    )
    assert (moved / bound) ** 0.5 == pytest.approx(metrics["weighted_alpha_1"])


def test_orthogonal_right_vectors_have_no_alignment(
    linear_pair: Callable[[Tensor], dict[str, float]],
) -> None:
    metrics = linear_pair(rotation(16, "right")[:, 3:6])

    for name in ("direction_1_alpha_1_st", "direction_2_alpha_1_ts", "weighted_alpha_1"):
        assert 0 == pytest.approx(metrics[name], abs=1e-5), name


def test_the_first_direction_is_the_top_singular_attack(
    evaluation_inputs: EvaluationInputs,
) -> None:
    metrics = measure(evaluation_inputs)
    attack = TopSingularAttack(kind="top_singular", eps=0.1)
    expected = alignment(attack=attack).measure(evaluation_inputs, context=InMemoryContext())

    for name in ("alpha_1_st", "alpha_1_ts", "alpha_2_st", "joint_ts", "tau_1", "tau_2_attack_st"):
        assert expected.metrics[name] == pytest.approx(metrics[f"direction_1_{name}"]), name


def test_the_second_direction_equals_that_of_torchs_decomposition(
    evaluation_inputs: EvaluationInputs,
) -> None:
    source, reference = (
        cast(BlockNetwork, model)
        for model in (evaluation_inputs.source, evaluation_inputs.reference)
    )
    inputs = evaluation_inputs.test.inputs(torch.arange(70))

    def jacobians(model: BlockNetwork) -> Tensor:
        def outputs(image: Tensor) -> Tensor:
            row: Tensor = model(image.unsqueeze(0))[0]
            return row

        whole: Tensor = vmap(jacrev(outputs))(inputs)
        return whole.flatten(2).double().detach()

    first, second = jacobians(source), jacobians(reference)
    right = torch.linalg.svd(first, full_matrices=False).Vh[:, 1]
    values = torch.linalg.svdvals(second)
    changes = (second @ right.unsqueeze(2)).squeeze(2)
    units = changes / changes.norm(dim=1, keepdim=True)
    own = (first @ right.unsqueeze(2)).squeeze(2)
    own = own / own.norm(dim=1, keepdim=True)
    metrics = measure(evaluation_inputs)

    assert float((changes.norm(dim=1) / values[:, 1]).mean()) == pytest.approx(
        metrics["direction_2_alpha_1_st"], rel=1e-5
    )
    assert float((own.T @ units / 70).norm()) == pytest.approx(
        metrics["direction_2_alpha_2_st"], rel=1e-5
    )


def test_exchanging_the_models_exchanges_the_directions(
    labelled: Callable[..., ArraySamples], network: Callable[..., BlockNetwork]
) -> None:
    test = labelled(torch.zeros(30, 3), task="values", bounds=None)
    pair = EvaluationInputs(test=test, source=network("one"), reference=network("other"))
    metrics = measure(pair)
    swapped = measure(replace(pair, source=pair.reference, reference=pair.source))

    assert metrics["weighted_alpha_1"] == pytest.approx(swapped["weighted_alpha_1"])
    assert metrics["weighted_alpha_2_st"] == pytest.approx(swapped["weighted_alpha_2_ts"])
    assert metrics["direction_2_joint_st"] == pytest.approx(swapped["direction_2_joint_ts"])
    assert 0 < metrics["weighted_alpha_1"] < 1


def test_directions_beyond_the_outputs_are_left_out(evaluation_inputs: EvaluationInputs) -> None:
    metrics = measure(evaluation_inputs, directions=9)

    assert any(name.startswith("direction_3_") for name in metrics)
    assert not any(name.startswith("direction_4_") for name in metrics)


def test_too_many_outputs_are_inapplicable(evaluation_inputs: EvaluationInputs) -> None:
    evaluation = singular_directions(most_outputs=4)
    with pytest.raises(Inapplicable, match="a model has 5 outputs, more than most_outputs 4"):
        evaluation.measure(evaluation_inputs, context=InMemoryContext())
