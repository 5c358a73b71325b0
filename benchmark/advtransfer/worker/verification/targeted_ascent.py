"""The strongest attack of a battery: ascents of the margins of the nearest classes, from random starts.

The margin keeps a gradient where a confident model flattens that of cross-entropy, and aiming at
several classes finds what the steepest way alone misses.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from advtransfer.worker.verification.ascent import (
    AscentResult,
    Rivals,
    gradient_ascent,
    targeted_margin_loss,
)
from advtransfer.worker.verification.ball import Ball
from advtransfer.worker.verification.battery_attacks import BatteryAttacks
from advtransfer.worker.verification.sparse_ascent import sparse_ascent


def attack_by_targeted_ascent(attacks: BatteryAttacks) -> None:
    """Ascend the margins of each sample's targets until one breaks it; see `look_at_images`.

    Nearly all samples that break do so on the way to the nearest class. It is tried alone, so that
    they cost no other ascent; the other classes follow side by side, and in l_inf and l_2 only those
    whose margins are largest go on after the first steps.

    Args:
        attacks: The attacks of the battery, which hold the targets and count the samples.
    """
    for start in range(attacks.battery_config.starts):
        for ranks in _stages(attacks.targets.shape[1]):
            rows = attacks.left_by_ascent()
            for block in attacks.blocks(rows, points=len(ranks)):
                _ascend_to_ranks(attacks, block, ranks, start)


def _stages(count: int) -> list[range]:
    """Return the ranks of the targets that go side by side: the nearest alone, then all others."""
    return [ranks for ranks in (range(1), range(1, count)) if ranks]


def _ascend_to_ranks(attacks: BatteryAttacks, rows: Tensor, ranks: range, start: int) -> None:
    """Ascend to the targets of these ranks side by side, each from a random point of its own."""
    config = attacks.battery_config
    samples = attacks.batch[rows]
    names = [f"start {start} of target {rank}" for rank in ranks]
    starts = [attacks.ball.random_start(samples.inputs, samples.keys, what=what) for what in names]
    count = len(ranks)
    result = ascent_in(attacks.ball)(
        attacks.model,
        samples.inputs.repeat_interleave(count, dim=0),
        samples.labels.repeat_interleave(count),
        ball=attacks.ball,
        start=torch.stack(starts, dim=1).flatten(0, 1),
        steps=attacks.ascent_steps,
        loss=targeted_margin_loss,
        targets=attacks.targets[rows][:, ranks].flatten(),
        rivals=Rivals(count, config.trial_steps, config.kept_targets),
        on=attacks.is_randomized,
    )
    attacks.zero_gradient[rows] |= result.zero_gradient.view(-1, count).any(1)
    attacks.non_finite[rows] |= result.non_finite.view(-1, count).any(1)
    # A mean over draws that is barely wrong is far from wrong at each draw: its ascent goes on, and ends at a point
    # that is judged in any case.
    broken = torch.ones_like(result.broken) if attacks.is_randomized else result.broken
    attacks.break_samples("targeted", rows.repeat_interleave(count), result.points, broken)


def ascent_in(ball: Ball) -> Callable[..., AscentResult]:
    """Return the ascent in the norm of a ball."""
    return sparse_ascent if ball.threat.norm == "l1" else gradient_ascent
