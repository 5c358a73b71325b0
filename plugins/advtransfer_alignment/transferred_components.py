"""Factories of the black-box evaluations. Torch is imported only when one is built."""

from __future__ import annotations

from typing import Annotated

from annotated_types import Ge, MinLen

from advtransfer.precheck import precheck
from advtransfer.toolkit.loss_attack import LossAttack
from advtransfer.types import Evaluation, Source, component
from advtransfer_alignment import options
from advtransfer_alignment.options import SurrogateLabels


@precheck(check=options.transferred_misfits, metrics=options.transferred_metrics)
@component(needs=("model",), example={"attack": {"eps": 0.1, "steps": 2}})
def transferred(
    *,
    surrogates: Annotated[tuple[Source, ...], MinLen(1)],
    attack: LossAttack,
    labels: SurrogateLabels = "target",
    seed: Annotated[int, Ge(0)] = 0,
) -> Evaluation:
    """Accuracy of the model at adversarial examples made on other models: a black-box attack.

    Each image's example is the point of the highest loss on the surrogates over all steps and
    restarts; the model itself is only asked for its decision there. An example that stops at the
    surrogate's boundary would seldom cross another model's.

    Outcome metrics ``clean_accuracy`` and ``accuracy@<eps>``, the share of images that are right
    without attack and at the example: it bounds the robust accuracy from above, and is never
    checked. ``transfer_rate@<eps>``, over the images that the model and all surrogates predict
    correctly: how often the model is wrong at the example. ``surrogate_rate@<eps>``, over the same
    images: the mean share of the surrogates that are, a white-box rate. ``jointly_correct``: the
    share of these images. The rates are left out where there is no such image. Arrays of the same
    names, NaN at images that a rate is not over.

    Args:
        surrogates: Sources that the examples are made on: names of the suite or entries, which take
            the target's images, without an adapter. Several are attacked at once, by the sum of
            their losses.
        attack: The attack ``{norm, eps, steps, step_size, restarts, random_start, momentum,
            input_diversity}``, with eps in [0, 1] pixel space and by default 50 steps of
            2.5 * eps / steps. ``momentum: 1`` is MI-FGSM (Dong et al., 2018), and
            ``input_diversity: 0.5`` with it DI-FGSM (Xie et al., 2019). The loss is the log odds
            of the other classes, which rises with cross-entropy and does not vanish.
        labels: The class that an example leaves: the ``target`` label, of surrogates with the
            target's classes, or the one ``predicted`` by the surrogate, of others; then all images
            count as correct for it.
        seed: Seed of the random numbers; those of a sample are the same for every model.
    """
    from advtransfer_alignment.surrogate_attacks import EntryModels, TransferredEvaluation

    models = EntryModels(surrogates, labels)
    return TransferredEvaluation(surrogates=models, attack=attack, seed=seed)


@precheck(check=options.cell_transferred_misfits, metrics=options.transferred_metrics)
@component(needs=("model", "source"), example={"attack": {"eps": 0.1, "steps": 2}})
def transferred_from_source(*, attack: LossAttack, seed: Annotated[int, Ge(0)] = 0) -> Evaluation:
    """Accuracy of the model at adversarial examples made on the source that it comes from.

    The source is attacked with its own head, behind the cell's adapter, away from the class that it
    predicts. Metrics and arrays as in `transferred`; all images count as correct for the source.

    Args:
        attack: The attack, as in `transferred`.
        seed: Seed of the random numbers; those of a sample are the same for every model.
    """
    from advtransfer_alignment.surrogate_attacks import CellModel, TransferredEvaluation

    return TransferredEvaluation(surrogates=CellModel("source"), attack=attack, seed=seed)


@precheck(check=options.cell_transferred_misfits, metrics=options.transferred_metrics)
@component(needs=("model", "reference"), example={"attack": {"eps": 0.1, "steps": 2}})
def transferred_from_reference(
    *, attack: LossAttack, seed: Annotated[int, Ge(0)] = 0
) -> Evaluation:
    """Accuracy of the model at adversarial examples made on the target's reference.

    Metrics and arrays as in `transferred`.

    Args:
        attack: The attack, as in `transferred`.
        seed: Seed of the random numbers; those of a sample are the same for every model.
    """
    from advtransfer_alignment.surrogate_attacks import CellModel, TransferredEvaluation

    return TransferredEvaluation(surrogates=CellModel("reference"), attack=attack, seed=seed)
