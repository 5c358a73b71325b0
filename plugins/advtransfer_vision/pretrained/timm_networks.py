"""timm's architectures, their settings, and the paths of their blocks."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any, cast

import timm
from torch import nn

from advtransfer.errors import UnknownName
from advtransfer.toolkit.wrapped_networks import NORMALIZATION_LAYERS
from advtransfer.types import Tensors
from advtransfer_vision.pretrained.claims import Claims
from advtransfer_vision.pretrained.safe_load import CheckpointError


def build_model(name: str, *, outputs: int, pixels: int) -> nn.Module:
    """The named architecture, its weights from torch's global random state.

    Raises:
        UnknownName: timm has no such architecture.
    """
    return _create_model(name, outputs=outputs, pixels=pixels)


def pretrained_settings(name: str) -> Any:  # noqa: ANN401  # Any: timm's PretrainedCfg, of a library that may be absent
    """What timm knows of the weights of a name such as ``resnet18.a1_in1k``.

    Raises:
        UnknownName: timm has no such architecture.
    """
    found = timm.get_pretrained_cfg(name, allow_unregistered=True) if timm.is_model(name) else None
    if found is None:
        near = difflib.get_close_matches(name, [*timm.list_models(), *timm.list_pretrained()])
        raise UnknownName(name, "an architecture of timm, such as resnet18.a1_in1k", near)
    return found


def timm_claims(name: str) -> Claims:
    """What timm says of the weights of a name."""
    said = pretrained_settings(name)
    thanks = ", ".join(str(one) for one in (said.paper_name, said.origin_url) if one)
    return Claims(data=said.tag or "not stated", licence=said.license, citation=thanks or None)


def load_renamed(
    name: str, tensors: Tensors, *, outputs: int, pixels: int, place: str, new_head: bool = False
) -> Tensors:
    """The tensors of a file as timm loads them: what older versions wrote, under today's names.

    Args:
        name: timm's name of the architecture.
        tensors: Of the file, or of a file and a head that was drawn.
        outputs: Logits of the network that they are for.
        pixels: Height and width of its inputs.
        place: Where the file is, for the message of an error.
        new_head: The head was drawn, so that timm may leave out the file's.

    Raises:
        CheckpointError: They are for another number of classes than is asked for, or another architecture's.
    """
    classes = pretrained_settings(name).num_classes
    if outputs != classes and not new_head:  # timm would leave the head as it was drawn
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
    """The paths where the blocks of a model of timm begin, and that of its head.

    Raises:
        ValueError: It has no single head.
    """
    classifier = cast(Any, model).get_classifier()  # Any: every model of timm has it
    names = {id(module): name for name, module in model.named_modules()}
    head = names.get(id(classifier))
    if head is None or not isinstance(classifier, nn.Module):
        found = f"the head of {type(model).__name__} to be {type(classifier).__name__}"
        raise ValueError(
            f"found {found}; expected one module; give its `blocks` and its `head` by name"
        )
    begins = [
        path
        for path, module in _block_modules(model, "", head)
        if path != head and _has_weights(module)
    ]
    return begins[1:] or begins, head


def _create_model(
    name: str, *, outputs: int, pixels: int, tensors: Tensors | None = None
) -> nn.Module:
    options: dict[str, Any] = (
        {"img_size": pixels} if pretrained_settings(name).fixed_input_size else {}
    )  # Any: as varied as models
    if tensors is not None:
        options["pretrained_cfg_overlay"] = {"state_dict": dict(tensors)}
    model: nn.Module = timm.create_model(
        name, pretrained=tensors is not None, num_classes=outputs, **options
    )
    return model


def _block_modules(module: nn.Module, path: str, head: str) -> Iterator[tuple[str, nn.Module]]:
    """The parts that a model is put together from, at the level of residual blocks and single layers."""
    children = dict(module.named_children())
    first = next(iter(children.values()), None)
    row = type(module) in (nn.Sequential, nn.ModuleList) and not isinstance(
        first, NORMALIZATION_LAYERS
    )
    if not path or row or "blocks" in children or head.startswith(f"{path}."):
        for name, child in children.items():
            yield from _block_modules(child, f"{path}.{name}" if path else name, head)
    else:
        yield path, module


def _has_weights(module: nn.Module) -> bool:
    return any(True for _ in module.parameters()) and not isinstance(module, NORMALIZATION_LAYERS)
