"""Rules for evaluations."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from advtransfer.testing.canaries.oracle import plane_subject
from advtransfer.testing.context import InMemoryContext
from advtransfer.testing.kit.check import CheckFailed, NotChecked, presupposed, require
from advtransfer.testing.kit.running import call_model, require_close, require_unchanged
from advtransfer.testing.kit.specimen import (
    Specimen,
    attacked_dataset,
    frozen_network,
    trained_network,
)
from advtransfer.testing.pretend_cuda import pretend_cuda
from advtransfer.toolkit.datasets import SampleSubset, all_positions
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.toolkit.rng import fork_global_rng, stream_generator
from advtransfer.types import Evaluation, EvaluationInputs, Measurement, Outcome, Samples
from advtransfer.worker.guards.side_effects import guard_side_effects
from advtransfer.worker.plugin_values import contract_violation, require_measurement
from advtransfer.worker.process import deterministic_algorithms
from advtransfer.worker.verification.claims import robustness_claims
from advtransfer.worker.verification.examples import verify_examples

CPU = torch.device("cpu")

OTHER_DRAWS: Mapping[str, tuple[int, int]] = {
    "another model of the same images": (1, 0),
    "the same model and other images": (0, 1),
    "another model and images": (1, 1),
}
"""Draws of the model and of the images, by what they are beside the first."""


@dataclass(frozen=True, slots=True)
class Measured:
    """A measurement of a toy model, and what changed while it was made."""

    measurement: Measurement
    model: nn.Module
    changes: tuple[str, ...]


def measure_toy(
    specimen: Specimen,
    *,
    device: str = "cpu",
    batch_size: int = 64,
    evaluation: Evaluation | None = None,
    draw: int = 0,
    image_draw: int | None = None,
    is_reversed: bool = False,
) -> Measured:
    """Measure a network that has learned the toy data, and a toy source and reference beside it.

    Args:
        specimen: The component.
        device: Where to measure.
        batch_size: The batch size of the context.
        evaluation: An evaluation that was built before; by default a new one.
        draw: The number of the draw of data and networks.
        image_draw: The number of the draw of data, where it is another.
        is_reversed: Whether the test images stand in the other order.
    """
    evaluation = evaluation or cast(Evaluation, specimen.build())
    data = attacked_dataset(seed=draw if image_draw is None else image_draw)
    test = data.part("test")
    if is_reversed:
        test = SampleSubset(test, all_positions(test).flip(0))
    model = specimen.recall(f"trained {draw}", lambda: trained_network(draw)).to(device)
    needs = specimen.component.metadata.needs
    others: dict[str, BlockNetwork] = {
        name: frozen_network(position + 2 * draw).to(device)
        for position, name in enumerate(("source", "reference"))
        if name in needs
    }
    inputs = EvaluationInputs(
        test=test,
        model=model if "model" in needs else None,
        train=data.part("train") if "train" in needs else None,
        source=others.get("source"),
        reference=others.get("reference"),
    )
    context = InMemoryContext(0, device=device, batch_size=batch_size)
    watched = nn.ModuleList([model, *others.values()]).eval()
    with (
        deterministic_algorithms(),
        # Always the same global stream, so that draws from it are one rule's matter alone.
        fork_global_rng(stream_generator("kit global"), device=context.device),
        guard_side_effects(watched, draws=False) as guard,
    ):
        returned = evaluation.measure(inputs, context=context)
    measurement = require_measurement(specimen.component, returned)
    return Measured(measurement, model, guard.all_changes)


def measured_toy(specimen: Specimen) -> Measured:
    """Return the measurement, for a rule that presupposes that it keeps the contract."""
    specimen.product()
    with presupposed("measures"):
        measures(specimen)
    return specimen.recall("measured", lambda: measure_toy(specimen))


def _test_samples() -> Samples:
    return attacked_dataset().part("test")


def measures(specimen: Specimen) -> None:
    """A measurement has outcomes, metrics and examples of the shapes and values of the contract."""
    specimen.product()
    measured = specimen.recall("measured", lambda: measure_toy(specimen))
    violation = contract_violation(measured.measurement, _test_samples())
    if violation:
        raise CheckFailed(violation)


def examples_hold(specimen: Specimen) -> None:
    """Examples are of the radius of their metric, in ball and box, misclassified, and agree with the outcomes."""
    measured = measured_toy(specimen)
    measurement = measured.measurement
    for claim in robustness_claims(measurement):
        require(claim.check != "claimed_radius", claim.reason, "those of the radius in its name")
    if not measurement.examples:
        raise NotChecked("it returns no examples")
    if not any(len(group.positions) for group in measurement.examples):
        raise NotChecked("nothing to compare: no image is broken; give a larger eps to the check")
    corrected, checks = verify_examples(
        measurement.outcomes,
        measurement.examples,
        test=_test_samples(),
        model=measured.model,
        device=CPU,
    )
    failed = [f"{check.value:g} {check.text}" for check in checks if check.grade == "fail"]
    require(not failed, "; ".join(failed), "none")
    different = [
        name
        for name, values in measurement.outcomes.items()
        if not torch.equal(values, corrected[name])
    ]
    require(not different, f"outcomes {different} that its examples change", "the same outcomes")


def wrong_stay_wrong(specimen: Specimen) -> None:
    """Images that the model misclassifies without attack are wrong, not broken or robust."""
    measured = measured_toy(specimen)
    claims = robustness_claims(measured.measurement)
    if not claims:
        raise NotChecked("it claims no robust accuracy")
    samples = _test_samples()
    positions = all_positions(samples)
    predicted = call_model(measured.model, samples.inputs(positions)).argmax(1)
    is_wrong = predicted != samples.labels(positions)
    for claim in claims:
        values = measured.measurement.outcomes[claim.metric]
        hidden = int(((values == Outcome.BROKEN) | (values == Outcome.ROBUST))[is_wrong].sum())
        found = (
            f"{hidden} of {int(is_wrong.sum())} wrong images as broken or robust in {claim.metric}"
        )
        require(not hidden, found, "all of them as wrong")


def same_seed(specimen: Specimen) -> None:
    """The same seed gives the same measurement to the bit."""
    first = measured_toy(specimen).measurement
    second = specimen.recall("again", lambda: measure_toy(specimen)).measurement
    for name, values in _all_values(first).items():
        other = _all_values(second).get(name)
        is_equal = other is not None and torch.equal(_without_nan(values), _without_nan(other))
        require(is_equal, f"another {name!r} for the same seed", "an equal one")


def keeps_nothing(specimen: Specimen) -> None:
    """Another model, other images, as many, or both give other outcomes; then come the first again."""
    with presupposed("same_seed"):
        same_seed(specimen)
    first = measured_toy(specimen).measurement
    evaluation = cast(Evaluation, specimen.build())
    others = {
        what: specimen.recall(what, partial(_measure_others, specimen, evaluation, draws))
        for what, draws in OTHER_DRAWS.items()
    }
    again = measure_toy(specimen, evaluation=evaluation).measurement
    for name, values in _all_values(first).items():
        repeated = _all_values(again).get(name)
        is_equal = repeated is not None and torch.equal(
            _without_nan(values), _without_nan(repeated)
        )
        require(is_equal, f"another {name!r} after a measurement of others", "the first one again")
    for what, other in others.items():
        for name, values in first.outcomes.items():
            is_kept = name in other.outcomes and torch.equal(values, other.outcomes[name])
            require(not is_kept, f"the same outcomes {name!r} of {what}", "others")


def _measure_others(
    specimen: Specimen, evaluation: Evaluation, draws: tuple[int, int]
) -> Measurement:
    draw, image_draw = draws
    return measure_toy(
        specimen, evaluation=evaluation, draw=draw, image_draw=image_draw
    ).measurement


def order_invariant(specimen: Specimen) -> None:
    """The same images in another order have the same outcomes."""
    with presupposed("keeps_nothing"):
        keeps_nothing(specimen)
    moved = measure_toy(specimen, is_reversed=True).measurement
    for name, values in measured_toy(specimen).measurement.outcomes.items():
        is_equal = name in moved.outcomes and torch.equal(values, moved.outcomes[name].flip(0))
        require(is_equal, f"other outcomes {name!r} in another order of images", "equal ones")


def leaves_models(specimen: Specimen) -> None:
    """It leaves the models, random state, settings, threads and torch's functions as they were."""
    require_unchanged(measured_toy(specimen).changes)


def batch_invariant(specimen: Specimen) -> None:
    """Another batch size gives the same outcomes, and metrics that differ by rounding alone."""
    _presuppose_comparable(specimen)
    other = measure_toy(specimen, batch_size=5).measurement
    _require_equal(measured_toy(specimen).measurement, other, "with another batch size")


def device_moves(specimen: Specimen) -> None:
    """Another device gives the same outcomes, and metrics that differ by rounding alone."""
    _presuppose_comparable(specimen)
    expected = measured_toy(specimen).measurement
    with pretend_cuda():
        try:
            measured = measure_toy(specimen, device="cuda")
        finally:
            # Other rules look at the model too.
            specimen.recall("trained 0", trained_network).cpu()
        moved = {name: values.cpu() for name, values in _all_values(measured.measurement).items()}
    _require_equal_values(_all_values(expected), moved, "on another device")


def keeps_linear_oracle(specimen: Specimen) -> None:
    """The robust accuracy of a linear classifier is not below the exact one."""
    _presuppose_reproducible(specimen)
    claims = robustness_claims(measured_toy(specimen).measurement)
    threats = {claim.metric: claim.threat for claim in claims if claim.threat is not None}
    if not threats:
        raise NotChecked("it claims no robust accuracy in a ball")
    evaluation = cast(Evaluation, specimen.build())
    for metric, threat in threats.items():
        subject, exact = plane_subject(0, norm=threat.norm, eps=threat.eps)
        inputs = EvaluationInputs(test=subject.test, model=subject.model)
        with deterministic_algorithms(), guard_side_effects(subject.model):
            measurement = evaluation.measure(inputs, context=InMemoryContext(0))
        outcomes = measurement.outcomes[metric]
        share = float((outcomes == Outcome.ROBUST).double().mean())
        require(share >= exact, f"{metric} {share:.4f}", f"at least the exact {exact:.4f}")


def _presuppose_reproducible(specimen: Specimen) -> None:
    measured_toy(specimen)
    with presupposed("same_seed"):
        same_seed(specimen)
    with presupposed("examples_hold"), suppress(NotChecked):
        examples_hold(specimen)


def _presuppose_comparable(specimen: Specimen) -> None:
    """Require a reproducible measurement with values that may differ.

    Outcomes that an attack leaves as they are agree however it works.
    """
    _presuppose_reproducible(specimen)
    measurement = measured_toy(specimen).measurement
    attacked = {claim.metric for claim in robustness_claims(measurement)}
    needed = {
        name: int(Outcome.BROKEN) if name in attacked else int(Outcome.WRONG)
        for name in measurement.outcomes
    }
    compared = [bool((measurement.outcomes[name] == value).any()) for name, value in needed.items()]
    if measurement.outcomes and not any(compared) and not measurement.metrics:
        raise NotChecked("nothing to compare: no image is broken; give a larger eps to the check")


def _all_values(measurement: Measurement) -> Mapping[str, Tensor]:
    """Return outcomes, values of samples and metrics by name; metrics as tensors of one value."""
    metrics = {
        name: torch.tensor([float(value)], dtype=torch.float64)
        for name, value in measurement.metrics.items()
    }
    samples = {f"samples {name}": values for name, values in measurement.samples.items()}
    return {**measurement.outcomes, **samples, **metrics}


def _require_equal(first: Measurement, second: Measurement, what: str) -> None:
    _require_equal_values(_all_values(first), _all_values(second), what)


def _require_equal_values(
    first: Mapping[str, Tensor], second: Mapping[str, Tensor], what: str
) -> None:
    require(first.keys() == second.keys(), f"other names of results {what}", "the same names")
    for name, values in first.items():
        other = second[name]
        if values.dtype == torch.uint8:
            require(torch.equal(values, other), f"other outcomes {name!r} {what}", "equal ones")
        elif values.numel():
            require_close(_without_nan(values), _without_nan(other), f"{what} ({name})")


def _without_nan(values: Tensor) -> Tensor:
    return values.nan_to_num(nan=-1.0) if values.is_floating_point() else values


RULES = (
    measures,
    examples_hold,
    wrong_stay_wrong,
    same_seed,
    keeps_nothing,
    order_invariant,
    leaves_models,
    batch_invariant,
    device_moves,
    keeps_linear_oracle,
)
