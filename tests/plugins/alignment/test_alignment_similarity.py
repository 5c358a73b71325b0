from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import permutations

import pytest
import torch
from sklearn.metrics.pairwise import rbf_kernel
from torch import Tensor, nn

from advtransfer.errors import Inapplicable
from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.datasets import ArraySamples
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.toolkit.rng import stream_generator
from advtransfer.types import EvaluationInputs
from advtransfer_alignment.kernels import HsicSums, gram_matrix, unbiased_hsic
from advtransfer_alignment.options import Attack, LabelFreePgd
from advtransfer_alignment.similarity import SimilarityEvaluation


def normal(*shape: int, stream: str = "similarity") -> Tensor:
    return torch.randn(shape, generator=stream_generator(stream), dtype=torch.float64)


def linear_cka(first: Tensor, second: Tensor) -> float:
    sums = HsicSums()
    sums.add(gram_matrix(first, "linear", width=1), gram_matrix(second, "linear", width=1))
    value = sums.alignment()
    assert value is not None
    return value


def measure(given: EvaluationInputs, **options: object) -> dict[str, float]:
    settings = {"kernels": ("linear",), "width": 0.4, "batch": 256, "attack": None}
    evaluation = SimilarityEvaluation(**(settings | options))  # type: ignore[arg-type]  # the fields by name
    return dict(evaluation.measure(given, context=InMemoryContext()).metrics)


def test_hsic_is_the_mean_over_quadruples_of_different_samples() -> None:
    """Song et al. (2012), theorem 2: E k_ij l_ij + E k_ij l_qr - 2 E k_ij l_iq."""
    first = gram_matrix(normal(6, 3, stream="first"), "rbf", width=1)
    second = gram_matrix(normal(6, 2, stream="second"), "linear", width=1)
    terms = [
        first[i, j] * (second[i, j] + second[q, r] - 2 * second[i, q])
        for i, j, q, r in permutations(range(6), 4)
    ]

    assert unbiased_hsic(first, second) == pytest.approx(float(torch.stack(terms).mean()))


def test_a_shift_of_the_activations_changes_nothing() -> None:
    activations, others = normal(20, 4), normal(20, 5, stream="others")
    plain = unbiased_hsic(activations @ activations.T, others @ others.T)
    shifted = activations + 3
    centred = gram_matrix(activations, "linear", width=1)

    assert unbiased_hsic(shifted @ shifted.T, others @ others.T) == pytest.approx(plain)
    assert unbiased_hsic(centred, others @ others.T) == pytest.approx(plain)


def test_a_rotation_a_scale_and_a_shift_leave_an_alignment_of_1() -> None:
    activations = normal(50, 8)
    rotation = torch.linalg.qr(normal(8, 8, stream="rotation")).Q

    assert linear_cka(activations, 3 * activations @ rotation + 1) == pytest.approx(1)


def test_independent_features_have_0_on_average_however_many_they_are() -> None:
    """The biased estimate would be near 1 for 400 features of 20 samples."""
    values = [
        linear_cka(normal(20, 400, stream=f"a{draw}"), normal(20, 400, stream=f"b{draw}"))
        for draw in range(200)
    ]
    mean = torch.tensor(values)

    assert abs(float(mean.mean())) < 4 * float(mean.std()) / 200**0.5


def test_linear_alignment_of_orthogonal_features_is_their_shared_share() -> None:
    """f = (a, b) and g = (a, c) of independent unit features: HSIC 1, 2 and 2, so CKA is 1 / 2."""
    features = normal(4000, 3)
    first, second = features[:, [0, 1]], features[:, [0, 2]]

    assert linear_cka(first, second) == pytest.approx(0.5, abs=0.05)


def test_the_rbf_kernel_is_that_of_scikit_learn_at_the_stated_width() -> None:
    activations = normal(31, 4)
    distances = torch.pdist(activations)
    # Of an even number of ordered pairs torch takes the lower of the two in the middle.
    sigma = 0.8 * float(torch.cat([distances, distances]).median())
    expected = torch.from_numpy(rbf_kernel(activations.numpy(), gamma=1 / (2 * sigma**2)))

    assert torch.allclose(gram_matrix(activations, "rbf", width=0.8) + 1, expected)


def test_a_model_compared_with_itself_has_1_on_the_diagonal(
    network: Callable[..., BlockNetwork], labelled: Callable[..., ArraySamples]
) -> None:
    same = network("same")
    test = labelled(torch.zeros(40, dtype=torch.int64))
    given = EvaluationInputs(test=test, source=same, reference=same)
    metrics = measure(given, kernels=("linear", "rbf"), attack=LabelFreePgd(eps=0.1, steps=2))

    assert {
        f"{kernel}{at}__{first}__{second}"
        for kernel in ("linear", "rbf")
        for at in ("", "_at_source", "_at_reference")
        for first in ("hidden", "features")
        for second in ("hidden", "features")
    } == set(metrics)
    # The last block is the input of the head, so that all four pairs are the same features.
    assert list(metrics.values()) == pytest.approx([1] * len(metrics))


def test_both_models_are_compared_at_the_examples_of_the_one_named(
    evaluation_inputs: EvaluationInputs,
) -> None:
    attack: Attack = LabelFreePgd(eps=0.3, steps=5)
    there = measure(evaluation_inputs, attack=attack)
    swapped = replace(
        evaluation_inputs,
        source=evaluation_inputs.reference,
        reference=evaluation_inputs.source,
    )
    back = measure(swapped, attack=attack)

    for at, other in (("", ""), ("_at_source", "_at_reference"), ("_at_reference", "_at_source")):
        value = there[f"linear{at}__hidden__features"]
        assert value == pytest.approx(back[f"linear{other}__features__hidden"])
    assert there["linear__hidden__hidden"] != there["linear_at_source__hidden__hidden"]


def test_batches_of_one_size_use_every_sample(evaluation_inputs: EvaluationInputs) -> None:
    """70 samples in batches of at most 24 are 24, 23 and 23; the sums are over all of them."""
    metrics = measure(evaluation_inputs, batch=24)
    inputs = evaluation_inputs.test.inputs(torch.arange(70))
    sums = HsicSums()
    with torch.no_grad():
        for start, stop in ((0, 24), (24, 47), (47, 70)):
            activations = [
                network.features(inputs[start:stop])
                for network in (evaluation_inputs.source, evaluation_inputs.reference)
                if network is not None
            ]
            first, second = (gram_matrix(each, "linear", width=1) for each in activations)
            sums.add(first, second)

    assert metrics["linear__hidden__hidden"] == pytest.approx(sums.alignment(), rel=1e-4)


def test_features_that_do_not_vary_are_left_out(
    network: Callable[..., BlockNetwork], labelled: Callable[..., ArraySamples]
) -> None:
    class Constant(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            return torch.ones(len(inputs), 12)

    constant = BlockNetwork({"hidden": Constant()}, nn.Linear(12, 3)).eval()
    given = EvaluationInputs(
        test=labelled(torch.zeros(40, dtype=torch.int64)),
        source=constant,
        reference=network("reference"),
    )

    with pytest.raises(Inapplicable, match="differs"):
        measure(given, kernels=("linear", "rbf"))


def test_fewer_than_four_images_are_not_compared(
    network: Callable[..., BlockNetwork], labelled: Callable[..., ArraySamples]
) -> None:
    same = network("same")
    test = labelled(torch.zeros(3, dtype=torch.int64))

    with pytest.raises(Inapplicable, match="4 test samples"):
        measure(EvaluationInputs(test=test, source=same, reference=same))
