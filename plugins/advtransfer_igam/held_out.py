"""Comparison of the trained student with its teacher on held-out images.

Chan et al. (2020), section 6: the discriminator's term is lowest where the distributions of the two
models' input gradients are equal (theorem 6.1), which is to bring their alignments alpha (equation
18) together. These facts measure how far a training came.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from advtransfer.toolkit.datasets import all_positions
from advtransfer.toolkit.model_modes import in_eval_mode, weights_frozen
from advtransfer.toolkit.rng import fork_global_rng
from advtransfer.types import Context, Samples
from advtransfer_igam.discriminator import STUDENT_CLASS, TEACHER_CLASS, Discriminator
from advtransfer_igam.input_gradients import input_gradients
from advtransfer_igam.matching import Window
from advtransfer_igam.options import GradientTarget
from advtransfer_igam.teacher import Teacher


class ImageGradients(NamedTuple):
    """Gradients ``(B, C, H, W)`` that were matched, and alignments ``(B,)`` float64 of equation 18."""

    matched: Tensor
    alignment: Tensor


def held_out_facts(
    student: nn.Module,
    teacher: Teacher,
    discriminator: Discriminator,
    samples: Samples,
    *,
    of: GradientTarget,
    window: Window,
    batch_size: int,
    context: Context,
) -> dict[str, float]:
    """Return what the two models' input gradients have in common on images that neither was fitted to.

    ``gradient_cosine``: the mean cosine of the student's and the teacher's gradient of an image.
    ``alignment_student``, ``alignment_teacher`` and ``alignment_difference``: the means of alpha
    (Chan et al., 2020, equation 18) and of the absolute difference of the two. Images at which a
    gradient is 0 have neither and are left out; without any other the fact is left out too.
    ``discriminator_accuracy``: the share of all gradients, half of them the student's, that the
    discriminator assigns to the right model; 0.5 where it cannot tell.

    Args:
        student: The trained student, measured in eval mode.
        teacher: Tuned and in teaching mode, as it was matched.
        discriminator: The trained discriminator.
        samples: The held-out images.
        of: The quantity whose gradients were matched.
        window: Rows and columns that the discriminator compares.
        batch_size: Images per batch. The discriminator normalises by the statistics of each batch,
            which should have the size that it was trained on.
        context: Device, and the random numbers of an adapter that draws.
    """
    rows, columns = window
    cosines: list[Tensor] = []
    alignments: list[Tensor] = []
    correct: list[Tensor] = []
    generator = context.generator("held-out gradients")
    with (
        fork_global_rng(generator, device=context.device),
        in_eval_mode(student),
        weights_frozen(student),
        weights_frozen(discriminator),
    ):
        for positions in torch.split(all_positions(samples), batch_size):
            images = samples.inputs(positions).to(context.device)
            labels = samples.labels(positions).to(context.device)
            learned = image_gradients(student, images, labels, of=of)
            taught = image_gradients(teacher, images, labels, of=of)
            cosines.append(
                torch.cosine_similarity(_flat(learned.matched), _flat(taught.matched), dim=1, eps=0)
            )
            alignments.append(torch.stack([learned.alignment, taught.alignment], dim=1))
            with torch.no_grad():
                logits = discriminator(
                    learned.matched[..., rows, columns], taught.matched[..., rows, columns]
                )
            origin = torch.tensor([STUDENT_CLASS, TEACHER_CLASS], device=logits.device)
            correct.append(logits.argmax(1) == origin.repeat_interleave(len(positions)))
    return {
        **_mean_facts(torch.cat(cosines).cpu(), torch.cat(alignments).cpu()),
        "discriminator_accuracy": torch.cat(correct).double().mean().item(),
    }


def image_gradients(
    model: nn.Module, images: Tensor, labels: Tensor, *, of: GradientTarget
) -> ImageGradients:
    """Return the gradients of a frozen model at a batch, from one forward pass.

    Alpha of an image x is ``|<x, g>| / |g|``, where g is the gradient of the gap between the two
    largest logits (Chan et al., 2020, equation 18). It is NaN where g is 0.

    Args:
        model: The model, in the mode it is in.
        images: ``(B, C, H, W)``.
        labels: ``(B,)``.
        of: The quantity whose gradient is matched.
    """
    images = images.detach().requires_grad_()
    logits: Tensor = model(images)
    largest = logits.topk(2, dim=1).values
    (of_gap,) = torch.autograd.grad(
        (largest[:, 0] - largest[:, 1]).sum(), images, retain_graph=True
    )
    matched = input_gradients(logits, labels, images, of=of)
    gap_gradients = _flat(of_gap)
    product = (_flat(images.detach()) * gap_gradients).sum(1).abs()
    return ImageGradients(matched, product / gap_gradients.norm(dim=1))


def _mean_facts(cosines: Tensor, alignments: Tensor) -> dict[str, float]:
    """Return the means over images of cosines ``(N,)`` and of both alignments ``(N, 2)``."""
    student, teacher = alignments[alignments.isfinite().all(1)].unbind(1)
    values = {
        "gradient_cosine": cosines[cosines.isfinite()],
        "alignment_student": student,
        "alignment_teacher": teacher,
        "alignment_difference": (student - teacher).abs(),
    }
    return {name: kept.mean().item() for name, kept in values.items() if len(kept)}


def _flat(gradients: Tensor) -> Tensor:
    return gradients.flatten(1).double()
