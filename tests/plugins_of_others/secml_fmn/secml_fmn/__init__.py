"""SecML-Torch's fast minimum-norm attack as an evaluation, `secml/fmn`."""

from collections.abc import Iterable
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le

from advtransfer.hookspecs import hookimpl
from advtransfer.types import Evaluation, Factory, component


@component(needs=["model"], example={"eps": 0.2, "steps": 20})
def fmn(
    *,
    norm: Literal["linf", "l2"] = "linf",
    eps: Annotated[float, Gt(0)],
    steps: Annotated[int, Ge(1)] = 100,
    step_size: Annotated[float, Gt(0), Le(10)] = 1.0,
) -> Evaluation:
    """Accuracy under the fast minimum-norm attack (Pintor et al., 2021) of SecML-Torch.

    It searches the nearest adversarial image; a sample is broken when that is within eps. Outcome metric
    ``robust_accuracy@<eps>``; metric ``distance``, the mean distance of what was found, over samples with one.

    Args:
        norm: The norm of the distance.
        eps: Radius of the ball in [0, 1] pixel space.
        steps: Number of gradient steps.
        step_size: Length of the first step in l_2; it falls to a hundredth.
    """
    from secml_fmn.attack import FastMinimumNorm

    return FastMinimumNorm(norm=norm, eps=eps, steps=steps, step_size=step_size)


@hookimpl
def register_evaluations() -> Iterable[Factory[Evaluation]]:
    """Return the evaluations of this plugin."""
    return [fmn]
