"""Accuracy under random noise, and under several attacks together."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Annotated, TypeAlias

from annotated_types import MinLen

from advtransfer.precheck import precheck
from advtransfer.toolkit.option_checks import Norm
from advtransfer.toolkit.tagged_union import TaggedUnion
from advtransfer.types import Evaluation, Factory, component
from advtransfer_foolbox import options
from advtransfer_foolbox.attack_settings import (
    Apgd,
    BasicIterative,
    Boundary,
    BrendelBethge,
    CarliniWagner,
    DeepFool,
    Fab,
    Fgsm,
    Noise,
    NoiseKind,
    Pgd,
    Square,
)
from advtransfer_foolbox.options import AtLeastOne, Eps, EpsList, Seed

EnsembleMember: TypeAlias = Annotated[
    Apgd
    | Pgd
    | Fgsm
    | BasicIterative
    | DeepFool
    | CarliniWagner
    | BrendelBethge
    | Boundary
    | Noise
    | Fab
    | Square,
    TaggedUnion(),
]


@precheck(check=options.eps_misfits, metrics=options.attack_metrics(partial(Noise, kind="noise")))
@component(version=4, needs=("model",), example={"norm": "linf", "eps": 0.1, "draws": 3})
def noise(
    *,
    norm: Norm,
    eps: Eps | EpsList,
    noise: NoiseKind = "uniform",
    draws: AtLeastOne = 100,
    seed: Seed = 0,
    counts: bool = False,
) -> Evaluation:
    """Accuracy under random noise of size eps, worst case of several draws: a baseline for attacks.

    Outcome metrics ``accuracy@<eps>`` and ``clean_accuracy``; noise only bounds the robust accuracy
    from above. The noise is scaled to the size eps, then the image is clipped to [0, 1].

    Args:
        norm: Norm that measures the size of the noise.
        eps: Radius in [0, 1] pixel space, or a list of radii; each radius is tried on the samples
            that the smaller ones did not break.
        noise: ``uniform`` or ``gaussian`` in each pixel, or ``salt_and_pepper``: a random share of
            the pixels moves up or down by the same amount.
        draws: Largest number of draws per sample; they end when one breaks it.
        seed: Seed of the noise; a sample's noise is the same for every model and radius.
        counts: Also report ``forwards`` and ``gradients``, the numbers of evaluations of the model
            and of its gradient for the sample's batch of 64, and their means.
    """
    settings = Noise(kind="noise", noise=noise, draws=draws)
    from advtransfer_foolbox.assemble import build_evaluation

    return build_evaluation(settings, norm=norm, eps=eps, seed=seed, report_queries=counts)


@precheck(check=options.ensemble_misfits, metrics=options.ensemble_metrics)
@component(
    version=4,
    needs=("model",),
    tasks=("classes", "attributes"),
    example={
        "norm": "linf",
        "eps": 0.1,
        "attacks": [{"kind": "fgsm"}, {"kind": "noise", "draws": 2}],
    },
)
def ensemble(
    *,
    norm: Norm,
    eps: Eps | EpsList,
    attacks: Annotated[tuple[EnsembleMember, ...], MinLen(1)],
    seed: Seed = 0,
    counts: bool = False,
) -> Evaluation:
    """Accuracy under several attacks: a sample is broken when any of them breaks it.

    Outcome metrics ``robust_accuracy@<eps>`` (``accuracy@<eps>`` if all attacks are noise, a single
    step or judged by their last iterate, as in `fgsm`) and ``clean_accuracy``. Each attack runs on
    the samples that those before it did not break, so listing cheap attacks first saves time without
    changing any outcome. Attributes are attacked as in `pgd`, by ``fgsm``, ``pgd`` and
    ``basic_iterative`` only.

    Args:
        norm: Norm of the ball around the image.
        eps: Radius of the ball in [0, 1] pixel space, or a list of radii, as in `pgd`.
        attacks: The attacks, each ``{kind: ..., ...}`` with the options of the evaluation of that
            name.
        seed: Seed of random starts, noise and walks.
        counts: Also report ``forwards`` and ``gradients``, the numbers of evaluations of the model
            and of its gradient per sample, and their means.
    """
    from advtransfer_foolbox.assemble import build_evaluation

    return build_evaluation(*attacks, norm=norm, eps=eps, seed=seed, report_queries=counts)


EVALUATIONS: Sequence[Factory[Evaluation]] = (noise, ensemble)
