"""The check of a surrogate: that it stands in for its module, and is no other model that attacks follow."""

from __future__ import annotations

from advtransfer.result.comparison import SUSPICIOUS_SHARE, share_lower_bound
from advtransfer.toolkit.surrogate_gradients import surrogate_outputs
from advtransfer.types import Check
from advtransfer.worker.verification.ascent import gradient_ascent, logits_of, margin_loss
from advtransfer.worker.verification.ball import Ball
from advtransfer.worker.verification.battery_attacks import BatteryAttacks
from advtransfer.worker.verification.config import ThreatModel


def surrogate_check(attacks: BatteryAttacks) -> Check:
    """Check that the model with its surrogates in place answers like the model, and is no more robust.

    Attacks follow the surrogates, so one that is another model would hide examples. Two shares are nearly 0 where a
    surrogate stands in for rounding: of images that both put into different classes without attack; and of samples
    that are right with surrogates and wrong without at the points where ascents on the former end, less those of
    which the reverse is true, since rounding moves margins to either side. A surrogate that agrees with the model on
    images, and reads other pixels than it around them, is found by attacks without gradients alone.

    Args:
        attacks: The attacks of the battery.
    """
    batch, model = attacks.batch, attacks.model
    # Ascents in l_1 have steps of their own; the ball of l_inf that fits into it has as many directions.
    ball = attacks.ball
    if ball.threat.norm == "l1":
        ball = Ball(ThreatModel("linf", ball.threat.eps / batch.inputs[0].numel()), ball.bounds)
    with surrogate_outputs(model):
        classes = logits_of(model, batch.inputs).argmax(1)
        points = gradient_ascent(
            model,
            batch.inputs,
            batch.labels,
            ball=ball,
            start=batch.inputs,
            steps=attacks.battery_config.steps,
            loss=margin_loss,
            on=True,
        ).points
        stands = logits_of(model, points).argmax(1) == batch.labels
    differs = logits_of(model, batch.inputs).argmax(1) != classes
    is_right = logits_of(model, points).argmax(1) == batch.labels
    correct = attacks.correct
    hidden = int((stands & ~is_right)[correct].sum()) - int((is_right & ~stands)[correct].sum())
    share = max(
        share_lower_bound(int(differs.sum()), len(differs)),
        share_lower_bound(max(hidden, 0), int(correct.sum())),
    )
    return Check(
        "surrogate",
        "suspicious" if share > SUSPICIOUS_SHARE else "pass",
        share,
        SUSPICIOUS_SHARE,
        len(differs),
        "lower bound of the share that a surrogate puts into another class, or hides where attacks on it end",
    )
