"""Accuracy under Auto-PGD, and under the attacks of AutoAttack together."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated

from annotated_types import Gt, Lt

from advtransfer.precheck import precheck
from advtransfer.toolkit.option_checks import Norm
from advtransfer.types import Evaluation, Factory, Since, component
from advtransfer_foolbox import attack_settings, options
from advtransfer_foolbox.attack_settings import Apgd, ApgdLoss, AutoAttackVersion, TargetOrder
from advtransfer_foolbox.options import AtLeastOne, Eps, EpsList, Seed

_APGD_OPTIONS = ("steps", "restarts", "loss", "targets", "target_order", "rho", "draws")
_apgd_settings = partial(Apgd, kind="apgd")


@precheck(
    check=options.attack_check(_apgd_settings, *_APGD_OPTIONS),
    metrics=options.attack_metrics(_apgd_settings, *_APGD_OPTIONS),
)
@component(version=2, needs=("model",), example={"norm": "linf", "eps": 0.1, "steps": 3})
def apgd(
    *,
    norm: Norm,
    eps: Eps | EpsList,
    steps: AtLeastOne = 100,
    restarts: AtLeastOne = 1,
    loss: ApgdLoss = "cross_entropy",
    targets: AtLeastOne = 9,
    target_order: TargetOrder = "logit",
    rho: Annotated[float, Gt(0), Lt(1)] = 0.75,
    seed: Seed = 0,
    counts: bool = False,
    draws: Annotated[AtLeastOne, Since(2)] = 1,
) -> Evaluation:
    """Accuracy under Auto-PGD (Croce and Hein, 2020): gradient steps with momentum that adapt their size.

    Outcome metrics ``robust_accuracy@<eps>`` (``accuracy@<eps>`` with a single step, as in `fgsm`)
    and ``clean_accuracy``. A sample is broken when any iterate is misclassified. In ``l1`` the steps
    are sparse, and the first 30 % and the next 30 % of them go in balls of 3 and 2 eps (Croce and
    Hein, 2021).

    The losses ``dlr`` and ``targeted_dlr`` are not defined for fewer than 3 or 4 classes. The margin
    of the same form takes their place there, and a check of the record names the loss.

    Args:
        norm: Norm of the ball around the image.
        eps: Radius of the ball in [0, 1] pixel space, or a list of radii, as in `pgd`.
        steps: Number of steps of each restart, for each target class.
        restarts: Number of runs from different random starts; each attacks only the samples that
            are not broken yet.
        loss: The quantity that the steps increase: ``cross_entropy``; ``margin``, the largest other
            logit minus the logit of the sample's class; ``dlr``, the margin divided by the
            difference between the first and the third logit; ``targeted_margin`` and
            ``targeted_dlr`` for one target class after the other.
        targets: Largest number of other classes that a targeted loss tries.
        target_order: Order of these classes: by decreasing ``logit``, or by ``distance`` to their
            boundary, the difference of logits over the dual norm of its gradient at the image
            (Melamed et al., 2024), which takes a gradient for each class.
        rho: Share of the steps since the last check that must increase the loss; the step size is
            halved otherwise. Without effect in ``l1``.
        seed: Seed of the random starts; a sample's starts are the same for every model.
        counts: Also report ``forwards`` and ``gradients``, the numbers of evaluations of the model
            and of its gradient per sample, and their means.
        draws: Draws of a randomised model over which each gradient is averaged, expectation over
            transformation (Athalye et al., 2018); without effect on other models. A
            randomised model is judged at the iterate of the largest mean loss, by one more draw.
    """
    settings = Apgd(
        kind="apgd",
        steps=steps,
        restarts=restarts,
        loss=loss,
        targets=targets,
        target_order=target_order,
        rho=rho,
        draws=draws,
    )
    from advtransfer_foolbox.assemble import build_evaluation

    return build_evaluation(settings, norm=norm, eps=eps, seed=seed, report_queries=counts)


@precheck(check=options.autoattack_misfits, metrics=options.autoattack_metrics)
@component(
    version=2,
    needs=("model",),
    presets=options.AUTOATTACK_PRESETS,
    strong=True,
    example={"norm": "linf", "eps": 0.1, "version": "fast", "steps": 2, "targets": 1},
)
def autoattack(
    *,
    norm: Norm,
    eps: Eps | EpsList,
    version: AutoAttackVersion = "standard",
    steps: AtLeastOne | None = None,
    targets: AtLeastOne | None = None,
    seed: Seed = 0,
    counts: bool = False,
) -> Evaluation:
    """Accuracy under AutoAttack (Croce and Hein, 2020): several attacks, each on the samples still standing.

    Outcome metrics ``robust_accuracy@<eps>`` and ``clean_accuracy``. The attacks are written from the
    papers, and share no code with the original.

    Args:
        norm: Norm of the ball around the image.
        eps: Radius of the ball in [0, 1] pixel space, or a list of radii, as in `pgd`.
        version: ``standard`` are the attacks of the original: `apgd` with 100 steps on cross-entropy
            (5 restarts in ``l1``), then on the targeted DLR loss for 9 target classes (5 in ``l1``),
            `fab` for 9 target classes, and `square` with 5,000 queries; all other classes are
            targets where there are fewer. ``fast`` are the first two, the second for the nearest
            classes by the distance to their linearised boundary. ``rand``, for randomised models,
            is `apgd` with 100 steps on cross-entropy and on the DLR loss, each with 20 `draws`.
        steps: Number of steps of each ascent of ``fast``; 100 by default.
        targets: Number of target classes of ``fast``; 3 by default.
        seed: Seed of all random draws; a sample's draws are the same for every model.
        counts: Also report ``forwards`` and ``gradients``, the numbers of evaluations of the model
            and of its gradient per sample, and their means.
    """
    members = attack_settings.autoattack_members(norm, version, steps, targets)
    from advtransfer_foolbox.assemble import build_evaluation

    return build_evaluation(*members, norm=norm, eps=eps, seed=seed, report_queries=counts)


EVALUATIONS: Sequence[Factory[Evaluation]] = (apgd, autoattack)
