"""What each interpretation gave when its version was set; a failure after a change of meaning says: raise `version`."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from torch import nn

from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.types import Evaluation, EvaluationInputs
from advtransfer_interpret.components import (
    feature_visualisation,
    gradient_alignment,
    influence,
    loss_surface,
    saliency,
)


def network() -> nn.Module:
    def build() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 3))

    return build_initialized(build, stream_generator("golden")).eval()


@pytest.mark.parametrize(
    ("evaluation", "metrics"),
    [
        (
            influence(rcond=1e-3, ranks=(1, 2)),
            {
                "class_match@1": 1.0,
                "class_match@2": 1.0,
                "three_of_five": 1.0,
                "chance_match": 0.333333,
                "hessian_size": 20.0,
                "hessian_rank": 6.0,
            },
        ),
        (
            feature_visualisation(units=(1, 2), images=1, steps=20, radius=1.0),
            {
                "activation": 0.711124,
                "activation_start": 0.282026,
                "total_variation": 0.384908,
                "total_variation_start": 0.26489,
                "likeness": 0.547621,
                "rectifier_passed": 1.0,
            },
        ),
        (saliency(), {"gradient_norm": 0.218055, "roughness": 1.422848, "flat": 0.0}),
        (
            saliency(gradient_of="probability"),
            {"gradient_norm": 0.072193, "roughness": 1.422848, "flat": 0.0},
        ),
        (
            gradient_alignment(),
            {
                "alignment": 0.554502,
                "alignment_median": 0.573135,
                "remainder": 0.425223,
                "rho": 0.341472,
                "rho_median": 0.313949,
                "correlation": 0.973269,
                "gradient_norm": 0.318859,
                "flat": 0.0,
            },
        ),
        (
            gradient_alignment(rivals=1),
            {
                "alignment": 0.554502,
                "alignment_median": 0.573135,
                "remainder": 0.425223,
                "rho": 0.341472,
                "rho_median": 0.313949,
                "correlation": 0.973269,
                "gradient_norm": 0.318859,
                "flat": 0.0,
            },
        ),
        (
            loss_surface(norm="linf", eps=0.2),
            {
                "loss": 1.05707,
                "rise_adversarial": 0.066752,
                "rise_random": 0.03243,
                "nonlinearity": 0.022917,
            },
        ),
        (
            loss_surface(norm="l2", eps=0.5, images=2, rings=3),
            {
                "loss": 1.074106,
                "rise_adversarial": 0.060456,
                "rise_random": 0.027257,
                "nonlinearity": 0.010274,
            },
        ),
    ],
    ids=["influence", "features", "loss", "probability", "all rivals", "one rival", "linf", "l2"],
)
def test_metrics_equal_the_golden_ones(
    evaluation: Evaluation, metrics: Mapping[str, float]
) -> None:
    data = toy(train=24, test=15)
    given = EvaluationInputs(test=data.part("test"), train=data.part("train"), model=network())

    found = evaluation.measure(given, context=InMemoryContext()).metrics

    assert metrics == pytest.approx({name: found[name] for name in metrics}, abs=1e-4)
