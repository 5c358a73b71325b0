"""Sources from the Hugging Face hub, and timm's: the extra ``hub``. Light: torch is imported when one is built."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from annotated_types import Ge

from advtransfer.types import Dataset, Factory, File, Source, component
from advtransfer_vision.factories.weights import Channels, Count, Key, Library, NewHead, Paths
from advtransfer_vision.pretrained.claims import Claims
from advtransfer_vision.pretrained.remote import HubFile

_UNSAID = Claims()


@component(shape="data", version=2)
def huggingface(
    *,
    hub: HubFile,
    architecture: str,
    mean: Channels,
    std: Channels,
    library: Library = "torchvision",
    key: str | None = None,
    prefix: str | None = None,
    data: Dataset | None = None,
    outputs: Count | None = None,
    pixels: Count | None = None,
    blocks: Paths = (),
    head: str | None = None,
    card: Claims = _UNSAID,
    new_head: NewHead = False,
) -> Source:
    """A state dict from the Hugging Face hub, for an architecture of torchvision or timm; needs the extra ``hub``.

    It is downloaded once into the hub's own cache, read without running code that it may carry, and must hold exactly
    the weights of the architecture. The architectures are those of ``vision/checkpoint``.

    Args:
        hub: The file: ``{repo, file, revision, sha256}``; the revision is a commit, so that the file cannot change.
        architecture: Its name in the library, such as ``resnet50``; or ``wide_resnet_28_10``.
        mean: Of each channel of the inputs in [0, 1], as in the training: a wrong one is the commonest reason for low
            accuracy.
        std: Likewise.
        library: Where the architecture is from.
        key: Where in the file the weights are; by default where names fit the architecture. Of weights and their moving
            average, the average is taken, as timm does; of other sets, the suite must name one.
        prefix: What to strip from the names, such as ``module.``; tensors without it are left out. By default found.
        data: The source's own data: the start-up probe measures its test part.
        outputs: Classes; by default those of `data`, or 1000 (10 for CIFAR architectures).
        pixels: Height and width of the inputs; by default those of `data`, or 224 (32).
        blocks: Paths of the modules where blocks begin, in place of those that are known of the architecture.
        head: The path of the module that gives the logits; goes with `blocks`.
        card: What is known of the weights: ``{constraint, data, clean_accuracy, tolerance, licence, citation}``.
        new_head: Draw the head, and use none of the file's: for a backbone without one, whose logits mean nothing.
    """
    from advtransfer_vision.pretrained.assemble import Size, state_dict
    from advtransfer_vision.pretrained.design import named_design
    from advtransfer_vision.pretrained.files import Layout

    size = Size(data=data, outputs=outputs, pixels=pixels, blocks=blocks, head=head)
    design = size.of(replace(named_design(architecture, library), mean=mean, std=std))
    layout = Layout(key=key, prefix=prefix, new_head=new_head, options=Layout().options | {"mean"})
    return state_dict(design, file=None, hub=hub, layout=layout, claims=card)


@component(shape="data", version=2)
def timm(
    *,
    name: str,
    file: File | None = None,
    hub: HubFile | None = None,
    data: Dataset | None = None,
    outputs: Count | None = None,
    pixels: Count | None = None,
    blocks: Paths = (),
    head: str | None = None,
    card: Claims | None = None,
    seed: Annotated[int, Ge(0)] = 0,
    key: Key = None,
    prefix: Key = None,
    new_head: NewHead = False,
) -> Source:
    """Any classifier of timm: with weights that timm can load, or untrained; needs the extra ``hub``.

    Inputs are normalised, and sized, as timm says of the name. Weights are read without running code that their file
    may carry. Its forward pass is timm's own, so frozen blocks are computed anew in every epoch of a fine-tuning.

    Args:
        name: timm's name, with the tag of the weights: ``resnet18.a1_in1k``.
        file: The weights. Without `file` and `hub`, they are drawn.
        hub: In place of `file`: ``{repo, file, revision, sha256}`` in the Hugging Face hub, such as
            ``model.safetensors`` of ``timm/resnet18.a1_in1k``; the revision is a commit.
        data: The source's own data: the start-up probe measures its test part.
        outputs: Classes; by default those of `data`, or what timm says of the name.
        pixels: Height and width of the inputs; by default those of `data`, or what timm says of the name.
        blocks: Paths of the modules where blocks begin, in place of those that are found in the architecture.
        head: The path of the module that gives the logits; goes with `blocks`.
        card: What is known of the weights: ``{constraint, data, clean_accuracy, tolerance, licence, citation}``; by
            default what timm says of the name.
        seed: What untrained weights are drawn from.
        key: Where in the file the weights are; by default where names fit the architecture. Of weights and their moving
            average, the average is taken, as timm does; of other sets, the suite must name one.
        prefix: What to strip from the names, such as ``module.``; tensors without it are left out. By default found.
        new_head: Draw the head, and use none of the file's: for a backbone without one, whose logits mean nothing.
    """
    from advtransfer_vision.pretrained.assemble import Size
    from advtransfer_vision.pretrained.assemble import timm as assembled
    from advtransfer_vision.pretrained.files import Layout

    size = Size(data=data, outputs=outputs, pixels=pixels, blocks=blocks, head=head)
    layout = Layout(key=key, prefix=prefix, new_head=new_head)
    return assembled(name, file=file, hub=hub, size=size, layout=layout, claims=card)


SOURCES: tuple[Factory[Source], ...] = (timm, huggingface)
