"""One run of the battery: probes of the drawn samples, and checks of the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from advtransfer.toolkit.freezing import weights_frozen
from advtransfer.toolkit.samples import every
from advtransfer.toolkit.subset import test_draw
from advtransfer.trial.battery.ball import Ball
from advtransfer.trial.battery.climb import climb, cross_entropy, logits_of
from advtransfer.trial.battery.design import SUSPICIOUS, Battery, Threat
from advtransfer.trial.battery.model import answers, boxed, doubtful, eval_mode, none, share, smoothness
from advtransfer.trial.battery.probes import Drawn, Probes, source_examples
from advtransfer.types import Check, Samples

SATURATED = (
    "samples too sure for a gradient of cross-entropy in float32, where attacks on it stand still; "
    "those on the margin or the logits do not"
)


@dataclass(frozen=True, slots=True)
class Findings:
    """What a battery found: outcomes ``(B,)`` uint8 by probe on the drawn `positions`, and checks of the model."""

    positions: Tensor
    outcomes: Mapping[str, Tensor]
    checks: tuple[Check, ...]


def positions_of(test: Samples, battery: Battery) -> Tensor:
    """The positions in the test part that a battery probes: the same for every model."""
    return test_draw(test.labels(every(test)), count=min(battery.samples, len(test)))


def examples_from(
    source: Callable[[Tensor], Tensor], test: Samples, threat: Threat, battery: Battery, *, device: torch.device
) -> Tensor:
    """Examples ``(B, ...)`` made against another network at the positions that a battery probes."""
    drawn = Drawn.of(test, positions_of(test, battery), device)
    return source_examples(source, drawn, ball=Ball(threat, test.card.bounds), steps=battery.source_steps)


def run_battery(
    model: nn.Module,
    test: Samples,
    threat: Threat,
    battery: Battery,
    *,
    device: torch.device,
    transferred: Tensor | None = None,
) -> Findings:
    """Probe a model in a ball.

    Args:
        model: From inputs to logits, in eval mode.
        test: The test part that evaluations measure on.
        threat: The ball.
        battery: How much is done.
        device: Where the model is.
        transferred: What `examples_from` gave for another network.
    """
    positions = positions_of(test, battery)
    drawn, ball = Drawn.of(test, positions, device), Ball(threat, test.card.bounds)
    with weights_frozen(model):
        logits = logits_of(model, drawn.inputs)
        checks = [boxed(drawn.inputs, test.card.bounds), eval_mode(model), *answers(model, drawn.inputs, logits)]
        right = logits.argmax(1) == drawn.labels
        probes = Probes(model, drawn, ball, battery, right)
        if right.any():
            checks += _attacked(probes, logits, transferred)
    return Findings(positions, {name: one.cpu() for name, one in probes.outcomes.items()}, tuple(checks))


def _attacked(probes: Probes, logits: Tensor, transferred: Tensor | None) -> list[Check]:
    """Run the probes; the checks of the model that come with them."""
    probes.noise()
    saturated = probes.single_step()
    probes.more_steps()
    probes.restarts()
    if transferred is not None:
        probes.transferred(transferred)
    few = probes.right.nonzero().flatten()[: probes.battery.derivatives]
    drawn = probes.drawn[few]
    infinite = probes.infinite | ~logits.isfinite().all(1)
    return [
        none("finite", infinite, "samples with NaN or infinite logits or gradients on the way"),
        share("gradients", probes.flat[probes.right], "samples whose gradient is exactly zero on the way"),
        doubtful("saturation", saturated, SATURATED),
        *smoothness(probes.model, drawn.inputs, bounds=probes.ball.bounds, keys=list(drawn.keys)),
        _huge(probes),
    ]


def _huge(probes: Probes) -> Check:
    """Whether an ordinary attack that may go anywhere in the box brings the model down to guessing."""
    rows = probes.right.nonzero().flatten()
    drawn, labels = probes.drawn[rows], probes.drawn.labels
    low, high = probes.ball.bounds or (0.0, 1.0)
    ball = Ball(Threat("linf", high - low), probes.ball.bounds)  # the whole box, whatever the norm
    found = climb(
        probes.model,
        drawn.inputs,
        drawn.labels,
        ball=ball,
        start=drawn.inputs,
        steps=probes.battery.huge_steps,
        step=ball.threat.eps / 4,
        loss=cross_entropy,
    )
    chance = float(labels.cpu().bincount().max()) / len(labels)
    value, limit = float((~found.broken).sum()) / len(labels), chance + SUSPICIOUS
    text = f"accuracy when all of the box is allowed; guessing gives {chance:.3g}"
    return Check("huge_eps", "suspicious" if value > limit else "pass", value, limit, len(labels), text)
