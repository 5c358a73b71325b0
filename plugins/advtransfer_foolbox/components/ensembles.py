"""Accuracy under random noise, and under several attacks together."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, TypeAlias

from annotated_types import MinLen

from advtransfer.precheck import precheck
from advtransfer.toolkit.tagged_union import TaggedUnion
from advtransfer.types import Evaluation, Factory, component
from advtransfer_foolbox import options
from advtransfer_foolbox.options import (
    AtLeastOne,
    BasicIterative,
    Boundary,
    BrendelBethge,
    CarliniWagner,
    DeepFool,
    Eps,
    EpsList,
    Fgsm,
    Noise,
    NoiseKind,
    Norm,
    Pgd,
    Seed,
)

EnsembleMember: TypeAlias = Annotated[
    Pgd | Fgsm | BasicIterative | DeepFool | CarliniWagner | BrendelBethge | Boundary | Noise,
    TaggedUnion(),
]


@precheck(check=options.eps_misfits, metrics=options.attack_metrics(partial(Noise, kind="noise")))
@component(version=2, needs=("model",))
def noise(
    *,
    norm: Norm,
    eps: Eps | EpsList,
    noise: NoiseKind = "uniform",
    draws: AtLeastOne = 100,
    seed: Seed = 0,
    counts: bool = False,
) -> Evaluation:
    """Accuracy under random noise of size eps, the worst of several draws: what an attack must at least achieve.

    Outcome metrics ``accuracy@<eps>`` and ``clean_accuracy``: noise bounds the robust accuracy from above only. It is
    scaled to the size eps, then clipped to [0, 1].

    Args:
        norm: The norm of which the noise has the size eps.
        eps: The radius in [0, 1] pixel space; of a list, each radius is tried on what smaller ones left standing.
        noise: ``uniform`` or ``gaussian`` in each pixel, or ``salt_and_pepper``: a random share of the pixels goes up
            or down, all by as much.
        draws: How often noise is drawn for a sample, until it is broken.
        seed: Which noise is drawn; a sample's is the same for every model and radius.
        counts: Also report ``forwards`` and ``gradients``: how often each was evaluated for a sample's batch of 64,
            and the means.
    """
    asked = Noise(kind="noise", noise=noise, draws=draws)
    from advtransfer_foolbox.assemble import build_evaluation

    return build_evaluation(asked, norm=norm, eps=eps, seed=seed, counts=counts)


@precheck(check=options.ensemble_misfits, metrics=options.ensemble_metrics)
@component(version=2, needs=("model",))
def ensemble(
    *,
    norm: Norm,
    eps: Eps | EpsList,
    attacks: Annotated[tuple[EnsembleMember, ...], MinLen(1)],
    seed: Seed = 0,
    counts: bool = False,
) -> Evaluation:
    """Accuracy under several attacks: a sample is broken when any of them breaks it.

    Outcome metrics ``robust_accuracy@<eps>`` (``accuracy@<eps>`` where all are noise or take a single step, as in
    `fgsm`) and ``clean_accuracy``. Each attack is run on what those before it left standing, so cheap ones first saves
    time and changes no outcome.

    Args:
        norm: The ball that all perturbations stay in.
        eps: The ball's radius in [0, 1] pixel space, or a list of radii to climb, as in `pgd`.
        attacks: The attacks, each ``{kind: ..., ...}`` with the options of the evaluation of that name.
        seed: Which random starts, noise and walks are drawn.
        counts: Also report ``forwards`` and ``gradients``: how often each was evaluated for a sample, and the means.
    """
    from advtransfer_foolbox.assemble import build_evaluation

    return build_evaluation(*attacks, norm=norm, eps=eps, seed=seed, counts=counts)


EVALUATIONS: Sequence[Factory[Evaluation]] = (noise, ensemble)
