"""Accuracy as the mean over classes."""

from __future__ import annotations

from collections.abc import Sequence

from advtransfer.precheck import precheck
from advtransfer.types import Evaluation, Factory, component


@precheck(metrics=lambda _: ("mean_class_accuracy",))
@component(needs=("model",))
def mean_class_accuracy() -> Evaluation:
    """Mean over classes of the share of each class's test images that the model classifies correctly.

    The usual metric where classes have unequally many test images, as in Aircraft, Caltech-101,
    Flowers and Pets (Kornblith, Shlens and Le, 2019; Salman et al.,
    2020). Metric ``mean_class_accuracy``,
    over the classes that have a test image. Array of the same name: each image's correctness times
    a weight, so that their mean is the metric.
    """
    from advtransfer_foolbox.balanced_accuracy import MeanClassAccuracy

    return MeanClassAccuracy()


EVALUATIONS: Sequence[Factory[Evaluation]] = (mean_class_accuracy,)
