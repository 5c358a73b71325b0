"""Attributes: labels ``(B, A)`` of 0 and 1, of which any one that flips breaks the sample.

An attribute is predicted where its logit is above 0. Its margin, by how much it is predicted
wrongly, takes the place of the logit difference between another class and the label.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional

SMALLEST_SOFTPLUS_INPUT = -15.0
"""Below it, ``log softplus(x)`` is x to float32's last digit, and softplus would underflow."""


def attribute_margins(logits: Tensor, labels: Tensor) -> Tensor:
    """Return by how much each attribute is predicted wrongly, negative where right, ``(B, A)``."""
    return logits * (1 - 2 * labels.to(logits.dtype))


def largest_margin(logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
    """Return the margin of the attribute that is nearest to flipping, ``(B,)``."""
    return attribute_margins(logits, labels).amax(dim=1)


def target_margin(logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
    """Return the margin of the target attribute, ``(B,)``.

    Raises:
        ValueError: There are no targets.
    """
    if targets is None:
        raise ValueError(
            "found no target attributes; expected one per sample, (B,); "
            "use the loss 'margin' without targets"
        )
    return attribute_margins(logits, labels).gather(1, targets[:, None])[:, 0]


def log_binary_cross_entropy(logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
    """Return the logarithm of the binary cross-entropy, summed over the attributes, ``(B,)``.

    Binary cross-entropy is softplus of the margin. The logarithm of the sum has the direction of its
    gradient, and does not underflow where the model is confident of all attributes.
    """
    margins = attribute_margins(logits, labels)
    # Clamped before softplus, since the gradient of the branch that is not taken must be finite.
    clamped = margins.clamp_min(SMALLEST_SOFTPLUS_INPUT)
    losses = functional.softplus(clamped).log() + (margins - clamped)
    return losses.logsumexp(dim=1)


def nearest_attributes(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the attributes by decreasing margin, those nearest to flipping first, ``(B, A)``."""
    margins = attribute_margins(logits, labels)
    return margins.sort(dim=1, descending=True, stable=True).indices
