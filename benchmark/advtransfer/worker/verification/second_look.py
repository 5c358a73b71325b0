"""The battery's second look, at what all other attacks left: ascents that follow no plain gradient.

They are for models whose gradients lead astray, and for those that answer an attack's points with
another network than the data.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TypeAlias

import torch
from torch import Tensor

from advtransfer.worker.verification.battery_attacks import BatteryAttacks, ProbeBatch
from advtransfer.worker.verification.data_support import DataSupport, supports_of
from advtransfer.worker.verification.image_gradients import other_classes
from advtransfer.worker.verification.rounded_ascent import rounded_ascent
from advtransfer.worker.verification.smoothed_ascent import (
    COHERENCE_DRAWS,
    LEAST_COHERENCE,
    NearbyGradients,
    compare_gradients,
    smoothed_ascent,
)

STEP_SCALES = (1.0, 0.5)
"""Factors of the step lengths of smoothed and rounded ascents.

Long steps got through more ripples of high frequency, short ones through distorted inputs.
"""

FEW_SHARE = 0.01
"""Share of the samples that a first rounded ascent may break before all rounded ascents follow."""

TargetedAscent: TypeAlias = Callable[[ProbeBatch, Tensor, float], tuple[Tensor, Tensor]]
"""From samples, targets ``(B,)`` and a step scale to points ``(B, ...)`` and whether they are broken, ``(B,)``."""


def look_again(attacks: BatteryAttacks, logits: Tensor) -> None:
    """Attack what all attacks so far left along smoothed gradients, then among points like the data.

    Args:
        attacks: The attacks so far.
        logits: The model's logits without attack, ``(B, K)``.
    """
    attacks.start_outcomes("smoothed")
    attacks.start_outcomes("rounded")
    rows = attacks.rows_left()
    if not len(rows):
        return
    nearby = _compare_gradients(attacks, rows, logits)
    _ascend_where_gradients_change(attacks, rows, nearby)
    is_left = attacks.unbroken_of("smoothed", rows)
    _ascend_among_data_like_points(attacks, rows[is_left], nearby[is_left])


def _compare_gradients(attacks: BatteryAttacks, rows: Tensor, logits: Tensor) -> NearbyGradients:
    return NearbyGradients.joined(
        compare_gradients(
            attacks.model,
            attacks.batch.inputs[block],
            attacks.batch.labels[block],
            keys=attacks.batch[block].keys,
            classes=other_classes(logits[block], attacks.batch.labels[block]),
            at_image=attacks.margin_gradients[block],
            ball=attacks.ball,
        )
        for block in attacks.blocks(rows, points=COHERENCE_DRAWS)
    )


def _ascend_where_gradients_change(
    attacks: BatteryAttacks, rows: Tensor, nearby: NearbyGradients
) -> None:
    """Ascend smoothed margins where gradients change from point to point.

    Elsewhere the targeted ascent has followed the same direction already, and an honest model costs
    the gradients that are compared alone.
    """
    config = attacks.battery_config

    def ascend(samples: ProbeBatch, targets: Tensor, scale: float) -> tuple[Tensor, Tensor]:
        return smoothed_ascent(
            attacks.model,
            samples.inputs,
            samples.labels,
            targets,
            keys=samples.keys,
            ball=attacks.ball,
            steps=config.smoothed_steps,
            draws=config.smoothed_draws,
            scale=scale,
            what=f"smoothed by {scale}",
        )

    is_incoherent = nearby.coherence < LEAST_COHERENCE
    classes = nearby.classes[:, : config.smoothed_targets]
    for scale in STEP_SCALES:
        _ascend(
            "smoothed",
            attacks,
            rows[is_incoherent],
            classes[is_incoherent],
            ascend,
            scale=scale,
            draws=config.smoothed_draws,
        )


def _ascend_among_data_like_points(
    attacks: BatteryAttacks, rows: Tensor, nearby: NearbyGradients
) -> None:
    """Ascend among points like the data: briefly everywhere, at length where a detector shows.

    The first ascent, to the nearest class in the narrowest way, passes every detector of points that
    are unlike the data. All others follow for every sample where it breaks more than a few, and
    otherwise for those whose gradient disagrees with the ones nearby.
    """
    if not len(rows):
        return
    supports = supports_of(attacks.batch.inputs, attacks.ball)

    config = attacks.battery_config

    def ascent_on(support: DataSupport, steps: int) -> TargetedAscent:
        return partial(_ascend_rounded, attacks, support, steps)

    if supports[0].is_narrow:
        scan = ascent_on(supports[0], config.scan_steps)
        _ascend("rounded", attacks, rows, nearby.classes[:, :1], scan, scale=1.0)
    is_left = attacks.unbroken_of("rounded", rows)
    if (~is_left).sum() <= FEW_SHARE * len(attacks.batch):
        is_left &= nearby.agreement < LEAST_COHERENCE
    rows = rows[is_left]
    classes = nearby.classes[is_left, : config.smoothed_targets]
    for support in supports:
        ascend = ascent_on(support, config.smoothed_steps)
        for scale in STEP_SCALES:
            _ascend("rounded", attacks, rows, classes, ascend, scale=scale)


def _ascend_rounded(
    attacks: BatteryAttacks,
    support: DataSupport,
    steps: int,
    samples: ProbeBatch,
    targets: Tensor,
    scale: float,
) -> tuple[Tensor, Tensor]:
    return rounded_ascent(
        attacks.model,
        samples.inputs,
        samples.labels,
        targets,
        ball=attacks.ball,
        support=support,
        steps=steps,
        scale=scale,
    )


def _ascend(
    name: str,
    attacks: BatteryAttacks,
    rows: Tensor,
    classes: Tensor,
    ascend: TargetedAscent,
    *,
    scale: float,
    draws: int = 1,
) -> None:
    """Ascend the margins of those samples that this attack has not broken, towards several classes."""
    is_left = attacks.unbroken_of(name, rows)
    rows, classes = rows[is_left], classes[is_left]
    each = torch.arange(len(rows), device=rows.device)
    for block in attacks.blocks(each, points=draws * classes.shape[1]):
        # All targets at once: mostly few samples are left, and a kernel is half empty.
        aimed = rows[block].repeat_interleave(classes.shape[1])
        points, broken = ascend(attacks.batch[aimed], classes[block].flatten(), scale)
        attacks.break_samples(name, aimed, points, broken)
