"""Steps and projections of gradient attacks, by the norm of the ball."""

from __future__ import annotations

import math
from typing import Literal, TypeAlias

import torch
from foolbox.types import Bounds
from torch import Tensor

from advtransfer.toolkit.option_checks import Norm
from advtransfer_foolbox.norms import project_onto_ball, scale_into_ball

StepRule: TypeAlias = Literal["linf", "l2", "l1", "sparse_l1"]
"""The norm; in l_1 a step moves all pixels (``l1``) or those with the largest gradients."""

SPARSE_QUANTILE = 0.99
"""A sparse step moves the pixels whose gradients are from this quantile on: 1 % of them."""


def step_rule(norm: Norm, *, sparse_l1: bool) -> StepRule:
    """Return the rule of the norm."""
    return "sparse_l1" if norm == "l1" and sparse_l1 else norm


def step_direction(rule: StepRule, gradients: Tensor, points: Tensor, bounds: Bounds) -> Tensor:
    """Return the step of length 1 for each gradient ``(B, C, H, W)``; 0 for a zero gradient.

    Args:
        rule: The rule of the steps.
        gradients: Gradients of the objective, which the step increases.
        points: The points where they were taken.
        bounds: The box that the points lie in.
    """
    match rule:
        case "linf":
            return gradients.sign()
        case "l2":
            return _unit_length(gradients, order=2)
        case "l1":
            return _unit_length(gradients, order=1)
        case "sparse_l1":
            return _sparse_direction(gradients, points, bounds)


def project_step(rule: StepRule, points: Tensor, images: Tensor, eps: float) -> Tensor:
    """Return the points ``(B, C, H, W)`` moved into the balls of radius eps around the images."""
    match rule:
        case "linf":
            return images + (points - images).clamp(-eps, eps)
        case "l2":
            return project_onto_ball(points, images, norm="l2", eps=eps)
        case "l1":
            # As in Foolbox: a dense step is shortened, it does not lose its small entries.
            return scale_into_ball(points, images, order=1, eps=eps)
        case "sparse_l1":
            return project_onto_ball(points, images, norm="l1", eps=eps)


def _unit_length(gradients: Tensor, *, order: float) -> Tensor:
    """Return the gradients, divided by their length."""
    flat = gradients.flatten(1)
    largest = torch.linalg.vector_norm(flat, ord=math.inf, dim=1, keepdim=True)
    # First by the largest entry: the squares of entries under 1e-19 would underflow to 0. The
    # length is then at least 1, unless the gradient is 0, which stays 0.
    scaled = flat / torch.where(largest > 0, largest, 1.0)
    lengths = torch.linalg.vector_norm(scaled, ord=order, dim=1, keepdim=True)
    unit: Tensor = (scaled / lengths.clamp_min(1.0)).reshape(gradients.shape)
    return unit


def _sparse_direction(gradients: Tensor, points: Tensor, bounds: Bounds) -> Tensor:
    """Return equal steps of the pixels with the largest gradients (Tramer and Boneh, 2019, section 4).

    A pixel at the edge of the box does not count if its step would leave it.
    """
    leaves_box = ((points <= bounds.lower) & (gradients < 0)) | (
        (points >= bounds.upper) & (gradients > 0)
    )
    flat = gradients.masked_fill(leaves_box, 0.0).flatten(1)
    sizes = flat.abs()
    pixels = flat.shape[1]
    count = pixels - math.ceil(SPARSE_QUANTILE * (pixels - 1))
    threshold = sizes.topk(count, dim=1).values[:, -1:]
    signs = torch.where(sizes >= threshold, flat.sign(), 0.0)
    moved = signs.abs().sum(1, keepdim=True)
    return (signs / moved.clamp_min(1.0)).reshape(gradients.shape)
