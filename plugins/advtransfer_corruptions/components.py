"""The factory of the corruption evaluation. Torch is imported only when it is built."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated

from annotated_types import Ge, MinLen

from advtransfer.precheck import CellOutline, Misfit, OptionValues, precheck
from advtransfer.toolkit.option_checks import repeated_value_misfits
from advtransfer.types import Evaluation, Folder, Source, component
from advtransfer_corruptions.tables import (
    SEVERITIES,
    WITHOUT_FILES,
    Corruption,
    Table,
)


def _metrics(chosen: OptionValues) -> Sequence[str]:
    names = [f"error_{each}" for each in chosen["corruptions"]]
    names += [
        f"error_{each}_{severity}" for each in chosen["corruptions"] for severity in SEVERITIES
    ]
    names += [f"accuracy_severity_{severity}" for severity in SEVERITIES]
    return ["mean_corruption_error", *names, *([] if chosen.get("baseline") is None else ["mCE"])]


def _misfits(chosen: OptionValues, around: CellOutline) -> Iterator[Misfit]:
    yield from repeated_value_misfits("corruptions", chosen["corruptions"])
    has_frost = "frost" in chosen["corruptions"]
    # A folder that is not named is not among the options here.
    if has_frost != (chosen.get("frost") is not None):
        expected = "photographs of frost, which the project has none of" if has_frost else "none"
        next_step = (
            "name a folder of images in `frost`" if has_frost else "add frost to `corruptions`"
        )
        yield Misfit(("frost",), expected, next_step)
    baseline, target = chosen.get("baseline"), around.target
    if baseline is None:
        return
    for name in ("shape", "outputs"):
        found, expected = getattr(baseline, name), getattr(target, name)
        if None not in (found, expected) and found != expected:
            yield Misfit(
                ("baseline",),
                f"{name} {expected}, as the target has",
                "name a source that is trained on the target's data",
                f"a source of {name} {found}",
            )


@precheck(check=_misfits, metrics=_metrics)
@component(needs=("model",), example={"corruptions": ["gaussian_noise", "contrast"]})
def accuracy(
    *,
    corruptions: Annotated[tuple[Corruption, ...], MinLen(1)] = WITHOUT_FILES,
    table: Table | None = None,
    frost: Folder | None = None,
    baseline: Source | None = None,
    seed: Annotated[int, Ge(0)] = 0,
) -> Evaluation:
    """Measure the accuracy on corrupted test images, by corruption and at five severities each.

    The corruptions of Hendrycks and Dietterich (2019), computed from their description on images of
    any size, without the published files: numbers are near to those of CIFAR-10-C or ImageNet-C,
    and not equal to them.

    Metrics ``error_<corruption>_<severity>``, the share of wrong predictions;
    ``error_<corruption>``, its mean over severities 1 to 5; ``accuracy_severity_<severity>``, the
    mean accuracy over the corruptions; ``mean_corruption_error``, the plain mean of all errors.
    ``mCE``, only with a baseline: the mean over corruptions of the summed errors divided by those
    of the baseline, 1 where they are equal; it is left out where the baseline makes no error under
    a corruption. Arrays: the mean errors of each image under the names of their means.

    An image has the same random numbers at all severities and for every model. Results are rounded
    to 8 bits. Grey images are not saturated: they have no colour.

    Args:
        corruptions: Noise: ``gaussian_noise``, ``shot_noise``, ``impulse_noise``. Blur:
            ``defocus_blur``, ``glass_blur``, ``motion_blur``, ``zoom_blur``. Weather: ``snow``,
            ``frost``, ``fog``, ``brightness``. Digital: ``contrast``, ``elastic``, ``pixelate``,
            ``jpeg``. By default these without ``frost``, which needs photographs. Beside them, for
            validation: ``speckle_noise``, ``gaussian_blur``, ``saturate``, ``spatter``.
        table: The severities of ``cifar`` (made for 32 pixels), ``tiny_imagenet`` (64) or
            ``imagenet`` (224); by default those of the size nearest to the images' shorter side, by
            ratio. Lengths are in pixels, also where images have another size.
        frost: Folder of one's own photographs of frost, from which parts are cut; every file in it
            is an image.
        baseline: A source with the target's classes, such as AlexNet in the paper: a name of the
            suite or an entry.
        seed: Seed of the random numbers.
    """
    from advtransfer_corruptions.evaluation import CorruptionEvaluation

    return CorruptionEvaluation(
        corruptions=corruptions, table=table, frost=frost, baseline=baseline, seed=seed
    )
