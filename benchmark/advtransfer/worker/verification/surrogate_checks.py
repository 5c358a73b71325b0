"""The check of a surrogate: that it stands in for its module, and is no more robust model that attacks follow."""

from __future__ import annotations

from advtransfer.result.comparison import STRONG_SHARE, share_lower_bound
from advtransfer.toolkit.surrogate_gradients import surrogate_outputs
from advtransfer.types import Check
from advtransfer.worker.verification.ascent import gradient_ascent, logits_of, margin_loss
from advtransfer.worker.verification.ball import Ball
from advtransfer.worker.verification.battery_attacks import BatteryAttacks
from advtransfer.worker.verification.config import ThreatModel


def surrogate_check(attacks: BatteryAttacks) -> Check:
    """Check that the model with its surrogates in place is no more robust than the model itself.

    Attacks follow the surrogates, so one that answers like a more robust model would hide examples. The model with
    surrogates is attacked alone, from the images; the share of samples that are right there at the points where
    these ascents end, and wrong by the model itself, is nearly 0 where a surrogate stands in for rounding. A
    surrogate that reads other pixels than the model is not found here, but by attacks without gradients.

    Args:
        attacks: The attacks of the battery.
    """
    batch, model, norm = attacks.batch, attacks.model, attacks.ball.threat.norm
    # Ascents in l_1 have steps of their own; the ball of l_inf that fits into it has as many directions.
    ball = attacks.ball
    if norm == "l1":
        ball = Ball(ThreatModel("linf", ball.threat.eps / batch.inputs[0].numel()), ball.bounds)
    with surrogate_outputs(model):
        ascent = gradient_ascent(
            model,
            batch.inputs,
            batch.labels,
            ball=ball,
            start=batch.inputs,
            steps=attacks.battery_config.steps,
            loss=margin_loss,
            on=True,
        )
        stands = logits_of(model, ascent.points).argmax(1) == batch.labels
    falls = logits_of(model, ascent.points).argmax(1) != batch.labels
    differs = (stands & falls)[attacks.correct]
    share = share_lower_bound(int(differs.sum()), len(differs))
    return Check(
        "surrogate",
        "suspicious" if share > STRONG_SHARE else "pass",
        share,
        STRONG_SHARE,
        len(differs),
        "lower bound of the share that is wrong by the model and right by its surrogate, where attacks on it end",
    )
