"""timm's architectures, their settings, and the paths of their blocks."""

from __future__ import annotations

import difflib
from typing import Any, cast

import timm
from torch import nn

from advtransfer.errors import UnknownName
from advtransfer.toolkit import module_network
from advtransfer.types import Tensors
from advtransfer_vision.pretrained.claims import Claims
from advtransfer_vision.pretrained.safe_load import CheckpointError


def build_model(name: str, *, outputs: int, pixels: int) -> nn.Module:
    """Build an architecture with initial weights from torch's global random state.

    Raises:
        UnknownName: timm has no such architecture.
    """
    return _create_model(name, outputs=outputs, pixels=pixels)


def pretrained_settings(name: str) -> Any:  # noqa: ANN401  # Any: timm's PretrainedCfg, of a library that may be absent
    """Return timm's settings for a name such as ``resnet18.a1_in1k``.

    Raises:
        UnknownName: timm has no such architecture.
    """
    settings = (
        timm.get_pretrained_cfg(name, allow_unregistered=True) if timm.is_model(name) else None
    )
    if settings is None:
        similar = difflib.get_close_matches(name, [*timm.list_models(), *timm.list_pretrained()])
        raise UnknownName(name, "an architecture of timm, such as resnet18.a1_in1k", similar)
    return settings


def timm_claims(name: str) -> Claims:
    """Return the claims in timm's settings for a name."""
    settings = pretrained_settings(name)
    sources = [str(source) for source in (settings.paper_name, settings.origin_url) if source]
    return Claims(
        data=settings.tag or "not stated",
        licence=settings.license,
        citation=", ".join(sources) or None,
    )


def load_renamed(
    name: str, tensors: Tensors, *, outputs: int, pixels: int, place: str, new_head: bool = False
) -> Tensors:
    """Return the tensors of a file as timm loads them, with names of older versions converted to today's.

    Args:
        name: timm's name of the architecture.
        tensors: The tensors of the file, or of the file and an initial head.
        outputs: Number of logits of the network.
        pixels: Height and width of the network's inputs.
        place: The file, for error messages.
        new_head: Whether the head is an initial one, and timm may ignore the file's.

    Raises:
        CheckpointError: The tensors are for another number of classes, or those of another architecture.
    """
    classes = pretrained_settings(name).num_classes
    # For another number of classes timm would keep the initial head without an error.
    if outputs != classes and not new_head:
        found = f"{outputs} outputs asked of {name}, which has {classes} classes"
        next_step = "leave `outputs` out; vision/checkpoint with `library: timm` reads files with other heads"
        raise CheckpointError(f"found {found}; expected as many; {next_step}")
    try:
        model = _create_model(name, outputs=outputs, pixels=pixels, tensors=tensors)
    except (RuntimeError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        found = f"weights that timm cannot load in {place} ({reason} ...)"
        raise CheckpointError(
            f"found {found}; expected exactly those of {name}; correct `name`"
        ) from error
    return cast(Tensors, model.state_dict())


def block_paths(model: nn.Module) -> tuple[list[str], str]:
    """Return the paths where the blocks of a model of timm begin, and the path of its head.

    Raises:
        ValueError: The head is not a single module.
    """
    # Encoders without a head of their own have no `get_classifier`.
    classifier = getattr(model, "get_classifier", lambda: None)()
    names = {id(module): name for name, module in model.named_modules()}
    head = names.get(id(classifier))
    if head is None or not isinstance(classifier, nn.Module):
        found = f"the head of {type(model).__name__} to be {type(classifier).__name__}"
        raise ValueError(
            f"found {found}; expected one module; give its `blocks` and its `head` by name"
        )
    return module_network.block_paths(model, head), head


def _create_model(
    name: str, *, outputs: int, pixels: int, tensors: Tensors | None = None
) -> nn.Module:
    """Build a model of timm, with `tensors` loaded by timm's own code if given."""
    options: dict[str, Any] = {}  # Any: timm's models take options of many types
    if pretrained_settings(name).fixed_input_size:
        options["img_size"] = pixels
    if tensors is not None:
        # timm loads these instead of a download, and converts names of older versions.
        options["pretrained_cfg_overlay"] = {"state_dict": dict(tensors)}
    model: nn.Module = timm.create_model(
        name, pretrained=tensors is not None, num_classes=outputs, **options
    )
    return model
