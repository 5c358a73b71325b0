"""An evaluation's outcomes held against a battery's: what did it call robust that the battery broke?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from advtransfer.trial.battery.design import SUSPICIOUS, Battery, graded, lower_bound
from advtransfer.types import Check, Outcome

MISSED = {
    "more_steps": "lower bound of the share that {steps} steps of the host's own attack broke and this one did not, "
    "however many it took",
    "restarts": "the same with other starts and cross-entropy",
    "noise": "lower bound of the share that random noise broke and this attack did not",
    "single_step": "lower bound of the share that one step broke and this attack did not",
    "transferred": "lower bound of the share that the source's examples broke and this attack did not",
}


def compared(
    outcomes: Sequence[int], positions: Tensor, probes: Mapping[str, Tensor], *, battery: Battery
) -> list[Check]:
    """The checks of one outcome metric.

    `more_steps` has the battery's own number of steps, 40 in the small and 100 in the full one, not twice those of the
    evaluation, which it knows nothing of: to PGD-50 and more it is another attack rather than a longer one.

    Args:
        outcomes: The evaluation's, one a test sample.
        positions: Which test samples the battery probed, ``(B,)``.
        probes: What became of these, ``(B,)`` by probe.
        battery: How much was done to find out.
    """
    claimed = torch.tensor(outcomes)[positions]
    missed = [
        _missed(name, claimed, probes[name], text) if name in probes else _absent(name, text)
        for name, text in ((name, text.format(steps=battery.steps)) for name, text in MISSED.items())
    ]
    return [_finished(outcomes), *([_clean(claimed, next(iter(probes.values())))] if probes else []), *missed]


def _missed(name: str, claimed: Tensor, probe: Tensor, text: str) -> Check:
    hits = (claimed == Outcome.ROBUST) & (probe == Outcome.BROKEN)
    value = lower_bound(int(hits.sum()), len(hits))
    return Check(name, graded(value), value, SUSPICIOUS, len(hits), text)


def _absent(name: str, text: str) -> Check:
    return Check(name, "not applicable", 0, SUSPICIOUS, 0, text)


def _clean(claimed: Tensor, probe: Tensor) -> Check:
    """With eps 0 an attack leaves exactly the clean accuracy: wrong is who is wrong without one."""
    wrong = probe == Outcome.WRONG
    odd = ((claimed == Outcome.WRONG) & ~wrong) | ((claimed == Outcome.ROBUST) & wrong)
    text = "samples whose prediction without attack the host finds otherwise"
    return Check("eps_zero", "fail" if odd.any() else "pass", int(odd.sum()), 0, len(odd), text)


def _finished(outcomes: Sequence[int]) -> Check:
    unknown = sum(one == Outcome.UNKNOWN for one in outcomes)
    value = lower_bound(unknown, len(outcomes))
    text = "lower bound of the share whose attack did not end, or gave an illegal example"
    return Check("finished", "suspicious" if value > SUSPICIOUS else "pass", value, SUSPICIOUS, len(outcomes), text)
