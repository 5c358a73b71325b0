"""The student network: its construction and its initial weights."""

from __future__ import annotations

import copy
from typing import Literal, cast

import torch
from torch import Tensor, nn

from advtransfer.errors import Inapplicable
from advtransfer.toolkit.network import BlockNetwork
from advtransfer.toolkit.rng import build_initialized, reinitialize
from advtransfer.toolkit.wrapped_networks import ChainedNetwork
from advtransfer.types import Context, DataCard, Network, Source
from advtransfer_igam.input_gradients import L2Standardize


class NetworkWithHead(nn.Module):
    """A network's blocks with another head; its own head is not used."""

    network: Network

    def __init__(self, network: Network, head: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.head = head

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, ``(B, K)``, of images ``(B, C, H, W)``."""
        logits: Tensor = self.head(self.network.features(images).flatten(1))
        return logits


def build_student(
    student: Source | None,
    *,
    teacher: Network,
    target: DataCard,
    standardise: Literal["none", "l2"],
) -> nn.Module:
    """Return the student's network, before it gets its initial weights.

    Args:
        student: The source of the network; None for the teacher's architecture with a new head.
        teacher: The source network, which is not changed.
        target: Card of the target, with its input shape and number of outputs.
        standardise: ``l2`` replaces the normalisation in the network by `L2Standardize`.

    Raises:
        Inapplicable: The network does not fit the target, or has no normalisation to replace.
    """
    if student is None:
        # A copy: the teacher's own weights must stay as they are.
        network = copy.deepcopy(teacher)
        model: nn.Module = NetworkWithHead(network, _build_head(network, target))
        model.requires_grad_(True)
        # The old head is not used, and kernel decay must not include its weights.
        network.head.requires_grad_(False)
    else:
        _require_matching_card(student, target)
        network = student.network()
        model = cast(nn.Module, network).requires_grad_(True)
    if standardise == "l2":
        if not isinstance(network, BlockNetwork | ChainedNetwork):
            found = f"standardise: l2 for a student of type {type(network).__name__}"
            raise Inapplicable(
                f"found {found}, which has no normalisation to replace; leave standardise out"
            )
        network.normalise = L2Standardize()
    return model.eval()


def initialize_student(model: nn.Module, student: Source | None, *, context: Context) -> None:
    """Load the weights of the student's source, or draw new ones from the context's stream.

    Raises:
        Inapplicable: There is no source, and a layer cannot draw new weights.
    """
    if student is None:
        reinitialize(model, context.generator("student"), whose="the teacher")
    else:
        # The student's normalisation may have been replaced by one without weights.
        names = model.state_dict().keys()
        tensors = student.weights(context).tensors
        weights = {name: tensor for name, tensor in tensors.items() if name in names}
        model.load_state_dict(weights)


def _require_matching_card(student: Source, target: DataCard) -> None:
    card = student.card()
    if (card.shape, card.outputs) != (target.shape, target.outputs):
        found = f"a student for inputs {card.shape} and {card.outputs} outputs"
        expected = f"the target's {target.shape} and {target.outputs}"
        raise Inapplicable(
            f"found {found}; expected {expected}; give the student the target's data set"
        )


def _build_head(network: Network, target: DataCard) -> nn.Module:
    """Return a head for the target; `initialize_student` draws its weights again."""
    weights = next(cast(nn.Module, network).parameters(), torch.empty(0))
    images = torch.zeros(1, *target.shape, device=weights.device)
    try:
        with torch.inference_mode():
            features = network.features(images).flatten(1).shape[1]
    except RuntimeError as error:
        raise Inapplicable(
            f"the teacher's architecture does not take the target's inputs {target.shape}; "
            "give a student"
        ) from error
    head = build_initialized(lambda: nn.Linear(features, target.outputs), torch.Generator())
    return head.to(weights.device)
