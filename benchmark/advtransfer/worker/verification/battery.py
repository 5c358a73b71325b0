"""One run of a battery: attacks on the sampled images, and checks of the model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from advtransfer.result.battery_index import Ball as ResultBall
from advtransfer.result.battery_index import BatteryEvidence, battery_version
from advtransfer.result.comparison import (
    STRONG_SHARE,
    SUSPICIOUS_SHARE,
    share_lower_bound,
)
from advtransfer.result.outcomes import samples_at
from advtransfer.toolkit.datasets import all_positions
from advtransfer.toolkit.kernel_batch import kernel_batch_option, kernel_rows
from advtransfer.toolkit.model_modes import weights_frozen
from advtransfer.toolkit.randomized import FixedDraw, MeanOfDraws, is_randomized
from advtransfer.toolkit.subset import draw_test_positions
from advtransfer.toolkit.surrogate_gradients import (
    offers_surrogate,
    surrogate_gradients,
    surrogate_outputs,
)
from advtransfer.types import Check, CheckStatus, Outcome, Samples
from advtransfer.worker.verification.ascent import (
    gradient_ascent,
    margin_loss,
)
from advtransfer.worker.verification.ball import Ball
from advtransfer.worker.verification.battery_attacks import BatteryAttacks, ProbeBatch
from advtransfer.worker.verification.config import BatteryConfig, ThreatModel
from advtransfer.worker.verification.examples import judging_logits
from advtransfer.worker.verification.model_checks import (
    box_check,
    eval_mode_check,
    output_checks,
    smoothness_checks,
    zero_count_check,
    zero_gradient_checks,
)
from advtransfer.worker.verification.randomized_checks import randomized_output_checks
from advtransfer.worker.verification.second_look import look_again
from advtransfer.worker.verification.source_examples import source_examples
from advtransfer.worker.verification.surrogate_checks import surrogate_check
from advtransfer.worker.verification.targeted_ascent import attack_by_targeted_ascent

MASKING_TEXTS = {
    "noise": "lower bound of the share that random noise broke and the host's gradient ascent did not",
    "single_step": "the same of one step along the gradient of cross-entropy",
    "transferred": "the same of examples made against the source",
    "smoothed": "the same of an ascent along smoothed gradients, on what all others left",
    "rounded": "the same of an ascent among points like the data, on what all others left",
}
"""Texts of the checks that compare another attack with the battery's targeted ascent, by its name."""


@dataclass(frozen=True, slots=True)
class BatteryResult:
    """Result of a battery.

    Args:
        positions: Positions in the test part that were attacked, ``(B,)``.
        outcomes: Values of `Outcome` at these positions, ``(B,)`` uint8, by attack.
        checks: Checks of the model.
    """

    positions: Tensor
    outcomes: Mapping[str, Tensor]
    checks: tuple[Check, ...]

    def evidence(self, threat: ThreatModel, *, of: int) -> BatteryEvidence:
        """Return what evaluations of this model are compared with.

        Args:
            threat: The ball.
            of: Number of test samples.
        """
        # Without attacks no sample is right without attack.
        outcomes = torch.full((1, len(self.positions)), int(Outcome.WRONG), dtype=torch.uint8)
        if self.outcomes:
            outcomes = torch.stack(list(self.outcomes.values()))
        is_broken = (outcomes == Outcome.BROKEN).any(0)
        is_wrong = (outcomes == Outcome.WRONG).all(0)
        return BatteryEvidence(
            ResultBall(threat.norm, threat.eps),
            battery_version(threat.norm),
            of,
            samples_at(self.positions.tolist(), of),
            samples_at(self.positions[is_broken].tolist(), of),
            samples_at(self.positions[is_wrong].tolist(), of),
            self.checks,
        )


def probed_positions(test: Samples, battery: BatteryConfig) -> Tensor:
    """Return the positions in the test part that a battery attacks: the same for every model."""
    count = min(battery.samples, len(test))
    return draw_test_positions(test.labels(all_positions(test)), count=count)


def examples_from_source(
    source: Callable[[Tensor], Tensor],
    test: Samples,
    threat: ThreatModel,
    battery: BatteryConfig,
    *,
    device: torch.device,
) -> Tensor:
    """Return examples ``(B, ...)`` made against another network, at the positions of a battery."""
    batch = ProbeBatch.at_positions(test, probed_positions(test, battery), device)
    ball = Ball(threat, test.card.bounds)
    with kernel_batch_option(battery_rows(test, battery, device)):
        return source_examples(source, batch, ball=ball, steps=battery.source_steps)


def battery_rows(test: Samples, battery: BatteryConfig, device: torch.device) -> int:
    """Return how many rows a battery computes at once: at most half of its samples fill them.

    Most probes see what others left, and rows that no sample fills cost as much as others.
    """
    samples = min(battery.samples, len(test)) // 2
    return kernel_rows(device, test.card.shape, samples=samples)


def run_battery(
    model: nn.Module,
    test: Samples,
    threat: ThreatModel,
    battery: BatteryConfig,
    *,
    device: torch.device,
    transferred: Tensor | None = None,
) -> BatteryResult:
    """Attack and check a model in a ball.

    A randomised model is attacked by the mean of its logits over draws, judged at the draw of each sample's key
    (see `legal_examples`), and checked at one draw. Gradients are taken through the surrogates that a model offers;
    its own are tried as well. Derivatives and continuity are then those of the model with its surrogates in place.

    Args:
        model: From inputs to logits, in eval mode.
        test: The test part that evaluations measure on.
        threat: The ball.
        battery: Amount of work.
        device: Device of the model.
        transferred: Result of `examples_from_source` for another network.
    """
    positions = probed_positions(test, battery)
    batch = ProbeBatch.at_positions(test, positions, device)
    ball = Ball(threat, test.card.bounds)
    rows = battery_rows(test, battery, device)
    with weights_frozen(model), kernel_batch_option(rows):
        logits = judging_logits(model, batch.inputs, test, positions)
        randomized = is_randomized(model)
        checks = [
            box_check(batch.inputs, test.card.bounds),
            eval_mode_check(model),
            *(
                randomized_output_checks(model, batch.inputs)
                if randomized
                else output_checks(model, batch.inputs, logits)
            ),
        ]
        correct = logits.argmax(1) == batch.labels
        attacked = MeanOfDraws(model) if randomized else model
        attacks = BatteryAttacks(attacked, test, positions, batch, ball, battery, correct)
        if correct.any():
            checks += _run_attacks(attacks, logits, transferred)
    outcomes = {name: values.cpu() for name, values in attacks.outcomes.items()}
    return BatteryResult(positions, outcomes, tuple(checks))


def _run_attacks(
    attacks: BatteryAttacks, logits: Tensor, transferred: Tensor | None
) -> list[Check]:
    """Run all attacks; return the checks that rest on what they saw of the model."""
    with surrogate_gradients(attacks.model):
        attacks.look_at_images(logits)
        attack_by_targeted_ascent(attacks)
    checked = FixedDraw(attacks.judged_model) if attacks.is_randomized else attacks.model
    surrogate_checks = []
    if offers_surrogate(attacks.model):
        _attack_without_surrogate(attacks)
        surrogate_checks.append(surrogate_check(attacks, checked))
    with surrogate_gradients(attacks.model):
        # What these break is a sign only where the ascent did not, so they try what it left.
        attacks.attack_by_noise()
        attacks.attack_in_single_step()
        if transferred is not None:
            attacks.attack_by_transfer(transferred)
        look_again(attacks, logits)
        unbounded_attack = _unbounded_attack_check(attacks)
    # Finite differences in float64 are slow, so only the first correct samples are used.
    rows = attacks.correct.nonzero().flatten()[: attacks.battery_config.derivative_samples]
    inputs, positions = attacks.batch.inputs[rows], attacks.positions[rows.cpu()]
    keys = [attacks.test.keys[position] for position in positions.tolist()]
    # A module that offers a surrogate does not differentiate: the model with the surrogate in its place has to.
    with surrogate_outputs(checked):
        smoothness = smoothness_checks(checked, inputs, bounds=attacks.ball.bounds, keys=keys)
    non_finite = attacks.non_finite | ~logits.isfinite().all(1)
    return [
        zero_count_check(
            "finite", non_finite, "samples with NaN or infinite logits or gradients on the way"
        ),
        *zero_gradient_checks(
            logits, attacks.zero_gradient[attacks.correct], attacks.saturated[attacks.correct]
        ),
        *smoothness,
        unbounded_attack,
        *surrogate_checks,
        *(_masking_check(attacks, name, text) for name, text in MASKING_TEXTS.items()),
    ]


def _attack_without_surrogate(attacks: BatteryAttacks) -> None:
    """Repeat the targeted ascent along the model's own gradients: its surrogate may lead astray."""
    zero_gradient = attacks.zero_gradient.clone()
    attack_by_targeted_ascent(attacks)
    # Own gradients may be zero: the surrogate is there for that.
    attacks.zero_gradient = zero_gradient


def _masking_check(attacks: BatteryAttacks, name: str, text: str) -> Check:
    """Check that an attack that follows no gradient, one, or smoothed ones breaks no more than the ascent.

    Where it does, gradients lead astray (Athalye et al., 2018, section 3.1). It is suspicious at
    worst: the samples are counted as broken.
    """
    if name not in attacks.outcomes:
        return Check(name, "not applicable", 0, STRONG_SHARE, 0, text)
    missed = attacks.missed_by_ascent(name)
    share = share_lower_bound(int(missed.sum()), len(missed))
    status: CheckStatus = "suspicious" if share > STRONG_SHARE else "pass"
    return Check(name, status, share, STRONG_SHARE, len(missed), text)


def _unbounded_attack_check(attacks: BatteryAttacks) -> Check:
    """Check that an attack with the whole box at hand reduces the model to guessing.

    Where it does not, gradients are masked: without a limit every image can be turned into another.
    The images that an attack in the ball broke are broken in the box as well.
    """
    batch = attacks.batch[attacks.rows_left()]
    labels = attacks.batch.labels
    low, high = attacks.ball.bounds or (0.0, 1.0)
    # In l_inf, whatever the norm of the battery: this ball is the whole box.
    ball = Ball(ThreatModel("linf", high - low), attacks.ball.bounds)
    result = gradient_ascent(
        attacks.model,
        batch.inputs,
        batch.labels,
        ball=ball,
        start=batch.inputs,
        steps=attacks.battery_config.unbounded_steps,
        scale=0.25,
        # Not cross-entropy, whose gradient underflows where logits are large.
        loss=margin_loss,
    )
    # Guessing means naming the most frequent class of the sample.
    chance = float(labels.cpu().bincount().max()) / len(labels)
    accuracy = share_lower_bound(int((~result.broken).sum()), len(labels))
    limit = chance + SUSPICIOUS_SHARE
    status: CheckStatus = "suspicious" if accuracy > limit else "pass"
    text = f"lower bound of the accuracy in the whole box; guessing gives {chance:.3g}"
    return Check("huge_eps", status, accuracy, limit, len(labels), text)
