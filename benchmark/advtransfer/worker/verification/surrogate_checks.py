"""The check of a surrogate: that it stands in for its module, and is no other model that attacks follow."""

from __future__ import annotations

from torch import nn

from advtransfer.result.comparison import SUSPICIOUS_SHARE, share_lower_bound
from advtransfer.toolkit.surrogate_gradients import surrogate_outputs
from advtransfer.types import Check
from advtransfer.worker.verification.ascent import logits_of, margin_loss
from advtransfer.worker.verification.battery_attacks import BatteryAttacks
from advtransfer.worker.verification.targeted_ascent import ascent_in


def surrogate_check(attacks: BatteryAttacks, model: nn.Module) -> Check:
    """Check that the model with its surrogates in place answers like the model, and is no more robust.

    Attacks follow the surrogates, so one that is another model would hide examples. Two shares are nearly 0 where a
    surrogate stands in for rounding: of images that both put into different classes without attack; and of samples
    that are right with surrogates and wrong without at the points where ascents on the former end, less those of
    which the reverse is true, since rounding moves margins to either side. A surrogate that agrees with the model on
    images, and reads other pixels than it around them, is found by attacks without gradients alone.

    Args:
        attacks: The attacks of the battery.
        model: Their model; a randomised one at a fixed draw, since draws differ by themselves.
    """
    batch = attacks.batch
    with surrogate_outputs(model):
        classes = logits_of(model, batch.inputs).argmax(1)
        points = ascent_in(attacks.ball)(
            model,
            batch.inputs,
            batch.labels,
            ball=attacks.ball,
            start=batch.inputs,
            steps=attacks.ascent_steps,
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
