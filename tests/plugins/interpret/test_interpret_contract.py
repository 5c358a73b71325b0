"""What every interpretation keeps to: no traces in the model, the same bytes whatever the batches, small figures."""

from __future__ import annotations

import math
import random
import subprocess
import sys

import matplotlib
import numpy as np
import pytest
import torch
from torch import nn

from advtransfer.host import Host
from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.data import toy
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.types import Evaluation, EvaluationInputs, Measurement
from advtransfer_interpret.components import (
    feature_visualisation,
    gradient_alignment,
    influence,
    loss_surface,
    saliency,
)

DATA = toy(train=30, test=70, shape=(3, 6, 6))
EVALUATIONS = {
    "influence": influence(rcond=1e-6, ranks=(1, 10)),
    "feature_visualisation": feature_visualisation(units=(0, 3), images=1, steps=5),
    "saliency": saliency(images=3),
    "gradient_alignment": gradient_alignment(),
    "loss_surface": loss_surface(norm="linf", eps=0.2, images=2, rings=2),
}
each = pytest.mark.parametrize("evaluation", EVALUATIONS.values(), ids=EVALUATIONS)


def model() -> nn.Module:
    def build() -> nn.Module:
        first = nn.Sequential(
            nn.Conv2d(3, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(inplace=True)
        )
        return nn.Sequential(
            first, nn.AvgPool2d(2), nn.Flatten(), nn.Linear(54, 12), nn.ReLU(), nn.Linear(12, 3)
        )

    return build_initialized(build, stream_generator("contract")).eval()


def measure(
    evaluation: Evaluation, *, batch_size: int = 64, net: nn.Module | None = None
) -> Measurement:
    context = InMemoryContext(batch_size=batch_size)
    found = evaluation.measure(
        EvaluationInputs(test=DATA.part("test"), train=DATA.part("train"), model=net or model()),
        context=context,
    )
    assert all(path.parent == context.scratch for path in found.files.values())
    return found


def pictures(evaluation: Evaluation, *, batch_size: int = 64) -> dict[str, bytes]:
    context = InMemoryContext(batch_size=batch_size)
    given = EvaluationInputs(test=DATA.part("test"), train=DATA.part("train"), model=model())
    return {
        name: path.read_bytes()
        for name, path in evaluation.measure(given, context=context).files.items()
    }


@each
def test_numbers_are_finite_and_each_draws_small_figures(evaluation: Evaluation) -> None:
    found, drawn = measure(evaluation), pictures(evaluation)

    assert found.metrics
    assert all(math.isfinite(value) for value in found.metrics.values())
    assert drawn
    for picture in drawn.values():
        assert picture.startswith((b"\x89PNG", b"<?xml"))
        assert len(picture) < 200_000


@each
def test_batches_change_no_bit(evaluation: Evaluation) -> None:
    first, *others = (measure(evaluation, batch_size=size) for size in (1, 7, 256))

    assert [first.metrics] * 2 == [other.metrics for other in others]
    for other in others:
        assert all(
            torch.equal(values, other.samples[name]) for name, values in first.samples.items()
        )


@each
def test_a_figure_has_the_same_bytes_again_under_other_settings_and_leaves_these(
    evaluation: Evaluation,
) -> None:
    before = pictures(evaluation)
    with matplotlib.rc_context({"font.size": 30, "image.cmap": "gray", "savefig.dpi": 20}):
        assert before == pictures(evaluation)
        assert 30 == matplotlib.rcParams["font.size"]


@each
def test_model_and_global_randomness_are_left_as_found(evaluation: Evaluation) -> None:
    net = model()
    before = {name: values.clone() for name, values in net.state_dict().items()}
    trained = [parameter.requires_grad for parameter in net.parameters()]
    states = torch.get_rng_state(), random.getstate(), str(np.random.get_state(legacy=False))
    measure(evaluation, net=net)

    assert all(torch.equal(values, before[name]) for name, values in net.state_dict().items())
    assert all(parameter.grad is None for parameter in net.parameters())
    assert trained == [parameter.requires_grad for parameter in net.parameters()]
    assert not any(module.training or module._forward_hooks for module in net.modules())
    assert torch.equal(states[0], torch.get_rng_state())
    assert states[1:] == (random.getstate(), str(np.random.get_state(legacy=False)))


@each
def test_a_model_in_training_mode_or_none_is_refused(evaluation: Evaluation) -> None:
    with pytest.raises(ValueError, match="expected eval mode"):
        measure(evaluation, net=model().train())
    with pytest.raises(ValueError, match="expected the transferred model"):
        evaluation.measure(
            EvaluationInputs(test=DATA.part("test"), train=DATA.part("train")),
            context=InMemoryContext(),
        )


def test_influence_without_training_samples_is_refused() -> None:
    with pytest.raises(ValueError, match="found no training samples"):
        EVALUATIONS["influence"].measure(
            EvaluationInputs(test=DATA.part("test"), model=model()), context=InMemoryContext()
        )


def test_host_finds_all_five_evaluations_and_their_needs() -> None:
    host = Host.discover()
    found = {
        name: set(host.component(f"interpret/{name}", "evaluation").metadata.needs)
        for name in EVALUATIONS
    }

    assert {
        name: {"model", "train"} if name == "influence" else {"model"} for name in EVALUATIONS
    } == found


def test_rcond_has_no_default() -> None:
    options = Host.discover().component("interpret/influence", "evaluation").options

    assert ["rcond"] == [name for name, option in options.fields.items() if option.required]
    assert [] == options.validate({"rcond": 0.05})[1]


def test_the_factories_import_neither_torch_nor_matplotlib() -> None:
    program = "import sys, advtransfer_interpret; print({'torch', 'matplotlib', 'numpy'} & set(sys.modules))"
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )

    assert "set()\n" == ended.stdout
