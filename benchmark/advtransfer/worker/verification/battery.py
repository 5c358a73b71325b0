"""One run of a battery: attacks on the sampled images, and checks of the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from advtransfer.toolkit.datasets import all_positions
from advtransfer.toolkit.model_modes import weights_frozen
from advtransfer.toolkit.subset import draw_test_positions
from advtransfer.types import Check, Samples
from advtransfer.worker.verification.ascent import (
    Ball,
    cross_entropy_loss,
    gradient_ascent,
    logits_of,
)
from advtransfer.worker.verification.battery_attacks import (
    BatteryAttacks,
    ProbeBatch,
    source_examples,
)
from advtransfer.worker.verification.config import SUSPICIOUS_SHARE, BatteryConfig, ThreatModel
from advtransfer.worker.verification.model_checks import (
    box_check,
    eval_mode_check,
    output_checks,
    share_check,
    smoothness_checks,
    suspicious_share_check,
    zero_count_check,
)

SATURATION_TEXT = (
    "samples too sure for a gradient of cross-entropy in float32, where attacks on it stand still; "
    "those on the margin or the logits do not"
)


@dataclass(frozen=True, slots=True)
class BatteryResult:
    """What a battery found: outcomes ``(B,)`` uint8 by probe on the drawn `positions`, and checks of the model."""

    positions: Tensor
    outcomes: Mapping[str, Tensor]
    checks: tuple[Check, ...]


def probed_positions(test: Samples, battery: BatteryConfig) -> Tensor:
    """The positions in the test part that a battery probes: the same for every model."""
    return draw_test_positions(
        test.labels(all_positions(test)), count=min(battery.samples, len(test))
    )


def examples_from_source(
    source: Callable[[Tensor], Tensor],
    test: Samples,
    threat: ThreatModel,
    battery: BatteryConfig,
    *,
    device: torch.device,
) -> Tensor:
    """Examples ``(B, ...)`` made against another network at the positions that a battery probes."""
    drawn = ProbeBatch.at_positions(test, probed_positions(test, battery), device)
    return source_examples(
        source, drawn, ball=Ball(threat, test.card.bounds), steps=battery.source_steps
    )


def run_battery(
    model: nn.Module,
    test: Samples,
    threat: ThreatModel,
    battery: BatteryConfig,
    *,
    device: torch.device,
    transferred: Tensor | None = None,
) -> BatteryResult:
    """Probe a model in a ball.

    Args:
        model: From inputs to logits, in eval mode.
        test: The test part that evaluations measure on.
        threat: The ball.
        battery: How much is done.
        device: Where the model is.
        transferred: What `examples_from_source` gave for another network.
    """
    positions = probed_positions(test, battery)
    drawn, ball = ProbeBatch.at_positions(test, positions, device), Ball(threat, test.card.bounds)
    with weights_frozen(model):
        logits = logits_of(model, drawn.inputs)
        checks = [
            box_check(drawn.inputs, test.card.bounds),
            eval_mode_check(model),
            *output_checks(model, drawn.inputs, logits),
        ]
        right = logits.argmax(1) == drawn.labels
        probes = BatteryAttacks(model, drawn, ball, battery, right)
        if right.any():
            checks += _run_attacks(probes, logits, transferred)
    return BatteryResult(
        positions, {name: one.cpu() for name, one in probes.outcomes.items()}, tuple(checks)
    )


def _run_attacks(probes: BatteryAttacks, logits: Tensor, transferred: Tensor | None) -> list[Check]:
    """Run the probes; the checks of the model that come with them."""
    probes.attack_by_noise()
    saturated = probes.attack_in_single_step()
    probes.attack_with_more_steps()
    probes.attack_with_restarts()
    if transferred is not None:
        probes.attack_by_transfer(transferred)
    few = probes.correct.nonzero().flatten()[: probes.battery_config.derivative_samples]
    drawn = probes.batch[few]
    infinite = probes.non_finite | ~logits.isfinite().all(1)
    return [
        zero_count_check(
            "finite", infinite, "samples with NaN or infinite logits or gradients on the way"
        ),
        share_check(
            "gradients",
            probes.zero_gradient[probes.correct],
            "samples whose gradient is exactly zero on the way",
        ),
        suspicious_share_check("saturation", saturated, SATURATION_TEXT),
        *smoothness_checks(
            probes.model, drawn.inputs, bounds=probes.ball.bounds, keys=list(drawn.keys)
        ),
        _unbounded_attack_check(probes),
    ]


def _unbounded_attack_check(probes: BatteryAttacks) -> Check:
    """Whether an ordinary attack that may go anywhere in the box brings the model down to guessing."""
    rows = probes.correct.nonzero().flatten()
    drawn, labels = probes.batch[rows], probes.batch.labels
    low, high = probes.ball.bounds or (0.0, 1.0)
    ball = Ball(
        ThreatModel("linf", high - low), probes.ball.bounds
    )  # the whole box, whatever the norm
    found = gradient_ascent(
        probes.model,
        drawn.inputs,
        drawn.labels,
        ball=ball,
        start=drawn.inputs,
        steps=probes.battery_config.unbounded_steps,
        step=ball.threat.eps / 4,
        loss=cross_entropy_loss,
    )
    chance = float(labels.cpu().bincount().max()) / len(labels)
    value, limit = float((~found.broken).sum()) / len(labels), chance + SUSPICIOUS_SHARE
    text = f"accuracy when all of the box is allowed; guessing gives {chance:.3g}"
    return Check(
        "huge_eps", "suspicious" if value > limit else "pass", value, limit, len(labels), text
    )
