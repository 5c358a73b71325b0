from __future__ import annotations

import random
from collections.abc import Iterator
from importlib.util import find_spec
from typing import Literal

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from advtransfer.errors import Cancelled
from advtransfer.testing.context import InMemoryContext
from advtransfer.toolkit.datasets import ArraySamples, SampleSubset
from advtransfer.toolkit.kernel_batch import KERNEL_BATCH, kernel_batch_option
from advtransfer.toolkit.option_checks import Norm
from advtransfer.toolkit.prediction import predict
from advtransfer.toolkit.rng import build_initialized, stream_generator
from advtransfer.types import DataCard, Evaluation, EvaluationInputs, Measurement, Outcome, Samples
from advtransfer_foolbox import attack_settings
from advtransfer_foolbox.components.ensembles import ensemble, noise
from advtransfer_foolbox.components.gradient import basic_iterative, clean_accuracy, fgsm, pgd
from advtransfer_foolbox.components.minimization import (
    boundary,
    brendel_bethge,
    carlini_wagner,
    deepfool,
)

SHAPE = (1, 6, 6)
DEEPFOOL = attack_settings.DeepFool(kind="deepfool", steps=3)
PGD = attack_settings.Pgd(kind="pgd", steps=3, step_size=0.1)
NUMBA = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("numba") is None, reason="numba is not installed"),
]
EVALUATIONS = [
    clean_accuracy(),
    fgsm(norm="linf", eps=0.1, random_start=True),
    pgd(norm="linf", eps=0.1, steps=3, step_size=0.05),
    pgd(norm="l2", eps=0.5, steps=3, step_size=0.2, restarts=2),
    pgd(norm="l1", eps=(3, 1), steps=4, step_size=0.5, loss="targeted_margin", counts=True),
    basic_iterative(norm="l1", eps=2, steps=3, step_size=1, loss="margin"),
    deepfool(norm="linf", eps=0.02, steps=5),
    deepfool(norm="l2", eps=0.2, steps=5),
    carlini_wagner(eps=0.3, steps=6, step_size=0.1, binary_search_steps=2, initial_const=1),
    boundary(eps=(2, 1), steps=12, restarts=2),
    noise(norm="l2", eps=0.5, draws=5),
    noise(norm="linf", eps=0.05, noise="salt_and_pepper", draws=5),
    ensemble(norm="l2", eps=(0.2, 0.4), attacks=(DEEPFOOL, PGD)),
    pytest.param(
        *([brendel_bethge(norm="l2", eps=0.4, steps=5)] if find_spec("numba") else [None]),
        marks=NUMBA,
    ),
]


def conv(seed: int = 0) -> nn.Module:
    def build() -> nn.Module:
        first, second = nn.Conv2d(1, 8, 3, padding=1), nn.Conv2d(8, 8, 3, stride=2, padding=1)
        return nn.Sequential(
            first, nn.BatchNorm2d(8), nn.ReLU(), second, nn.ReLU(), nn.Flatten(), nn.Linear(72, 4)
        )

    return build_initialized(build, stream_generator("model", seed)).eval()


def card(classes: int = 4, bounds: tuple[float, float] | None = (0.0, 1.0)) -> DataCard:
    return DataCard(SHAPE, bounds, "classes", classes, tuple(map(str, range(classes))), "")


def samples(count: int = 128, *, model: nn.Module | None = None, seed: int = 0) -> ArraySamples:
    """Random images, whole batches of a kernel, with the model's own classes, every seventh of them moved on by one."""
    inputs = torch.rand((count, *SHAPE), generator=stream_generator("images", seed))
    made = ArraySamples(card=card(), inputs=inputs, labels=torch.zeros(count, dtype=torch.int64))
    labels = predict(model or conv(), made, device=torch.device("cpu"))[0].argmax(1)
    labels[::7] = (labels[::7] + 1) % 4
    return ArraySamples(card=card(), inputs=inputs, labels=labels, keys=range(1000, 1000 + count))


def measure(
    evaluation: Evaluation, test: Samples, model: nn.Module | None = None, *, seed: int = 0
) -> Measurement:
    return evaluation.measure(
        EvaluationInputs(test=test, model=model or conv()), context=InMemoryContext(seed)
    )


def global_random_states() -> tuple[object, ...]:
    numbers = np.random.get_state(legacy=False)
    return torch.get_rng_state().tolist(), random.getstate(), str(numbers["state"])


def points(measured: Measurement) -> dict[tuple[str, int], bytes]:
    """The examples' bytes by metric and position."""
    return {
        (examples.metric, int(position)): point.numpy().tobytes()
        for examples in measured.examples
        for position, point in zip(examples.positions, examples.inputs, strict=True)
    }


@pytest.mark.parametrize("evaluation", EVALUATIONS)
def test_outcome_and_example_of_a_sample_do_not_depend_on_the_other_samples(
    evaluation: Evaluation,
) -> None:
    whole = measure(evaluation, samples())
    for shown in (range(127, -1, -1), range(40, 77), [3]):
        some = measure(evaluation, SampleSubset(samples(), torch.tensor(shown)))
        places = {position: place for place, position in enumerate(shown)}

        for metric, outcomes in whole.outcomes.items():
            assert outcomes[torch.tensor(shown)].tolist() == some.outcomes[metric].tolist()
        for name in whole.samples.keys() - {"forwards", "gradients"}:
            assert whole.samples[name][torch.tensor(shown)].tolist() == some.samples[name].tolist()
        expected = {
            (metric, places[at]): one for (metric, at), one in points(whole).items() if at in places
        }
        assert expected == points(some)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_more_restarts_never_find_less(norm: Literal["linf", "l2"]) -> None:
    eps = {"linf": 0.05, "l2": 0.2}[norm]
    counts = []
    for restarts in (1, 2, 4):
        evaluation = pgd(norm=norm, eps=eps, steps=1, step_size=eps / 2, restarts=restarts)
        counts.append(
            measure(evaluation, samples(400)).outcomes[f"accuracy@{eps:g}"] == Outcome.BROKEN
        )

    assert counts[0].sum() < counts[1].sum() < counts[2].sum()
    assert (counts[0] <= counts[1]).all()
    assert (counts[1] <= counts[2]).all()


def test_another_seed_draws_other_starts_and_the_same_seed_the_same() -> None:
    runs = [
        points(measure(pgd(norm="linf", eps=0.1, steps=2, step_size=0.01, seed=seed), samples()))
        for seed in (0, 0, 1)
    ]

    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


class Fickle(nn.Module):
    """Class 1 at the second look, the first of an attack, and class 0 ever after."""

    def __init__(self) -> None:
        super().__init__()
        self.looks = 0

    def forward(self, inputs: Tensor) -> Tensor:
        self.looks += 1
        told = torch.tensor([0.0, 1.0] if self.looks == 2 else [1.0, 0.0])
        return told + 0 * inputs.flatten(1)[:, :1]


@pytest.mark.parametrize(
    "evaluation",
    [
        fgsm(norm="linf", eps=0.1),
        pgd(norm="l2", eps=0.5, steps=3, step_size=0.2),
        pgd(norm="linf", eps=(0.05, 0.1), steps=3, step_size=0.05),
        noise(norm="linf", eps=0.1, draws=3),
    ],
)
def test_attack_stopped_at_an_unconfirmed_example_is_unknown(
    evaluation: Evaluation,
) -> None:
    test = ArraySamples(
        card=card(2), inputs=torch.full((3, *SHAPE), 0.5), labels=torch.zeros(3, dtype=torch.int64)
    )
    found = measure(evaluation, test, Fickle().eval())

    for examples in found.examples:
        assert [Outcome.UNKNOWN] * 3 == found.outcomes[examples.metric].tolist()
        assert not len(examples.positions)


class Broken(nn.Module):
    """A network that fails on images whose first pixel is above a half: its logits or its gradients are not numbers."""

    def __init__(self, what: Literal["logits", "gradients"]) -> None:
        super().__init__()
        self.network, self.what = conv(), what

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.network(inputs)
        bad = (inputs[:, 0, 0, 0] > 0.5)[:, None]
        if self.what == "logits":
            return logits.masked_fill(bad, torch.nan)
        one = (~bad).float()
        # both roots are exact, but that of 0 has an infinite derivative
        return logits + (0 * inputs[:, 0, 0, :1] + one).sqrt() - one


@pytest.mark.parametrize("evaluation", EVALUATIONS)
def test_nan_logits_are_unknown_and_change_no_other_sample(
    evaluation: Evaluation,
) -> None:
    test = samples()
    bad = test.inputs(torch.arange(128))[:, 0, 0, 0] > 0.6
    good = test.inputs(torch.arange(128))[:, 0, 0, 0] < 0.4
    sound, found = measure(evaluation, test), measure(evaluation, test, Broken("logits").eval())

    for metric, outcomes in found.outcomes.items():
        assert {Outcome.UNKNOWN} == set(outcomes[bad].tolist())
        if metric in ("accuracy", "clean_accuracy", "accuracy@0.1", "robust_accuracy@0.1"):
            assert sound.outcomes[metric][good].tolist() == outcomes[good].tolist()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_nan_gradients_are_unknown_and_never_robust(
    norm: Literal["linf", "l2"],
) -> None:
    test = samples()
    bad = test.inputs(torch.arange(128))[:, 0, 0, 0] > 0.6
    evaluation = pgd(norm=norm, eps=0.05, steps=3, step_size=0.02)
    found = measure(evaluation, test, Broken("gradients").eval()).outcomes

    assert Outcome.ROBUST in found["clean_accuracy"][bad]
    assert Outcome.ROBUST not in found["robust_accuracy@0.05"][bad]
    assert Outcome.UNKNOWN in found["robust_accuracy@0.05"][bad]
    assert Outcome.ROBUST in found["robust_accuracy@0.05"]


@pytest.mark.parametrize("evaluation", EVALUATIONS)
def test_weights_gradients_modes_and_global_random_state_are_left_as_found(
    evaluation: Evaluation,
) -> None:
    model, test = conv(), samples()
    parameters = dict(model.named_parameters())
    parameters["0.weight"].requires_grad_(False)
    parameters["3.weight"].grad = torch.ones_like(parameters["3.weight"])
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    states = global_random_states()
    measure(evaluation, test, model)

    assert states == global_random_states()
    assert all(before[name].equal(tensor) for name, tensor in model.state_dict().items())
    assert ["0.weight"] == [name for name, one in parameters.items() if not one.requires_grad]
    assert ["3.weight"] == [name for name, one in parameters.items() if one.grad is not None]
    assert torch.ones_like(parameters["3.weight"]).equal(parameters["3.weight"].grad)
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("evaluation", EVALUATIONS)
def test_a_model_in_training_mode_is_an_error(evaluation: Evaluation) -> None:
    model = conv()
    model.get_submodule("1").train()

    with pytest.raises(ValueError, match="training mode; expected eval mode"):
        measure(evaluation, samples(), model)


@pytest.mark.parametrize("evaluation", EVALUATIONS)
def test_no_model_is_an_error(evaluation: Evaluation) -> None:
    with pytest.raises(ValueError, match="found no model"):
        evaluation.measure(EvaluationInputs(test=samples()), context=InMemoryContext())


@pytest.mark.parametrize("evaluation", EVALUATIONS)
@pytest.mark.parametrize("label", [-1, 4])
def test_a_label_that_is_no_class_is_an_error(evaluation: Evaluation, label: int) -> None:
    test = ArraySamples(
        card=card(), inputs=torch.zeros(3, *SHAPE), labels=torch.tensor([0, label, 1])
    )

    with pytest.raises(ValueError, match="expected 0 to 3, the model's classes"):
        measure(evaluation, test)


def test_labels_of_another_task_are_an_error() -> None:
    test = ArraySamples(card=card(), inputs=torch.zeros(3, *SHAPE), labels=torch.zeros(3, 4))

    with pytest.raises(ValueError, match="expected one int64 class per sample"):
        measure(clean_accuracy(), test)


@pytest.mark.parametrize("evaluation", EVALUATIONS[1:])
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_a_pixel_outside_the_box_is_an_error(evaluation: Evaluation, value: float) -> None:
    inputs = torch.full((3, *SHAPE), 0.5)
    inputs[1, 0, 2, 3] = value
    test = ArraySamples(card=card(), inputs=inputs, labels=torch.zeros(3, dtype=torch.int64))

    with pytest.raises(ValueError, match=r"found pixels from .* expected 0 to 1"):
        measure(evaluation, test)


@pytest.mark.parametrize("bounds", [None, (0.0, 255.0)])
def test_images_of_other_bounds_are_an_error(bounds: tuple[float, float] | None) -> None:
    test = ArraySamples(
        card=card(bounds=bounds),
        inputs=torch.zeros(3, *SHAPE),
        labels=torch.zeros(3, dtype=torch.int64),
    )

    with pytest.raises(ValueError, match="rescale the data set"):
        measure(fgsm(norm="linf", eps=0.1), test)


@pytest.mark.parametrize(
    ("norm", "eps"), [("linf", 8.0), ("linf", 1.01), ("l2", 6.01), ("l1", 36.1)]
)
def test_an_eps_beyond_the_box_is_an_error(norm: Norm, eps: float) -> None:
    with pytest.raises(
        ValueError, match=f"found eps {eps}; expected 0 to (1|6|36) for {norm} on inputs of shape"
    ):
        measure(pgd(norm=norm, eps=(0.1, eps), steps=1, step_size=0.1), samples())


@pytest.fixture
def smallest_batches() -> Iterator[None]:
    """Kernel batches of which the test part is more than one."""
    with kernel_batch_option(KERNEL_BATCH):
        yield


@pytest.mark.usefixtures("smallest_batches")
@pytest.mark.parametrize("evaluation", EVALUATIONS[1:])
def test_cancelled_attack_gives_the_same_result_when_run_again(
    evaluation: Evaluation,
) -> None:
    stopped = InMemoryContext(cancel_after=2)
    whole = measure(evaluation, samples())
    with pytest.raises(Cancelled):
        evaluation.measure(EvaluationInputs(test=samples(), model=conv()), context=stopped)
    again = evaluation.measure(
        EvaluationInputs(test=samples(), model=conv()), context=stopped.resumed()
    )

    assert points(whole) == points(again)
    assert {name: one.tolist() for name, one in whole.outcomes.items()} == {
        name: one.tolist() for name, one in again.outcomes.items()
    }


@pytest.mark.parametrize("evaluation", EVALUATIONS[1:])
def test_every_attacked_metric_has_its_examples_even_where_none_is_broken(
    evaluation: Evaluation,
) -> None:
    constant = nn.Sequential(nn.Flatten(), nn.Linear(36, 4))
    nn.init.zeros_(constant[1].weight)  # type: ignore[arg-type]  # nn.Sequential gives Module, this one is Linear
    measured = measure(evaluation, samples(20, model=constant.eval()), constant)
    empty = {
        one.metric: (one.eps, tuple(one.positions.shape), tuple(one.inputs.shape))
        for one in measured.examples
    }

    assert empty == {
        name: (float(name.partition("@")[2]), (0,), (0, *SHAPE))
        for name in measured.outcomes
        if "@" in name
    }


@pytest.mark.usefixtures("smallest_batches")
def test_progress_is_reported_by_chunk_and_cancels() -> None:
    context = InMemoryContext()
    pgd(norm="linf", eps=0.1, steps=1, step_size=0.1, restarts=2).measure(
        EvaluationInputs(test=samples(), model=conv()), context=context
    )
    stopping = InMemoryContext(cancel_after=2)

    assert all(0 < told["done"] <= told["total"] == 256 for told in context.told)
    assert len(context.told) >= 3
    with pytest.raises(Cancelled):
        fgsm(norm="linf", eps=0.1).measure(
            EvaluationInputs(test=samples(), model=conv()), context=stopping
        )
