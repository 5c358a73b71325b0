"""Options of the attack that looks for the highest loss, and their checks. Does not import torch.

It serves evaluations that read confidences or features under attack, or that hand its examples on
to another model: all steps are taken, since an attack that stops at the first error leaves points
that are barely wrong.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from advtransfer.precheck import Misfit, Outline
from advtransfer.toolkit.adversary import TrainingNorm
from advtransfer.toolkit.option_checks import UNIT_BOUNDS, radius_misfits
from advtransfer.toolkit.training_config import require_field


@dataclass(frozen=True, slots=True, kw_only=True)
class LossAttack:
    """Projected gradient ascent whose example is the iterate of the highest loss.

    Args:
        norm: ``linf`` or ``l2``.
        eps: Radius of the ball in [0, 1] pixel space.
        steps: Gradient steps of each restart; all of them are taken.
        step_size: Length of one step; by default ``2.5 * eps / steps``.
        restarts: Number of runs from different random starts; the highest loss of all counts.
        random_start: Start at a random point of the ball instead of at the image.
        momentum: Share of the last step's direction that the next one keeps, mu of Dong et al.
            (2018), who take 1; 0 for none.
        input_diversity: Probability that a step differentiates the loss at the image scaled down to
            90 % to 100 % of its size and placed at random on black, after Xie et al. (2019), who
            take 0.5; 0 for never.
    """

    norm: TrainingNorm = "linf"
    eps: float
    steps: int = 50
    step_size: float | None = None
    restarts: int = 1
    random_start: bool = True
    momentum: float = 0.0
    input_diversity: float = 0.0

    def __post_init__(self) -> None:
        require_field(self.eps > 0, "eps", self.eps, "a number above 0")
        require_field(self.steps >= 1, "steps", self.steps, "at least 1")
        size = self.step_size
        require_field(size is None or size > 0, "step_size", size, "a number above 0")
        require_field(self.restarts >= 1, "restarts", self.restarts, "at least 1")
        differs = self.restarts == 1 or self.random_start or self.input_diversity > 0
        require_field(
            differs, "restarts", self.restarts, "1 without a random start: all would be the same"
        )
        require_field(self.momentum >= 0, "momentum", self.momentum, "a number from 0")
        probability = self.input_diversity
        require_field(
            0 <= probability <= 1, "input_diversity", probability, "a probability from 0 to 1"
        )

    @property
    def effective_step_size(self) -> float:
        """The length of one step, with the default filled in."""
        return 2.5 * self.eps / self.steps if self.step_size is None else self.step_size


def loss_attack_misfits(
    attack: LossAttack | None, data: Outline, *, path: tuple[str, ...] = ("attack",)
) -> Iterator[Misfit]:
    """Yield misfits of the attack's radius and step in [0, 1] pixel space; None has none."""
    if attack is None:
        return
    yield from radius_misfits((*path, "eps"), attack.eps, attack.norm, data, bounds=UNIT_BOUNDS)
    yield from radius_misfits(
        (*path, "step_size"),
        attack.step_size,
        attack.norm,
        data,
        bounds=UNIT_BOUNDS,
        what="a step",
    )
    is_image = data.shape is None or len(data.shape) == 3
    if attack.input_diversity and not is_image:
        yield Misfit(
            (*path, "input_diversity"), "0, since it scales images (C, H, W)", "leave it out"
        )
